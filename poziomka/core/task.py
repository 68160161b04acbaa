"""Tasks: a source of problems, their scorer, and the environment that they need."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real
from typing import Protocol, cast, runtime_checkable

from poziomka.core.environment import Environment, opening
from poziomka.core.errors import EnvironmentFailure, ProblemError, TaskError, reason_of
from poziomka.core.generator import GeneratedSource, Generator, is_generator
from poziomka.core.problem import FAULT, Problem, Score
from poziomka.core.safety.failures import failures_of
from poziomka.core.splits import SPLITS, TEST, TRAIN, VALIDATION, Carving
from poziomka.core.transcript import Transcript

Source = Callable[[str, int, int | None], Problem]
Scorer = Callable[[Problem, Transcript], Score | float]


@dataclass(frozen=True)
class Task:
    """A source of problems and the scorer of attempts at them.

    Attributes:
        name: name of the task on the command line and in the journal.
        source: a generator, called as generator(rng, level) or generator(rng), whose problems the library seeds and
            deals to disjoint splits (core/generator.py); or a source, called as source(split, index, level), which
            returns the problem deterministically and samples level None from the task's own mixture.
        scorer: called as scorer(problem, transcript), synchronous; reads `transcript.answer` and returns a Score, or a
            number from -1 to 1, where 1 is a correct answer.
        environment: returns the environment of a problem, or None for a single reply; None if no problem has one.
        size: number of problems in every split, or a function of the split's name (0 for a split that does not exist,
            as "train" of a task for evaluation only); None for endless.
        levels: lowest and highest level that can be requested; None if the task has no levels.
        trusted: whether the scorer returns quickly for any input, so that it runs inline; other scorers run in a
            worker process with a time limit.
        demonstration: returns a worked solution of a problem as (thought, answer); None if there is none.
        mistakes: returns wrong answers to a problem, which must earn no reward, by a description of the error, for
            `poziomka tasks check`; needed where several answers are correct. None: the check alters the gold answer.
        audit: second scorer, implemented independently, with which monitors verify rewards; None for the comparison
            with the gold answer in core/rollouts/cross_check.py.
        limits: sentences about what results on this task do not show; printed in every report.
        symbols: all symbols of prompts, thoughts and answers, from which the tokenizer of a model trained from scratch
            is built; else ().
        splits: the splits that the source keeps disjoint. If "validation" is not among them, or is empty, one kind in
            ten of the training problems is moved from "train" to "validation" (core/splits.py).
        kind: returns the kind of a problem; train and validation share no kind. None for the key.
        references: returns, for a problem and a number T, the probability that each reference policy solves the problem
            within 0, 1, … T thinking tokens, by the policy's name; reports draw them beside the model. None if unknown.
    """

    name: str
    source: Source | Generator
    scorer: Scorer
    environment: Callable[[Problem], Environment | None] | None = None
    size: int | Callable[[str], int] | None = None
    levels: tuple[int, int] | None = None
    trusted: bool = False
    demonstration: Callable[[Problem], tuple[str, str]] | None = None
    mistakes: Callable[[Problem], Mapping[str, str]] | None = None
    audit: Scorer | None = None
    symbols: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    splits: tuple[str, ...] = (TRAIN, TEST)
    kind: Callable[[Problem], str] | None = None
    references: Callable[[Problem, int], Mapping[str, Sequence[float]]] | None = None

    def __post_init__(self) -> None:
        """Makes a source of a generator.

        Raises:
            TaskError: the levels are no pair of integers, the generator takes a level and the task has no levels, or a
                size is given for a generator.
        """
        if self.levels is not None:
            object.__setattr__(self, "levels", _pair(self.name, self.levels))
        if is_generator(self.source):
            object.__setattr__(self, "source", GeneratedSource(self.name, cast("Generator", self.source), self.levels))
            object.__setattr__(self, "splits", SPLITS)
        if isinstance(self.source, GeneratedSource) and self.size is not None:
            message = f"the problems of a generator are counted: give task {self.name!r} no size"
            raise TaskError(message)

    @cached_property
    def _carving(self) -> Carving:
        return Carving(
            self.name, lambda index, level: self._drawn(TRAIN, index, level), self._size(TRAIN), self._kind_of
        )

    def _kind_of(self, problem: Problem) -> str:
        if self.kind is None:
            return problem.key
        with failures_of(f"the kind of problem {problem.key!r} of task {self.name!r}", ProblemError):
            kind = self.kind(problem)
            hash(kind)
            return kind

    def _carved(self, split: str) -> bool:
        own = VALIDATION in self.splits and self._size(VALIDATION) != 0
        return split in (TRAIN, VALIDATION) and not own

    def count(self, split: str) -> int | None:
        """Returns the number of problems in a split, each in one split only; None for endless."""
        return self._carving.count(split) if self._carved(split) else self._size(split)

    def _size(self, split: str) -> int | None:
        if isinstance(self.source, GeneratedSource):
            return self.source.count(split)
        if not callable(self.size):
            return self.size
        with failures_of(f"the size of split {split!r} of task {self.name!r}", TaskError):
            return self.size(split)

    def problem(self, split: str, index: int, level: int | None = None) -> Problem:
        """Returns a problem of a split.

        Args:
            split: "train", "validation", "test", or another split of the source.
            index: from 0.
            level: difficulty level; None for the source's own mixture.

        Raises:
            ProblemError: the source raised, or returned something else than a Problem.
            TaskError: the index is outside the split, the level is outside `levels`, or the source raised a TaskError.
        """
        count = self.count(split)
        if index < 0 or (count is not None and index >= count):
            endless = "endless" if count is None else count
            message = f"task {self.name!r} has {endless} problems in {split!r}: there is no index {index}"
            raise TaskError(message)
        if level is not None and (self.levels is None or not self.levels[0] <= level <= self.levels[1]):
            message = f"task {self.name!r} has levels {self.levels}: there is no level {level}"
            raise TaskError(message)
        return self._carving.problem(split, index, level) if self._carved(split) else self._drawn(split, index, level)

    def _drawn(self, split: str, index: int, level: int | None) -> Problem:
        """Returns the problem of the source; its errors, except TaskError, and other results become ProblemError."""
        try:
            problem = cast("Source", self.source)(split, index, level)
        except (TaskError, KeyboardInterrupt):
            raise
        except BaseException as error:
            kind, _, text = reason_of(error).partition(": ")
            message = f"the source of task {self.name!r} raised {kind} at {split}/{index}: {text}"
            raise ProblemError(message) from error
        wrong = _wrong(problem)
        if wrong:
            message = f"a source returns a Problem: that of task {self.name!r} returned {wrong} at {split}/{index}"
            raise ProblemError(message)
        return problem if type(problem.level) is int else replace(problem, level=operator.index(problem.level))

    def draw(self, split: str, index: int, level: int | None = None) -> Problem:
        """Returns a problem as `problem` does, or a stand-in for one that cannot be drawn.

        A stand-in has the reason as its `fault`, and `collect` records each attempt at it as a failed check.

        Raises:
            TaskError: as for `problem`, except ProblemError.
        """
        try:
            return self.problem(split, index, level)
        except ProblemError as error:
            prompt = f"(problem {index} of {split!r} could not be drawn)"
            key, facts = f"{split}/{index} (not drawn)", {FAULT: str(error)}
            return Problem(prompt, task=self.name, key=key, facts=facts, level=level or 0)

    def take(
        self, split: str, start: int, count: int, level: int | None = None, *, stand_ins: bool = False
    ) -> list[Problem]:
        """Returns `count` problems from index `start`; indices wrap around at the end of a finite split.

        Args:
            split: name of the split.
            start: index of the first problem.
            count: number of problems.
            level: level of all of them; None for the source's own mixture.
            stand_ins: return a stand-in for a problem that cannot be drawn (see `draw`); else that raises ProblemError.

        Raises:
            TaskError: the split is empty; otherwise as `problem`.
        """
        draw = self.draw if stand_ins else self.problem
        wrap = self.count(split)
        if wrap == 0:
            message = f"task {self.name!r} has no problems in {split!r}: it cannot be used for that"
            raise TaskError(message)
        return [draw(split, (start + i) % wrap if wrap else start + i, level) for i in range(count)]

    def first(self, split: str, count: int, *, stand_ins: bool = False) -> list[Problem]:
        """Returns the first `count` problems of a split, or all of a smaller one; `stand_ins` and errors as `take`."""
        if isinstance(self.source, GeneratedSource):
            return self.take(split, 0, self.source.available(split, count), stand_ins=stand_ins)
        there = self.count(split)
        return self.take(split, 0, count if there is None else min(count, there), stand_ins=stand_ins)

    def score(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns what the scorer finds, a bare number as a Score; raises whatever the scorer raises."""
        return scored(self.scorer, problem, transcript)


