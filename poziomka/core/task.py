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
from poziomka.core.transcript import AnswerReader, Transcript

Source = Callable[[str, int, int | None], Problem]
Scorer = Callable[[Problem, Transcript], Score | float]


@dataclass(frozen=True)
class Task:
    """A source of problems and the scorer of attempts at them.

    Attributes:
        name: name of the task on the command line and in the journal.
        source: a generator or a source of problems. A generator, called as generator(rng, level) or generator(rng),
            draws a Problem with the random.Random `rng`; the library seeds it and divides its problems into disjoint
            splits. A source, called as source(split, index, level), returns the same Problem for the same arguments;
            for `level=None` it chooses a level itself.
        scorer: synchronous function, called as scorer(problem, transcript). It reads `transcript.answer` and returns a
            Score, or a number from -1 to 1, where 1 is a correct answer.
        environment: called as environment(problem); returns the problem's Environment (tools, a game), or None if the
            problem is answered in a single reply. `environment=None`: no problem has an environment.
        size: number of problems in every split, or a function from a split's name to its number of problems (0 for a
            split that does not exist). `size=None`: every split is endless, or the source is a generator, whose
            problems are counted.
        levels: lowest and highest level that can be requested; None if the task has no levels.
        trusted: True if the scorer returns quickly for any reply: it then runs in the calling process. A scorer that is
            not trusted runs in a worker process with a time limit.
        demonstration: called as demonstration(problem); returns a worked solution as (thought, answer). None if the
            task has no demonstrations.
        mistakes: called as mistakes(problem); returns wrong answers, which must earn no reward, keyed by a description
            of the error, for `poziomka tasks check`. Needed if several answers are correct. `mistakes=None`: the check
            alters the gold answer instead.
        audit: second scorer, implemented independently, with which monitors verify rewards. `audit=None`: monitors
            compare answers with the gold answer (`says_gold` in core/rollouts/cross_check.py).
        limits: sentences about what results on this task do not show; printed in every report.
        read: called as read(transcript) by strategies that vote; returns the answer of a reply, None if it has none. It
            must not use gold answers, and must return one text for replies with the same answer: sorted coins where
            their order is free. `read=None`: the reader of the scorer, if it has one (see `reader`).
        scorer_limits: those of `limits` that are about the scorer; they go when another scorer replaces it.
        symbols: all white-space-separated symbols of prompts, thoughts and answers: the vocabulary of a model trained
            from scratch. () if no such model can be trained on the task.
        splits: names of the splits that the source keeps disjoint. If "validation" is not among them, or is empty, one
            kind in ten of the training problems is moved from "train" to "validation" (core/splits.py).
        kind: called as kind(problem); returns the label of a group of similar problems. Such a group is never divided
            between train and validation. `kind=None`: every `Problem.key` is a kind of its own.
        references: called as references(problem, T); returns, by the name of a reference policy, its probabilities of
            solving the problem within 0, 1, … T thinking tokens (T + 1 numbers). Reports plot them beside the model.
            None if there are no reference policies.
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
    scorer_limits: tuple[str, ...] = ()
    read: AnswerReader | None = None

    def __post_init__(self) -> None:
        """Checks the levels, and wraps a generator into a source.

        Raises:
            TaskError: the levels are not two integers in ascending order, the generator takes a level and the task has
                no levels, a size is given for a generator, or `read` cannot be called.
        """
        if self.read is not None and not callable(self.read):
            message = f"`read` of task {self.name!r} is no function from a transcript to its answer: {self.read!r:.80}"
            raise TaskError(message)
        if self.levels is not None:
            object.__setattr__(self, "levels", _pair(self.name, self.levels))
        if is_generator(self.source):
            object.__setattr__(self, "source", GeneratedSource(self.name, cast("Generator", self.source), self.levels))
            object.__setattr__(self, "splits", SPLITS)
        if isinstance(self.source, GeneratedSource) and self.size is not None:
            message = f"the problems of a generator are counted: give task {self.name!r} no size"
            raise TaskError(message)

    @property
    def reader(self) -> AnswerReader | None:
        """Reader of answers for votes: `read`, or the attribute `reader` of a scorer such as `exact`; None for none."""
        found: AnswerReader | None = getattr(self.scorer, "reader", None)
        return self.read or (found if callable(found) else None)

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
        """Returns the number of problems in a split; None if it is endless.

        Training problems that were moved to "validation" are counted only there.
        """
        return self._carving.count(split) if self._carved(split) else self._size(split)

    def _size(self, split: str) -> int | None:
        if isinstance(self.source, GeneratedSource):
            return self.source.count(split)
        if not callable(self.size):
            return self.size
        with failures_of(f"the size of split {split!r} of task {self.name!r}", TaskError):
            return self.size(split)

    def problem(self, split: str, index: int, level: int | None = None) -> Problem:
        """Returns the problem of a split at an index.

        Args:
            split: "train", "validation", "test", or another split of the source.
            index: from 0.
            level: difficulty level. `level=None`: the source chooses the level.

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
        """Calls the source and returns its problem.

        Raises:
            ProblemError: the source raised anything but TaskError, or returned something else than a Problem.
            TaskError: the source raised it.
        """
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
        """Returns the problem of a split at an index, or a stand-in if the source cannot return that problem.

        The stand-in is a Problem whose `fault` is the reason. `collect` does not sample for it, and records each
        attempt at it as a failed check without a reward. The arguments are those of `problem`.

        Raises:
            TaskError: the index is outside the split, the level is outside `levels`, or the source raised a TaskError.
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
            level: level of all of them. `level=None`: the source chooses the level of each.
            stand_ins: True returns a stand-in for a problem that the source cannot return (see `draw`); False raises.

        Raises:
            TaskError: the split is empty, the level is outside `levels`, or the source raised a TaskError.
            ProblemError: the source cannot return a problem, and `stand_ins` is False.
        """
        draw = self.draw if stand_ins else self.problem
        wrap = self.count(split)
        if wrap == 0:
            message = f"task {self.name!r} has no problems in {split!r}: it cannot be used for that"
            raise TaskError(message)
        return [draw(split, (start + i) % wrap if wrap else start + i, level) for i in range(count)]

    def available(self, split: str, count: int) -> int:
        """Returns the number of problems that `first` returns: `count`, or the size of a smaller split.

        Raises:
            TaskError: the source raised a TaskError.
        """
        if isinstance(self.source, GeneratedSource):
            return self.source.available(split, count)
        there = self.count(split)
        return count if there is None else min(count, there)

    def first(self, split: str, count: int, *, stand_ins: bool = False) -> list[Problem]:
        """Returns the first `count` problems of a split, or all problems of a smaller split.

        `stand_ins` and the exceptions are those of `take`.
        """
        return self.take(split, 0, self.available(split, count), stand_ins=stand_ins)

    def score(self, problem: Problem, transcript: Transcript) -> Score:
        """Runs the scorer on an attempt and returns its Score; a number becomes a Score.

        Exceptions of the scorer are raised; a result that is neither a Score nor a number from -1 to 1 raises
        TaskError.
        """
        return scored(self.scorer, problem, transcript)


