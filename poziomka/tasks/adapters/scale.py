"""From a peer's reward, in its own units, to ours: 0 to 1, declared and never clipped."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from poziomka.core.errors import TaskError
from poziomka.core.problem import Score, Verdict

ROUNDING = 1e-6  # of the width of a scale: what sums of weighted rewards may miss its ends by
SHOWN = 400  # characters of an answer that a score keeps


@dataclass(frozen=True)
class Scale:
    """The range of a peer's reward, weights included; our reward is (raw - low) / (high - low).

    A reward outside the range is a failed check that says so. It is never clipped: a clipped reward hides that the
    range is wrong, and makes unlike attempts alike.

    Attributes:
        low: the least reward; it becomes 0.
        high: the largest reward; it becomes 1.
        right: from which reward on an answer counts as CORRECT; None: from `high`.

    Raises:
        TaskError: the numbers are not finite, or not in order.
    """

    low: float = 0.0
    high: float = 1.0
    right: float | None = None

    def __post_init__(self) -> None:
        """Refuses a range that no reward can lie in."""
        right = self.high if self.right is None else self.right
        if not all(map(math.isfinite, (self.low, self.high, right))) or not self.low < right <= self.high:
            message = (
                f"a scale needs finite low < right <= high: received low {self.low}, right {right}, high {self.high}"
            )
            raise TaskError(message)

    def score(self, raw: float, answer: str | None, parts: Mapping[str, float], why: str) -> Score:
        """Returns the score of a peer's reward; ERROR where it lies outside the range.

        Args:
            raw: the peer's reward.
            answer: what follows the thought; None where there is nothing.
            parts: the rewards it was made of, in the peer's units.
            why: one line that a person can check.
        """
        width = self.high - self.low
        reward = (raw - self.low) / width if math.isfinite(raw) else math.nan
        if not -ROUNDING <= reward <= 1 + ROUNDING:
            message = (
                f"a reward of {raw:g} is outside the scale from {self.low:g} to {self.high:g}: "
                "declare its range with Scale(low=…, high=…)"
            )
            return Score.failed(Verdict.ERROR, message)
        reward = 0.0 if reward < ROUNDING else 1.0 if reward > 1 - ROUNDING else reward
        right = self.high if self.right is None else self.right
        correct = raw >= right - ROUNDING * width
        unread = answer is None and not correct
        verdict = Verdict.CORRECT if correct else Verdict.UNPARSED if unread else Verdict.WRONG
        return Score(reward, verdict, None if answer is None else answer[:SHOWN], why, dict(parts))