@runtime_checkable
class AskingScorer(Protocol):
    """Interface of a scorer that asks a model before it scores.

    `ask` runs in the event loop of the samplers, so that the requests of a step share batches. `settle` then scores,
    inline or in a worker process, as a plain scorer does.
    """

    async def ask(self, problem: Problem, transcript: Transcript) -> object:
        """Returns the replies, as an object that can be pickled; None if the scorer asks nothing here."""

    def settle(self, problem: Problem, transcript: Transcript, asked: object) -> Score | float:
        """Returns the score, given the result of `ask`; with None, the scorer asks first."""

    def __call__(self, problem: Problem, transcript: Transcript) -> Score | float:
        """Asks and scores, outside of an event loop."""


async def ask(scorer: Scorer, problem: Problem, transcript: Transcript) -> object:
    """Returns the result of a scorer's `ask`; None for a scorer that asks no model."""
    return await scorer.ask(problem, transcript) if isinstance(scorer, AskingScorer) else None


def settle(scorer: Scorer, problem: Problem, transcript: Transcript, asked: object) -> Score | float:
    """Returns the result of a scorer, given the result of `ask`; raises whatever the scorer raises."""
    if asked is not None and isinstance(scorer, AskingScorer):
        return scorer.settle(problem, transcript, asked)
    return scorer(problem, transcript)


