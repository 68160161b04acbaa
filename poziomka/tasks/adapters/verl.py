"""Adapter of verl's rows and `compute_score`.

    from datasets import Dataset
    from poziomka.tasks.adapters import from_verl

    task = from_verl("gsm8k", Dataset.from_parquet("train.parquet"), compute_score)

A row has a `prompt` of chat messages, a `data_source`, `reward_model["ground_truth"]` and optionally `extra_info`. The
function is called by keyword as verl's naive reward manager calls it, with `data_source`, `solution_str`,
`ground_truth` and `extra_info`; it may be a coroutine. It returns a number, or a mapping with the number `score`, whose
other numbers are stored as parts of the score. An exception is an ERROR.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript, split_thought
from poziomka.tasks.adapters.reading import LIMITS, Read, unread, whole
from poziomka.tasks.adapters.rows import Gold, Rows, Shelf
from poziomka.tasks.adapters.scale import Scale


def from_verl(
    name: str,
    rows: Rows,
    compute_score: Callable[..., Any],
    *,
    scale: Scale | None = None,
    read: Read = whole,
    gold: Gold = None,
) -> Task:
    """Returns a task from verl's rows and scoring function.

    Args:
        name: name of the task.
        rows: a data set, or a dictionary with one for each split. Without splits, one prompt in eight belongs to
            "test".
        compute_score: function of the keywords data_source, solution_str, ground_truth and extra_info, or a coroutine
            function. It returns a number, or a mapping with the number "score".
        scale: range of its scores; `scale=None` uses 0 to 1. A score outside is an ERROR and is never clipped.
        read: selects the part of a reply that the function receives; the default, `whole`, does as verl.
        gold: name of the column with the right answer, or a function that returns it for a row, as the model should
            write it; `gold=None` leaves it unknown.

    Raises:
        TaskError: there are no rows.
    """
    shelf = Shelf(name, rows, gold)

    def source(split: str, index: int, level: int | None = None) -> Problem:
        problem = shelf.source(split, index, level)
        _given(problem)  # raises for a row without a right answer before it is attempted
        return problem

    scorer = Computed(compute_score, Scale() if scale is None else scale, read)
    return Task(name, source, scorer, size=shelf.size, splits=shelf.splits, limits=LIMITS)


def _given(problem: Problem) -> dict[str, Any]:
    """Returns the keyword arguments of `compute_score` that a problem's row determines: all but solution_str.

    Raises:
        TaskError: the row has no data_source or no ground truth.
    """
    columns: Mapping[str, Any] = problem.facts["columns"]  # type: ignore[assignment]  # as rows.py has made it
    model, about = columns.get("reward_model"), columns.get("extra_info")
    if "data_source" not in columns or not isinstance(model, Mapping) or model.get("ground_truth") is None:
        message = f"a row of verl has data_source and reward_model['ground_truth']: received {sorted(columns)}"
        raise TaskError(message)
    extra = {**(about if isinstance(about, Mapping) else {}), "num_turns": None, "rollout_reward_scores": {}}
    return {"data_source": columns["data_source"], "ground_truth": model["ground_truth"], "extra_info": extra}


@dataclass(frozen=True)
class Computed:
    """Scores a reply by verl's `compute_score` (a scorer).

    Attributes:
        compute_score: scoring function with verl's signature.
        scale: range of its scores, which is mapped to 0 to 1.
        read: selects the part of a reply that the function receives.
    """

    compute_score: Callable[..., Any]
    scale: Scale
    read: Read

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns the score; an exception of the function propagates to the caller, which gives the verdict ERROR."""
        shown = self.read(transcript.reply)
        if shown is None:
            return unread(self.read)
        said = wait_for(self._ask(_given(problem) | {"solution_str": shown}))
        found: Mapping[str, Any] = said if isinstance(said, Mapping) else {"score": said}
        parts = {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
        if not math.isfinite(parts.get("score", math.nan)):
            message = f"compute_score returns a number, or a mapping with the number 'score': received {said!r:.200}"
            raise TaskError(message)
        why = "; ".join(f"{name} {str(value)[:100]}" for name, value in found.items())
        return self.scale.score(parts["score"], split_thought(transcript.reply)[1], parts, why)

    async def _ask(self, call: Mapping[str, Any]) -> Any:
        said = self.compute_score(**call)
        return await said if inspect.isawaitable(said) else said
