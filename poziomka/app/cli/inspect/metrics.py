"""`poziomka metrics`: prints a table of a run's metrics, or copies them to TensorBoard or Weights & Biases."""

from pathlib import Path

from poziomka.reports.words import brief, counted
from poziomka.runs.exports import export, numbers_of
from poziomka.runs.run import Run
from poziomka.runs.tables import aligned


def copy(folder: Path, name: str, target: Path | None) -> str:
    """Copies a run's metrics to TensorBoard or Weights & Biases; returns a sentence about the copy.

    Args:
        folder: folder of the run.
        name: "tensorboard" or "wandb".
        target: folder of the copy; None for the run's folder.

    Raises:
        PoziomkaError: the folder has no run, the name is unknown, or its package is not installed.
    """
    lines, where = export(Run.read(folder), name, target)
    looking = {"tensorboard": f"; look at it with: tensorboard --logdir {where}"}
    return f"{counted(lines, 'line')} of metrics copied to {where}{looking.get(name, '')}"


def table(folder: Path) -> str:
    """Returns a table of a run's metrics: name, number of lines, first and last value."""
    seen: dict[str, list[float]] = {}
    for line in Run.read(folder).metrics():
        for name, number in numbers_of(line).items():
            seen.setdefault(name, []).append(number)
    rows = [("metric", "lines", "first", "last")]
    rows += [
        (name.replace("\n", " "), str(len(values)), brief(values[0]), brief(values[-1]))
        for name, values in sorted(seen.items())
    ]
    return "\n".join(aligned(rows, left=1))
