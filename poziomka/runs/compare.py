"""Comparison of several runs, evaluations and studies: recipe, steps, reward, accuracy and its split of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poziomka.core.errors import RunError
from poziomka.core.safety.untrusted import read_object
from poziomka.core.splits import VALIDATION
from poziomka.runs.recipe import RECIPE
from poziomka.runs.run import Run
from poziomka.runs.tables import aligned

REWARD, ACCURACY = "reward/mean", "evaluate/accuracy"  # metrics in the table
STUDY = "study.json"  # file of a study of strategies, whose folder has a saved evaluation for each strategy


@dataclass(frozen=True)
class Summary:
    """Summary of one run, for a table of runs.

    Attributes:
        folder: the run's folder.
        recipe: name of the recipe; "" if it has none.
        step: last logged step; 0 if none was logged.
        reward: last logged mean reward, -1 to 1; None if none was logged.
        accuracy: last logged accuracy, 0 to 1; None if none was logged.
        split: split of the problems of the accuracy; "" if it has none.
        fault: why the run cannot be read; "" if it can.
    """

    folder: Path
    recipe: str = ""
    step: int = 0
    reward: float | None = None
    accuracy: float | None = None
    split: str = ""
    fault: str = ""


def list_runs(root: Path) -> list[Path]:
    """Returns the folders of runs and studies directly under `root`, sorted by name, or `root` alone if it is a run.

    Raises:
        RunError: there is no folder `root`.
    """
    root = Path(root)
    if not root.is_dir():
        message = f"there is no folder {root}: give the folder that holds the runs"
        raise RunError(message)
    if (root / RECIPE).is_file():
        return [root]
    return sorted({path.parent for name in (RECIPE, STUDY) for path in root.glob(f"*/{name}")})


def summarise(folder: Path) -> Summary:
    """Returns the summary of a run or a study; if it cannot be read, `Summary.fault` is the reason.

    The accuracy of a study is that of single replies, which it compares its strategies with.
    """
    folder = Path(folder)
    if not (folder / RECIPE).is_file() and (folder / STUDY).is_file():
        return _of_study(folder)
    try:
        run = Run.read(folder)
        lines = run.metrics()
    except RunError as error:
        return Summary(folder, fault=str(error))
    step = max((line["step"] for line in lines), default=0)
    name = run.recipe.get("name", "")
    accuracy, settings = _last(lines, ACCURACY), run.recipe.get("evaluate")
    split = settings.get("split", VALIDATION) if isinstance(settings, Mapping) else VALIDATION
    return Summary(folder, str(name), step, _last(lines, REWARD), accuracy, "" if accuracy is None else str(split))


def _of_study(folder: Path) -> Summary:
    try:
        study = read_object(folder / STUDY, RunError)
    except (RunError, OSError) as error:
        return Summary(folder, fault=str(error))
    strategies = study.get("strategies")
    points = [each for each in strategies if isinstance(each, Mapping)] if isinstance(strategies, list) else []
    single = next((each.get("accuracy") for each in points if each.get("name") == "single"), None)
    accuracy = _last([single], "mean") if isinstance(single, Mapping) else None
    return Summary(folder, f"study of {len(points)} strategies", accuracy=accuracy, split=str(study.get("split") or ""))


def _last(lines: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = (line.get(name) for line in reversed(lines))
    return next((value for value in values if isinstance(value, int | float) and not isinstance(value, bool)), None)


def table(summaries: Sequence[Summary]) -> str:
    """Returns summaries as an aligned text table with a header and one line for each run."""
    rows: list[tuple[str, ...]] = [("run", "recipe", "steps", "reward", "accuracy", "split")]
    for each in summaries:
        shown = [f"{value:.3f}" if value is not None else "–" for value in (each.reward, each.accuracy)]
        names = [name.replace("\n", " ") for name in (each.folder.name, each.fault or each.recipe or "–")]
        rows.append((*names, str(each.step), shown[0], shown[1], each.split or "–"))
    return "\n".join(aligned(rows, left=len(rows[0])))