@runtime_checkable
class AskingScorer(Protocol):
    """Interface of a scorer that sends requests to a model before it scores, such as a model as judge.

    `ask` runs in the event loop of the samplers, so that the requests of a step share batches. `settle` then scores,
    inline or in a worker process, as a plain scorer does.
    """

    async def ask(self, problem: Problem, transcript: Transcript) -> object:
        """Sends requests to the model and returns its replies, as one object that can be pickled, for `settle`.

        Returns None if this attempt needs no request.
        """

    def settle(self, problem: Problem, transcript: Transcript, asked: object) -> Score | float:
        """Returns the score of an attempt, computed from `asked`, the result of `ask`.

        `asked=None` means that `ask` was not called or made no request; a request that is needed is then made here.
        """

    def __call__(self, problem: Problem, transcript: Transcript) -> Score | float:
        """Sends the requests, waits for the replies and returns the score; for callers outside an event loop."""


async def ask(scorer: Scorer, problem: Problem, transcript: Transcript) -> object:
    """Returns the result of `scorer.ask` for an AskingScorer; None for a scorer that sends no requests to a model."""
    return await scorer.ask(problem, transcript) if isinstance(scorer, AskingScorer) else None


def settle(scorer: Scorer, problem: Problem, transcript: Transcript, asked: object) -> Score | float:
    """Returns the Score or number of a scorer, given `asked`, the result of the scorer's `ask`.

    `asked=None` means that nothing was asked: the scorer is then simply called. Exceptions of the scorer are raised.
    """
    if asked is not None and isinstance(scorer, AskingScorer):
        return scorer.settle(problem, transcript, asked)
    return scorer(problem, transcript)


@dataclass(frozen=True)
class Delegate:
    """A scorer that passes attempts to another scorer, and may change its score.

    Attributes:
        to: called as to(problem); returns (the other scorer, the problem that it receives).
        then: called as then(score, transcript); returns the changed score. `then=None` leaves the score unchanged.
    """

    to: Callable[[Problem], tuple[Scorer, Problem]]
    then: Callable[[Score, Transcript], Score] | None = None

    async def ask(self, problem: Problem, transcript: Transcript) -> object:
        """Returns the result of the other scorer's `ask`."""
        scorer, own = self.to(problem)
        return await ask(scorer, own, transcript)

    def settle(self, problem: Problem, transcript: Transcript, asked: object) -> Score:
        """Returns the score of the other scorer, changed by `then`.

        `asked` is the result of `ask`; None if nothing was asked.
        """
        scorer, own = self.to(problem)
        score = scored(scorer, own, transcript, asked)
        return score if self.then is None else self.then(score, transcript)

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns the score of the other scorer for an attempt, changed by `then`."""
        return self.settle(problem, transcript, None)


def scored(scorer: Scorer, problem: Problem, transcript: Transcript, asked: object = None) -> Score:
    """Runs a scorer on an attempt and returns its Score; a number becomes a Score. Exceptions of the scorer are raised.

    Args:
        scorer: the scorer.
        problem: the problem.
        transcript: the attempt.
        asked: result of the scorer's `ask`; None if nothing was asked.

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
    """Returns the fault of an object that a source returned, "" if there is none.

    A fault is an object that is not a Problem, or a Problem with a field of a wrong type.
    """
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
    """Returns (environment of a problem, initial transcript of a rollout); the environment is None if there is none.

    Raises:
        EnvironmentFailure: the task cannot create the environment.
    """
    with failures_of("the environment of the task"):
        environment = task.environment(problem) if task.environment else None
        return environment, opening(problem, environment)


def asked(task: Task, problem: Problem) -> Transcript:
    """Returns the initial transcript of a rollout of a task's problem: its prompt, and the tools of its environment.

    If the environment cannot be created, the transcript has no tools, as in the failed rollout that `collect` records.
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
