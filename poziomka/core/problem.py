"""Problems that can be checked, and what a check says."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from poziomka.core.errors import ProblemError, TaskError, reason_of
from poziomka.core.failures import failures_of
from poziomka.core.splits import TEST, TRAIN, VALIDATION, Carving
from poziomka.core.transcript import Message, Transcript

if TYPE_CHECKING:
    from poziomka.core.environment import Environment

FAULT = "poziomka: the problem could not be drawn"  # the fact of a stand-in that holds the reason


class Verdict(StrEnum):
    """What a scorer found. ERROR and TIMEOUT are failures of the check and never a reward."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"  # no answer could be read
    TRUNCATED = "truncated"  # the reply ran into its limit before it answered
    ERROR = "error"  # the scorer, or the environment, raised
    TIMEOUT = "timeout"  # the scorer did not return in time


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem; plain data, saved inside every rollout.

    Attributes:
        task: name of the task it comes from.
        key: names it within the task, and is what splits must not share.
        prompt: what the model is asked.
        answer: the gold answer, as text; "" where many answers are right.
        facts: anything more that the scorer needs.
        level: difficulty, in the task's own units.
    """

    task: str
    key: str
    prompt: tuple[Message, ...]
    answer: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    level: int = 0

    @classmethod
    def ask(cls, task: str, key: str, question: str, answer: str = "", **facts: object) -> "Problem":
        """Returns a problem with one user message."""
        return cls(task, key, (Message("user", question),), answer, facts)

    @property
    def fault(self) -> str:
        """Why the problem could not be drawn, for a stand-in (see Task.draw); "" for a problem."""
        return str(self.facts.get(FAULT, ""))


@dataclass(frozen=True, slots=True)
class Score:
    """What a scorer says of one transcript.

    Attributes:
        reward: 0 to 1; None where nothing was judged.
        verdict: what was found.
        answer: what was read as the answer; None where nothing could be.
        why: one line that a person can check.
        parts: named components of the reward.

    Raises:
        TaskError: the reward is not a number from 0 to 1, a failed check carries one, the verdict is no Verdict,
            `answer` or `why` is no text, or `parts` are no numbers by name.
    """

    reward: float | None
    verdict: Verdict
    answer: str | None = None
    why: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses a reward that no check can have given."""
        if not isinstance(self.verdict, Verdict):
            message = f"a verdict is one of Verdict: received {self.verdict!r:.80}"
            raise TaskError(message)
        for text in ("" if self.answer is None else self.answer, self.why):
            if not isinstance(text, str):
                message = f"the answer and the why of a score are texts: received {text!r:.80} ({type(text).__name__})"
                raise TaskError(message)
        failed = self.verdict in (Verdict.ERROR, Verdict.TIMEOUT)
        if failed and self.reward is not None:
            message = f"a failed check is never a reward: {self.verdict} with reward {self.reward}; use None"
            raise TaskError(message)
        if self.reward is not None and not (math.isfinite(self.reward) and 0.0 <= self.reward <= 1.0):
            message = f"a reward lies from 0 to 1: received {self.reward}; scale it in the scorer"
            raise TaskError(message)
        object.__setattr__(self, "reward", None if self.reward is None else float(self.reward))
        object.__setattr__(self, "parts", _numbers(self.parts))

    @property
    def correct(self) -> bool:
        """Whether the verdict is CORRECT."""
        return self.verdict is Verdict.CORRECT

    @classmethod
    def right(cls, answer: str, why: str = "") -> "Score":
        """Reward 1."""
        return cls(1.0, Verdict.CORRECT, answer, why)

    @classmethod
    def wrong(cls, answer: str, why: str = "") -> "Score":
        """Reward 0, for an answer that was read and is not right."""
        return cls(0.0, Verdict.WRONG, answer, why)

    @classmethod
    def unparsed(cls, why: str) -> "Score":
        """Reward 0, because no answer could be read."""
        return cls(0.0, Verdict.UNPARSED, None, why)

    @classmethod
    def failed(cls, verdict: Verdict, why: str) -> "Score":
        """No reward: the check itself failed."""
        return cls(None, verdict, None, why)


def _numbers(parts: object) -> dict[str, float]:
    """Returns the parts of a reward with Python's own numbers, which a journal can hold; numpy's are converted.

    Raises:
        TaskError: they are no numbers by name.
    """
    try:
        return {_name(name): _number(value) for name, value in parts.items()}  # type: ignore[attr-defined]  # or it fails
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        message = f"the parts of a score are numbers by name: received {parts!r:.80}"
        raise TaskError(message) from error


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError
    return name


