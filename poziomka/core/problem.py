"""Problems that can be checked, and what a check says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from poziomka.core.errors import TaskError
from poziomka.core.transcript import Message


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
        TaskError: the reward is not a number from 0 to 1, a failed check carries one, the verdict is no Verdict, or
            `answer` or `why` is no text.
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
