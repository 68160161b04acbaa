"""Comparison of several runs: recipe, steps, reward and accuracy of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poziomka.core.errors import RunError
from poziomka.runs.recipe import RECIPE
from poziomka.runs.run import Run

REWARD, ACCURACY = "reward/mean", "evaluate/accuracy"  # metrics in the table


@dataclass(frozen=True)
class Summary:
    """Summary of one run, for a table of runs.

    Attributes:
        folder: the run's folder.
        recipe: name of the recipe; "" if it has none.
        step: last logged step; 0 if none was logged.
        reward: last logged mean reward, -1 to 1; None if none was logged.
        accuracy: last logged accuracy, 0 to 1; None if none was logged.
        fault: why the run cannot be read; "" if it can.
    """

    folder: Path
    recipe: str = ""
    step: int = 0
    reward: float | None = None
    accuracy: float | None = None
    fault: str = ""


def list_runs(root: Path) -> list[Path]:
    """Returns the run folders directly under `root`, sorted by name, or `root` alone if it is a run itself.

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
    """Returns the summary of a run; if the run cannot be read, `Summary.fault` is the reason."""
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
    """Returns summaries as an aligned text table with a header and one line for each run."""
    rows: list[tuple[str, ...]] = [("run", "recipe", "steps", "reward", "accuracy")]
    for each in summaries:
        shown = [f"{value:.3f}" if value is not None else "–" for value in (each.reward, each.accuracy)]
        names = [name.replace("\n", " ") for name in (each.folder.name, each.fault or each.recipe or "–")]
        rows.append((*names, str(each.step), shown[0], shown[1]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