def _number(value: Any) -> float:
    if isinstance(value, str | bytes):
        raise TypeError
    number: float = value if type(value) in (bool, int, float) else float(value)
    return number


Source = Callable[[str, int, int | None], Problem]
Scorer = Callable[[Problem, Transcript], Score]


@dataclass(frozen=True)
class Task:
    """Problems whose answers check themselves: a source and a scorer.

    Attributes:
        name: how the command line and the journal call it.
        source: pure in (split, index, level); level None draws from the task's own mixture.
        scorer: plain synchronous code.
        environment: opens the session that the exchange with a problem needs; None for a single reply.
        size: number of problems, the same in every split or by the split's name (0 where there is no such split: a
            task that is for evaluation only has none to train on); None for endless.
        levels: lowest and highest level that a problem can be asked for at; None where none can.
        trusted: the scorer is known to return quickly for any input, so it runs inline; others run in
            a worker process with a time limit.
        demonstration: a written-out solution of a problem as (thought, answer); None where there is none.
        mistakes: answers to a problem that are certainly wrong and earn nothing, each by what is wrong with it, for the
            trial of the scorer; give it where more than one answer is right. None: the trial changes the gold answer.
        audit: a second scorer, written in another way, by which monitors see whether a rising reward is earned;
            None: an answer that says the gold one and no other (core/audit.py).
        limits: sentences that say what a result on this task does not show; they go into every report.
        symbols: every symbol of prompts, thoughts and answers, where a model from nothing is to learn them; else ().
        splits: the splits that the source itself keeps apart. Where "validation" is not among them, or is empty, one
            kind in ten of the source's training problems is the validation split, and not in "train" (core/splits.py).
        kind: what a training problem and a validation problem must not share; None for the key.
        references: returns, for a problem and a number T, the chance that each known policy solves the problem within
            0, 1, … T thinking tokens, by the policy's name; reports draw them beside the model. None where unknown.
    """

    name: str
    source: Source
    scorer: Scorer
    environment: "Callable[[Problem], Environment | None] | None" = None
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
        """Returns how many problems a split has, each in one split only; None for endless."""
        return self._carving.count(split) if self._carved(split) else self._size(split)

    def _size(self, split: str) -> int | None:
        if not callable(self.size):
            return self.size
        with failures_of(f"the size of split {split!r} of task {self.name!r}", TaskError):
            return self.size(split)

    def problem(self, split: str, index: int, level: int | None = None) -> Problem:
        """Returns a problem of a split ("train", "validation", "test", …).

        Raises:
            ProblemError: the source raised, or returned what is no problem.
            TaskError: the index is outside the split, the level outside `levels`, or the source raised a TaskError.
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
        """Returns what the source gives; any other error of the source than a TaskError becomes a ProblemError."""
        try:
            problem = self.source(split, index, level)
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
        """Returns a problem as `problem` does; a stand-in where the problem cannot be drawn.

        A stand-in has the reason as its `fault`, and `collect` records each attempt at it as a failed check.

        Raises:
            TaskError: as `problem`, except ProblemError.
        """
        try:
            return self.problem(split, index, level)
        except ProblemError as error:
            prompt = (Message("user", f"(problem {index} of {split!r} could not be drawn)"),)
            facts = {FAULT: str(error)}
            return Problem(self.name, f"{split}/{index} (not drawn)", prompt, facts=facts, level=level or 0)

    def take(
        self, split: str, start: int, count: int, level: int | None = None, *, stand_ins: bool = False
    ) -> list[Problem]:
        """Returns `count` problems from index `start`, going round at the end of a finite split.

        Args:
            split: where from.
            start: index of the first.
            count: how many.
            level: of all of them; None: the task's own mixture.
            stand_ins: return a stand-in for a problem that cannot be drawn (see `draw`), and raise no ProblemError.

        Raises:
            TaskError: the split is empty, or as `problem`.
        """
        draw = self.draw if stand_ins else self.problem
        wrap = self.count(split)
        if wrap == 0:
            message = f"task {self.name!r} has no problems in {split!r}: it cannot be used for that"
            raise TaskError(message)
        return [draw(split, (start + i) % wrap if wrap else start + i, level) for i in range(count)]

    def first(self, split: str, count: int, *, stand_ins: bool = False) -> list[Problem]:
        """Returns the first `count` problems of a split, or all that there are; `stand_ins` and errors as in `take`."""
        there = self.count(split)
        return self.take(split, 0, count if there is None else min(count, there), stand_ins=stand_ins)


def _wrong(problem: object) -> str:
    """Returns, in words, what a source returned in place of a problem; "" for a problem with fields of their types."""
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
