"""Several runs side by side: what was trained, how far, how well."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poziomka.core.errors import RunError
from poziomka.runs.recipe import RECIPE
from poziomka.runs.run import Run

REWARD, ACCURACY = "reward/mean", "evaluate/accuracy"  # the metrics a table shows


@dataclass(frozen=True)
class Summary:
    """One run in one line.

    Attributes:
        folder: where it lies.
        recipe: the recipe's name; "" where it has none.
        step: the last step logged.
        reward: the last mean reward logged; None where none was.
        accuracy: the last accuracy logged; None where none was.
        fault: why the run cannot be read; "" where it can.
    """

    folder: Path
    recipe: str = ""
    step: int = 0
    reward: float | None = None
    accuracy: float | None = None
    fault: str = ""


def list_runs(root: Path) -> list[Path]:
    """Returns the folders under `root` that hold a run, by name; `root` itself where it is one.

    Raises:
        RunError: there is no folder `root`.
    """
    root = Path(root)
    if not root.is_dir():
        message = f"there is no folder {root}: give the folder that holds the runs"
        raise RunError(message)
    if (root / RECIPE).is_file():
        return [root]
    return sorted(path.parent for path in root.glob(f"*/{RECIPE}"))


def summarise(folder: Path) -> Summary:
    """Returns a run's line; one that cannot be read says why, and hides no other."""
    try:
        run = Run.read(folder)
        lines = run.metrics()
    except RunError as error:
        return Summary(Path(folder), fault=str(error))
    step = max((line["step"] for line in lines), default=0)
    name = run.recipe.get("name", "")
    return Summary(Path(folder), str(name), step, _last(lines, REWARD), _last(lines, ACCURACY))


def _last(lines: Sequence[dict[str, Any]], name: str) -> float | None:
    values = (line.get(name) for line in reversed(lines))
    return next((value for value in values if isinstance(value, int | float) and not isinstance(value, bool)), None)


def table(summaries: Sequence[Summary]) -> str:
    """Returns the runs as aligned text, one line each."""
    rows: list[tuple[str, ...]] = [("run", "recipe", "steps", "reward", "accuracy")]
    for each in summaries:
        shown = [f"{value:.3f}" if value is not None else "–" for value in (each.reward, each.accuracy)]
        names = [name.replace("\n", " ") for name in (each.folder.name, each.fault or each.recipe or "–")]
        rows.append((*names, str(each.step), shown[0], shown[1]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
