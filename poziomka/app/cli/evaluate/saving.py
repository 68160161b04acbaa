"""Folders of evaluations: the rollouts, results and settings of `poziomka evaluate`, in the format of a run."""

import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from poziomka.app.cli.evaluate.result import Result, described
from poziomka.app.measure import ends, failed_checks
from poziomka.core.rollouts.evaluation import Evaluation
from poziomka.runs.recipe import EVALUATION
from poziomka.runs.run import Run
from poziomka.runs.storage.turns import TurnLog

RESULTS = "evaluation"  # file of results/


def recipe_of(result: Result, task: str) -> dict[str, Any]:
    """Returns the content of an evaluation's recipe.toml, as TOML values.

    Args:
        result: the evaluation, of which only the settings are read.
        task: name of the task, as `task_named` accepts it.
    """
    settings = {name: value for name, value in described(result.sampling).items() if value is not None}
    endpoint = {} if result.endpoint is None else {"endpoint": result.endpoint}
    budgets = [budget for budget in result.found if budget is not None]
    return {
        "kind": EVALUATION,
        "name": f"evaluate-{_name(result)}",
        "task": task,
        "seed": result.seed,
        "model": {"load": result.model, "policy": result.policy, **endpoint},
        "evaluate": {
            "split": result.split,
            "problems": result.problems,
            "attempts": result.samples,
            "budgets": budgets,
            **({} if result.votes is None else {"votes": result.votes}),
            **({} if result.strategy is None else {"strategy": result.strategy}),
            **({} if result.read is None else {"read": result.read}),
            **settings,
        },
    }


def folder_for(result: Result) -> Path:
    """Returns the folder runs/evaluate-MODEL-TASK or, if it exists, the first free one of …-2, …-3 and so on."""
    first = Path("runs") / f"evaluate-{_name(result)}"
    numbered = (first.with_name(f"{first.name}-{number}") for number in count(2))
    return first if not first.exists() else next(folder for folder in numbered if not folder.exists())


def _name(result: Result) -> str:
    """Returns MODEL-TASK for a folder's name, with "-" in place of characters that it should not have."""
    model = Path(result.model).resolve().name if result.model.strip("./") == "" else Path(result.model).name
    return re.sub(r"[^\w.-]+", "-", f"{model.removesuffix('.gguf')}-{result.task}").strip("-.")


def demand_free(folder: Path, result: Result, task: str) -> None:
    """Raises RunError if `save` cannot write to `folder`: it is not a folder, or contains something else."""
    Run.demand_free(folder, recipe_of(result, task), dict)


def turns_of(folder: Path, result: Result, task: str, weights: str | None) -> TurnLog:
    """Returns the open file of the turns of an evaluation under way, FOLDER.turns.jsonl beside its folder.

    After a kill, the same evaluation continues from this file.

    Args:
        folder: folder of the evaluation.
        result: the evaluation, of which only the settings are read.
        task: name of the task, as `task_named` accepts it.
        weights: digest of the model's weights; None for a model of an endpoint.

    Raises:
        RunError: the file belongs to an evaluation with other settings, is damaged, is in use, or cannot be written.
    """
    whole = folder.resolve()  # "." has no name
    return TurnLog(whole.with_name(f"{whole.name}.turns.jsonl"), recipe_of(result, task) | {"weights": weights})


def save(folder: Path, result: Result, task: str) -> None:
    """Writes an evaluation to a folder, with a journal of the rollouts at each budget.

    Raises:
        RunError: the folder cannot be written, or has other contents.
    """
    with Run.open(folder, recipe_of(result, task)) as run:
        for budget, each in result.found.items():
            run.keep(result.split if budget is None else f"{result.split}-budget-{budget:06d}", each.groups)
        run.record(RESULTS, result.values())
        run.log(0, "evaluate", _metrics(list(result.found.values())[-1], thinks=result.thinks))


def _metrics(found: Evaluation, *, thinks: bool) -> Mapping[str, float]:
    """Returns the metrics of an evaluation, under the names of a run's learning curve."""
    accuracy = ends(found.accuracy) if any(found.corrects) else ()
    return {
        **{f"evaluate/accuracy{suffix}": value for suffix, value in accuracy},
        **({"evaluate/thinking_tokens": found.thinking} if thinks else {}),
        "evaluate/problems": float(found.problems),
        **failed_checks(found),
    }
