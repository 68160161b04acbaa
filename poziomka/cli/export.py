"""`poziomka export`: a run's newest weights, or a checkpoint's, for other programs."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import safe_open

from poziomka.core.errors import RunError, SettingsError
from poziomka.learning.progress import OPTIMIZER
from poziomka.models.lora import WEIGHTS as ADAPTERS
from poziomka.models.lora import base_of
from poziomka.models.pretrained import load_pretrained
from poziomka.models.stored import CONFIG
from poziomka.models.to_gguf import export_gguf
from poziomka.models.weights import save_model
from poziomka.runs.checkpoint import MANIFEST, STATE
from poziomka.runs.run import Run
from poziomka.training.inputs import demand_unchanged, weights_of
from poziomka.training.recipe import recipe_of

BOOKS = (OPTIMIZER, STATE, MANIFEST)


def export(source: Path, gguf: Path | None, folder: Path | None, kind: str) -> list[str]:
    """Writes what is asked for; returns sentences, the last of which say what was written.

    Args:
        source: the folder of a run, whose newest sound checkpoint is taken, or of a checkpoint.
        gguf: the GGUF file to write; None for none.
        folder: the folder to write in the hub's layout, adapters merged in; None for none.
        kind: of the GGUF file's weights: f32, f16 or bf16.

    Raises:
        PoziomkaError: there are no weights, the model that a run's adapters go onto has changed since, the folder
            holds something, or llama.cpp has no such model.
    """
    if gguf is None and folder is None:
        message = "export needs to know what to write: give --gguf FILE or --folder FOLDER"
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
        if base is not None:  # adapters are added to what lies there now
            recipe = recipe_of(run.recipe, where=str(source))
            demand_unchanged(run, weights_of(recipe, "" if recipe.start else base))
    with _whole(saved) as model:
        if folder is not None:
            _save(model, folder)
            said.append(f"{saved} is written to {folder}")
        if gguf is not None:
            export_gguf(model, gguf, kind)
            said.append(f"{saved} is written to {gguf} ({gguf.stat().st_size / 2**20:,.1f} MiB, {kind})")
    return said


@contextmanager
def _whole(saved: Path) -> Iterator[Path]:
    """Yields a folder with a whole model: the checkpoint itself, or one in which its adapters are merged."""
    if base_of(saved) is None:
        yield saved
        return
    with tempfile.TemporaryDirectory() as folder:
        _save(saved, Path(folder))
        yield Path(folder)


def _save(saved: Path, folder: Path) -> None:
    """Writes the model alone; what only a run needs stays where it is."""
    if base_of(saved) is None:
        shutil.copytree(saved, folder, ignore=shutil.ignore_patterns(*BOOKS), dirs_exist_ok=True)
        return
    with safe_open(saved / ADAPTERS, framework="pt") as adapters:
        rough = any(adapters.get_slice(name).get_dtype() == "BF16" for name in adapters.keys())  # noqa: SIM118 no mapping
    loaded = load_pretrained(str(saved), "bfloat16" if rough else "float32")
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, loaded.model, loaded.tokenizer)
