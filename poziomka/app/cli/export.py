"""`poziomka export`: writes a run's newest weights, or a checkpoint's, for other programs."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import safe_open

from poziomka.app.build import recipe_in
from poziomka.app.inputs import demand_unchanged, digests_of_weights
from poziomka.core.errors import RunError, SettingsError
from poziomka.learning.session import OPTIMIZER
from poziomka.models.checkpoints.gguf.writer import demand_kind, export_gguf
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.safetensors_io import CONFIG
from poziomka.models.checkpoints.weights import save_model
from poziomka.models.lora import WEIGHTS as ADAPTERS
from poziomka.models.lora import base_of
from poziomka.runs.run import Run
from poziomka.runs.storage.checkpoint import MANIFEST, STATE

KIND = "f32"
BOOKS = (OPTIMIZER, STATE, MANIFEST)


def export(source: Path, gguf: Path | None, folder: Path | None, kind: str | None) -> list[str]:
    """Writes weights to a GGUF file, a folder, or both; returns the run's notes and a sentence for each output.

    Args:
        source: folder of a checkpoint, or of a run, whose newest undamaged checkpoint is taken.
        gguf: the GGUF file to write; None writes none.
        folder: the folder to write in the Hugging Face layout, with LoRA adapters merged; None writes none.
        kind: type of the GGUF file's weights: f32, f16 or bf16; None means f32, and is required without `gguf`.

    Raises:
        PoziomkaError: the kind is unknown, or given without a GGUF file; there are no weights; the base model of a
            run's adapters has changed; the folder is not empty; or llama.cpp does not support the model.
    """
    if gguf is None and folder is None:
        message = "export needs to know what to write: give --gguf FILE or --folder FOLDER"
        raise SettingsError(message)
    demand_kind(kind or KIND)
    if kind is not None and gguf is None:
        message = f"--kind {kind} is the type of a GGUF file's weights: give --gguf FILE too, or leave it out"
        raise SettingsError(message)
    if folder is not None and folder.exists() and any(folder.iterdir()):
        message = f"the folder {folder} is not empty: name one that does not exist yet"
        raise SettingsError(message)
    said, saved = [], source
    if not (source / CONFIG).is_file() and base_of(source) is None:
        run = Run.read(source)
        newest = run.latest()
        if newest is None:
            message = f"the run {source} has saved no weights yet"
            raise RunError(message)
        said, saved = list(run.notes), newest.folder
        base = base_of(saved)
        if base is not None:  # adapters are merged into the present files of the base model
            recipe = recipe_in(run)
            demand_unchanged(run, digests_of_weights(recipe, "" if recipe.model.start else base))
    with _whole(saved) as model:
        if folder is not None:
            _save(model, folder)
            said.append(f"{saved} is written to {folder}")
        if gguf is not None:
            export_gguf(model, gguf, kind or KIND)
            said.append(f"{saved} is written to {gguf} ({gguf.stat().st_size / 2**20:,.1f} MiB, {kind or KIND})")
    return said


@contextmanager
def _whole(saved: Path) -> Iterator[Path]:
    """Yields a folder with the full model: the checkpoint itself, or a temporary folder with merged adapters."""
    if base_of(saved) is None:
        yield saved
        return
    with tempfile.TemporaryDirectory() as folder:
        _save(saved, Path(folder))
        yield Path(folder)


def _save(saved: Path, folder: Path) -> None:
    """Writes the model of a checkpoint, adapters merged, without optimizer and other state of the run."""
    if base_of(saved) is None:
        shutil.copytree(saved, folder, ignore=shutil.ignore_patterns(*BOOKS), dirs_exist_ok=True)
        return
    with safe_open(saved / ADAPTERS, framework="pt") as adapters:
        rough = any(adapters.get_slice(name).get_dtype() == "BF16" for name in adapters.keys())  # noqa: SIM118 not a mapping
    loaded = load_pretrained(str(saved), "bfloat16" if rough else "float32")
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, loaded.model, loaded.tokenizer)
