r"""Adapter of TRL data sets and reward functions.

    from trl.rewards import accuracy_reward
    from poziomka.tasks.adapters import from_trl, one_box

    task = from_trl("sums", dataset, accuracy_reward, read=one_box, gold=lambda row: rf"\boxed{{{row['solution']}}}")

A row has a `prompt`, text or chat messages, and further columns. A reward function is called as GRPOTrainer calls it:
by keyword, with `prompts`, `completions` (chat messages if the prompt is), `completion_ids` and every column, each a
list of one; it may be a coroutine. Rewards are combined as in GRPOTrainer: the weighted sum of those that are not None.
If every function returns None, nothing was scored, which is a failed check here.

This adapter refuses more than TRL does: a reward that is not a number (TRL treats nan as None), a function with a
parameter `trainer_state` or `environments`, since a reward depends on problem and reply alone, and reward models.
"""

import asyncio
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Transcript, split_thought
from poziomka.tasks.adapters.reading import LIMITS, Read, unread, whole
from poziomka.tasks.adapters.rows import Gold, Rows, Shelf, spelled
from poziomka.tasks.adapters.scale import SHOWN, Scale

Function = Callable[..., Any]

TAKEN = ("prompt", "completion", "completion_ids")  # columns that functions do not receive, as in GRPOTrainer
UNKNOWN = {
    "trainer_state": "a reward here depends on problem and reply, not on how far training is",
    "environments": "its own environments belong to the trainer",
}


def from_trl(
    name: str,
    rows: Rows,
    reward_funcs: Function | Sequence[Function],
    reward_weights: Sequence[float] | None = None,
    *,
    scale: Scale | None = None,
    read: Read = whole,
    gold: Gold = None,
) -> Task:
    """Returns a task from rows and reward functions in the form that TRL's GRPOTrainer takes.

    Args:
        name: name of the task.
        rows: a data set, or a dictionary with one for each split. Without splits, one prompt in eight belongs to
            "test".
        reward_funcs: one function, or several.
        reward_weights: one weight for each function; `reward_weights=None` weights each with 1.
        scale: range of the weighted sum; `scale=None` uses 0 to 1. A sum outside is an ERROR and is never clipped.
        read: selects the part of a reply that the functions receive; the default, `whole`, does as GRPOTrainer.
        gold: name of the column with the right answer, or a function that returns it for a row, as the model should
            write it; `gold=None` leaves it unknown.

    Raises:
        TaskError: there is no function, a weight is missing, there are no rows, or a function cannot be used here: a
            reward model, or one with a parameter that only a trainer can supply.
    """
    functions: tuple[Function, ...] = tuple(reward_funcs) if isinstance(reward_funcs, Sequence) else (reward_funcs,)
    weights = tuple(reward_weights) if reward_weights is not None else (1.0,) * len(functions)
    if not functions or len(weights) != len(functions):
        message = f"task {name!r} needs a weight for each function: received {len(functions)} and {len(weights)}"
        raise TaskError(message)
    for function in functions:
        _check(function)
    shelf = Shelf(name, rows, gold)
    scorer = Weighted(_named(functions), weights, Scale() if scale is None else scale, read)
    return Task(name, shelf.source, scorer, size=shelf.size, splits=shelf.splits, limits=LIMITS)


def _check(function: object) -> None:
    """Raises TaskError for a reward model, and for a function with a parameter that depends on the trainer's state."""
    if isinstance(function, str) or hasattr(function, "forward") or not callable(function):
        message = f"a reward function is called: received {type(function).__name__} (reward models are not supported)"
        raise TaskError(message)
    for asked in inspect.signature(function).parameters:
        if asked in UNKNOWN:
            message = f"reward function {_name(function)!r} asks for {asked!r}: {UNKNOWN[asked]}; leave it out"
            raise TaskError(message)


def _name(function: object) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    return getattr(inner, "__name__", type(inner).__name__)


def _named(functions: Sequence[Function]) -> dict[str, Function]:
    """Returns functions by name; the second of the same name, which TRL allows, becomes NAME#2, and so on."""
    found: dict[str, Function] = {}
    for function in functions:
        name, number = _name(function), 1
        while name in found:
            number += 1
            name = f"{_name(function)}#{number}"
        found[name] = function
    return found


