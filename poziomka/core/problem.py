"""Problems, and the verdicts and scores of attempts at them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from poziomka.core.errors import ProblemError, TaskError
from poziomka.core.transcript import Message

FAULT = "poziomka: the problem could not be drawn"  # name of the fact of a stand-in that contains the reason


class Verdict(StrEnum):
    """Result category of a scorer.

    Attributes:
        CORRECT: the answer is correct.
        WRONG: an answer was parsed and is not correct.
        UNPARSED: no answer could be parsed.
        TRUNCATED: the reply reached its token limit without a correct answer.
        ERROR: the scorer, or the environment, raised; the check itself failed, and there is no reward.
        TIMEOUT: the scorer did not return in time; the check itself failed, and there is no reward.
    """

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"
    TRUNCATED = "truncated"
    ERROR = "error"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True, init=False)
class Problem:
    """One problem of a task, as plain data; stored in every rollout.

    Attributes:
        prompt: chat messages of the prompt; a string becomes one message of the user.
        answer: gold answer as text; "" if many answers are correct.
        task: name of the task. A generator may leave it out: the library sets it.
        key: identifies the problem within the task; no two splits may contain the same key. A generator may leave it
            out: the library uses a hash of the prompt.
        facts: further data for the scorer, by name; JSON values, because journals store them.
        level: difficulty level, in the task's own units; 0 if there are no levels.
    """

    prompt: tuple[Message, ...]
    answer: str
    task: str
    key: str
    facts: Mapping[str, object]
    level: int

    def __init__(
        self,
        prompt: str | Sequence[Message],
        answer: str = "",
        *,
        task: str = "",
        key: str = "",
        facts: Mapping[str, object] | None = None,
        level: int = 0,
    ) -> None:
        """Stores the fields; a string as `prompt` becomes one message of the user.

        Raises:
            ProblemError: the answer is no text.
        """
        if not isinstance(answer, str):
            message = f"the answer of a problem is a text: received {answer!r:.80} ({type(answer).__name__})"
            raise ProblemError(message)
        messages = (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
        values = {"prompt": messages, "answer": answer, "task": task, "key": key, "level": level}
        for name, value in {**values, "facts": {} if facts is None else facts}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def ask(cls, task: str, key: str, question: str, answer: str = "", **facts: object) -> "Problem":
        """Returns a problem with `question` as its only message, by the user; further keywords become `facts`."""
        return cls(question, answer, task=task, key=key, facts=facts)

    @property
    def fault(self) -> str:
        """The reason why the problem could not be drawn, if this is a stand-in made by `Task.draw`; otherwise ""."""
        return str(self.facts.get(FAULT, ""))


@dataclass(frozen=True, slots=True)
class Score:
    """Result of scoring one transcript.

    Attributes:
        reward: from -1 to 1; None if the check failed, so that nothing was judged. It need not follow the verdict:
            accuracy is the share of attempts with verdict CORRECT, never a mean of rewards.
        verdict: result category.
        answer: answer that was parsed from the reply; None if there was none.
        why: reason for the verdict, in one line.
        parts: components of the reward by name, each before its weight is applied; empty if the reward has no
            components.

    Raises:
        TaskError: the reward is not a number from -1 to 1, a failed check has a reward, the verdict is not a Verdict,
            `answer` or `why` is not a string, or `parts` does not map names to numbers.
    """

    reward: float | None
    verdict: Verdict
    answer: str | None = None
    why: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks types and ranges, and converts numbers to Python's.

        Raises:
            TaskError: a field has a wrong type or is out of range.
        """
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
        if self.reward is not None and not (math.isfinite(self.reward) and -1.0 <= self.reward <= 1.0):
            message = f"a reward lies from -1 to 1: received {self.reward}; scale it in the scorer"
            raise TaskError(message)
        object.__setattr__(self, "reward", None if self.reward is None else float(self.reward))
        object.__setattr__(self, "parts", _numbers(self.parts))

    @property
    def correct(self) -> bool:
        """Whether the verdict is CORRECT."""
        return self.verdict is Verdict.CORRECT

    @classmethod
    def of(cls, reward: float) -> "Score":
        """Returns a score for a reward alone: verdict CORRECT if the reward is 1, else WRONG.

        Raises:
            TaskError: the reward is not a number from -1 to 1.
        """
        return cls(float(reward), Verdict.CORRECT if reward == 1 else Verdict.WRONG)

    @classmethod
    def right(cls, answer: str, why: str = "") -> "Score":
        """Returns a score with reward 1 and verdict CORRECT for a parsed answer; `why` is the reason."""
        return cls(1.0, Verdict.CORRECT, answer, why)

    @classmethod
    def wrong(cls, answer: str, why: str = "") -> "Score":
        """Returns a score with reward 0 and verdict WRONG for an answer that was parsed and is not correct."""
        return cls(0.0, Verdict.WRONG, answer, why)

    @classmethod
    def unparsed(cls, why: str) -> "Score":
        """Returns a score with reward 0 and verdict UNPARSED: no answer could be parsed; `why` is the reason."""
        return cls(0.0, Verdict.UNPARSED, None, why)

    @classmethod
    def failed(cls, verdict: Verdict, why: str) -> "Score":
        """Returns a score without a reward, for a check that failed: `verdict` is ERROR or TIMEOUT."""
        return cls(None, verdict, None, why)


def _numbers(parts: object) -> dict[str, float]:
    """Returns the parts of a reward with numpy's numbers converted to Python's, which a journal can store.

    Raises:
        TaskError: the parts do not map names to numbers.
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
