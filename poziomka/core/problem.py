"""Problems that can be checked, and what a check says."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from poziomka.core.errors import TaskError
from poziomka.core.transcript import Message, Transcript

if TYPE_CHECKING:
    from poziomka.core.environment import Environment


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
        TaskError: the reward is not a number from 0 to 1, or a failed check carries one.
    """

    reward: float | None
    verdict: Verdict
    answer: str | None = None
    why: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses a reward that no check can have given."""
        failed = self.verdict in (Verdict.ERROR, Verdict.TIMEOUT)
        if failed and self.reward is not None:
            message = f"a failed check is never a reward: {self.verdict} with reward {self.reward}; use None"
            raise TaskError(message)
        if self.reward is not None and not (math.isfinite(self.reward) and 0.0 <= self.reward <= 1.0):
            message = f"a reward lies from 0 to 1: received {self.reward}; scale it in the scorer"
            raise TaskError(message)

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
        size: number of problems to train on, where a source may refuse a shorter split's later ones; None for endless.
        levels: lowest and highest level that a problem can be asked for at; None where none can.
        trusted: the scorer is known to return quickly for any input, so it runs inline; others run in
            a worker process with a time limit.
        demonstration: a written-out solution of a problem as (thought, answer); None where there is none.
        limits: sentences that say what a result on this task does not show; they go into every report.
        symbols: every symbol of prompts, thoughts and answers, where a model from nothing is to learn them; else ().
    """

    name: str
    source: Source
    scorer: Scorer
    environment: "Callable[[Problem], Environment | None] | None" = None
    size: int | None = None
    levels: tuple[int, int] | None = None
    trusted: bool = False
    demonstration: Callable[[Problem], tuple[str, str]] | None = None
    symbols: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    def problem(self, split: str, index: int, level: int | None = None) -> Problem:
        """Returns a problem of a split ("train", "test", …).

        Raises:
            TaskError: the index is outside the split, the level outside `levels`, or the source raised.
        """
        if index < 0 or (self.size is not None and index >= self.size):
            count = "endless" if self.size is None else self.size
            message = f"task {self.name!r} has {count} problems: there is no index {index}"
            raise TaskError(message)
        if level is not None and (self.levels is None or not self.levels[0] <= level <= self.levels[1]):
            message = f"task {self.name!r} has levels {self.levels}: there is no level {level}"
            raise TaskError(message)
        try:
            return self.source(split, index, level)
        except TaskError:
            raise
        except Exception as error:
            message = f"the source of task {self.name!r} raised {type(error).__name__} at {split}/{index}: {error}"
            raise TaskError(message) from error

    def take(self, split: str, start: int, count: int, level: int | None = None) -> list[Problem]:
        """Returns `count` problems from index `start`, going round at the end of a finite split."""
        wrap = self.size
        return [self.problem(split, (start + i) % wrap if wrap else start + i, level) for i in range(count)]
