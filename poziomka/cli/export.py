"""`poziomka export`: a run's newest weights, or a checkpoint's, for other programs."""

from pathlib import Path

from poziomka.core.errors import RunError, SettingsError
from poziomka.models.stored import CONFIG
from poziomka.models.to_gguf import export_gguf
from poziomka.runs.run import Run


def export(folder: Path, file: Path | None, kind: str) -> list[str]:
    """Writes the file; returns sentences, the last of which says what was written.

    Args:
        folder: of a run, whose newest sound checkpoint is taken, or of a checkpoint.
        file: the GGUF file to write.
        kind: of its weights: f32, f16 or bf16.

    Raises:
        PoziomkaError: there are no weights, or llama.cpp has no such model.
    """
    if file is None:
        message = "export needs to know what to write: give --gguf FILE"
        raise SettingsError(message)
    notes, source = [], folder
    if not (folder / CONFIG).is_file():
        run = Run.read(folder)
        saved = run.latest()
        if saved is None:
            message = f"the run {folder} has saved no weights yet"
            raise RunError(message)
        notes, source = run.notes, saved.folder
    export_gguf(source, file, kind)
    return [*notes, f"{source} is written to {file} ({file.stat().st_size / 2**20:,.1f} MiB, {kind})"]