@dataclass(frozen=True)
class Weighted:
    """Scores a reply by the weighted sum of reward functions (a scorer).

    Attributes:
        functions: reward functions by name.
        weights: one weight for each function.
        scale: range of the sum, which is mapped to 0 to 1.
        read: selects the part of a reply that the functions receive.
    """

    functions: Mapping[str, Function]
    weights: tuple[float, ...]
    scale: Scale
    read: Read

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns the score; an exception of a function propagates to the caller, which gives the verdict ERROR."""
        shown = self.read(transcript.reply)
        if shown is None:
            return unread(self.read)
        told = Told()
        call = _arguments(problem, transcript, shown) | {"log_extra": told.extra, "log_metric": told.metric}
        values = wait_for(self._ask(call))
        parts = {name: value for name, value in zip(self.functions, values, strict=True) if value is not None}
        if not parts:
            return Score.failed(Verdict.ERROR, "no reward function applies to this problem: all of them said None")
        weighted = zip(self.weights, values, strict=True)
        raw = math.fsum(weight * value for weight, value in weighted if value is not None)
        why = "; ".join([*(f"{name} {value:g}" for name, value in parts.items()), *told.lines])
        return self.scale.score(raw, split_thought(transcript.reply)[1], parts | told.metrics, why[:SHOWN])

    async def _ask(self, call: Mapping[str, Any]) -> list[float | None]:
        """Calls every function, coroutines concurrently, and returns their rewards in order, None included."""

        async def ask(name: str, function: Function) -> float | None:
            said = function(**call)
            return _only(name, await said if inspect.isawaitable(said) else said)

        return list(await asyncio.gather(*(ask(name, function) for name, function in self.functions.items())))


@dataclass
class Told:
    """Collects the columns and metrics that reward functions log during one call.

    Attributes:
        lines: one line per logged column: its name and its values.
        metrics: logged metrics, by name.
    """

    lines: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    def extra(self, column: str, values: Sequence[object]) -> None:
        """Stores a logged column as a line of text, for the score's explanation (stands in for TRL's `log_extra`)."""
        self.lines.append(f"{column} {', '.join(map(str, values))}")

    def metric(self, name: str, value: float) -> None:
        """Stores a logged metric, for the score's parts, as "metric/NAME" (stands in for TRL's `log_metric`)."""
        self.metrics[f"metric/{name}"] = float(value)


def _arguments(problem: Problem, transcript: Transcript, shown: str) -> dict[str, Any]:
    """Returns the keyword arguments that GRPOTrainer passes to a reward function: lists of length 1, for one reply.

    Args:
        problem: source of the prompt and of the columns.
        transcript: source of the token IDs.
        shown: the part of the reply that the functions receive.
    """
    columns: Mapping[str, Any] = problem.facts["columns"]  # type: ignore[assignment]  # as rows.py has made it
    chat = problem.facts["chat"]
    return {
        "prompts": [spelled(problem.prompt) if chat else problem.prompt[-1].content],
        "completions": [[{"role": "assistant", "content": shown}] if chat else shown],
        "completion_ids": [_ids(transcript)],
    } | {name: [value] for name, value in columns.items() if name not in TAKEN}


def _ids(transcript: Transcript) -> list[int] | None:
    """Returns the token IDs of the reply; None if a span has text without token IDs."""
    spoken: list[int] = []
    for span in transcript:
        if span.author in (Author.USER, Author.SYSTEM):
            spoken = []
        elif span.author is not Author.TEMPLATE:
            if span.tokens is None and span.text:
                return None
            spoken += span.tokens or ()
    return spoken


def _only(name: str, said: object) -> float | None:
    """Returns the reward in a function's return value, which must be a sequence of one.

    Raises:
        TaskError: there is not exactly one reward, or it is neither a finite number nor None.
    """
    if not isinstance(said, Sequence) and not hasattr(said, "__len__"):
        message = f"reward function {name!r} returns a list of rewards: received a {type(said).__name__}"
        raise TaskError(message)
    values = list(said)  # type: ignore[call-overload]  # it has a length: a list, an array, a tensor
    if len(values) != 1:
        message = f"reward function {name!r} returns one reward a completion: received {len(values)} for 1"
        raise TaskError(message)
    if values[0] is None:
        return None
    if isinstance(values[0], str) or not math.isfinite(value := float(values[0])):
        message = f"reward function {name!r} returns numbers, or None: received {values[0]!r}"
        raise TaskError(message)
    return value