@dataclass(frozen=True)
class Delegate:
    """A scorer that passes attempts to another scorer, and may change its score.

    Attributes:
        to: returns the other scorer and the problem that it receives.
        then: returns the changed score; None leaves it unchanged.
    """

    to: Callable[[Problem], tuple[Scorer, Problem]]
    then: Callable[[Score, Transcript], Score] | None = None

    async def ask(self, problem: Problem, transcript: Transcript) -> object:
        """Returns the result of the other scorer's `ask`."""
        scorer, own = self.to(problem)
        return await ask(scorer, own, transcript)

    def settle(self, problem: Problem, transcript: Transcript, asked: object) -> Score:
        """Returns the score of the other scorer, changed by `then`."""
        scorer, own = self.to(problem)
        score = scored(scorer, own, transcript, asked)
        return score if self.then is None else self.then(score, transcript)

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns the score; see `settle`."""
        return self.settle(problem, transcript, None)


def scored(scorer: Scorer, problem: Problem, transcript: Transcript, asked: object = None) -> Score:
    """Returns the result of a scorer, a bare number as a Score; raises whatever the scorer raises.

    Args:
        scorer: the scorer.
        problem: the problem.
        transcript: the attempt.
        asked: result of `ask`; None if nothing was asked.

    Raises:
        TaskError: the scorer returned something else than a Score or a number from -1 to 1.
    """
    found = settle(scorer, problem, transcript, asked)
    if isinstance(found, Score):
        return found
    if isinstance(found, Real):
        return Score.of(float(found))
    message = f"the scorer returned {type(found).__name__}, not a Score or a number"
    raise TaskError(message)


def _wrong(problem: object) -> str:
    """Returns a description of what a source returned, if it is not a Problem with fields of their types; else ""."""
    if not isinstance(problem, Problem):
        return type(problem).__name__
    try:
        prompt = Transcript.of(problem.prompt)
        operator.index(problem.level)
    except Exception as error:  # noqa: BLE001 the fields may hold anything
        return f"a Problem with a prompt or a level of another type ({reason_of(error)})"
    texts = (problem.task, problem.key, problem.answer, *(span.text for span in prompt))
    if not all(isinstance(text, str) for text in texts) or not isinstance(problem.facts, Mapping):
        return "a Problem whose task, key, answer or prompt is no text, or whose facts are no mapping"
    return ""


def environment_of(task: Task, problem: Problem) -> tuple[Environment | None, Transcript]:
    """Returns the environment of a problem, and the initial transcript of a rollout.

    Raises:
        EnvironmentFailure: the task cannot create the environment.
    """
    with failures_of("the environment of the task"):
        environment = task.environment(problem) if task.environment else None
        return environment, opening(problem, environment)


def asked(task: Task, problem: Problem) -> Transcript:
    """Returns the initial transcript of a rollout of a task's problem, tools included.

    If the environment cannot be created, returns the prompt alone, as `collect` does when it records that failure.
    """
    try:
        return environment_of(task, problem)[1]
    except EnvironmentFailure:
        return Transcript.of(problem.prompt)


def _pair(name: str, levels: Sequence[int]) -> tuple[int, int]:
    """Returns the lowest and highest level as a tuple.

    Raises:
        TaskError: they are no two integers in ascending order.
    """
    try:
        low, high = (operator.index(level) for level in levels)
    except (TypeError, ValueError):
        low, high = 1, 0
    if low > high:
        message = f"the levels of task {name!r} must be (lowest, highest), two integers: received {levels!r:.80}"
        raise TaskError(message)
    return low, high
