"""Converts the reward of another library, in its own units, to 0 to 1, by a declared range and without clipping."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from poziomka.core.errors import TaskError
from poziomka.core.problem import Score, Verdict

ROUNDING = 1e-6  # tolerance at the ends of a scale, relative to its width, for rounding in sums of weighted rewards
SHOWN = 400  # maximum characters of an answer in a score


@dataclass(frozen=True)
class Scale:
    """Range of another library's reward, weights included; maps a raw reward to (raw - low) / (high - low).

    A reward outside the range makes the score an ERROR with a message. It is never clipped: clipping would hide that
    the range is wrong, and would give unlike attempts the same reward.

    Attributes:
        low: lowest raw reward, which becomes 0.
        high: highest raw reward, which becomes 1.
        right: raw reward from which an answer counts as CORRECT; `right=None` uses `high`.

    Raises:
        TaskError: the numbers are not finite, or not low < right <= high.
    """

    low: float = 0.0
    high: float = 1.0
    right: float | None = None

    def __post_init__(self) -> None:
        """Checks that the numbers are finite, and that low < right <= high."""
        right = self.high if self.right is None else self.right
        if not all(map(math.isfinite, (self.low, self.high, right))) or not self.low < right <= self.high:
            message = (
                f"a scale needs finite low < right <= high: received low {self.low}, right {right}, high {self.high}"
            )
            raise TaskError(message)

    def score(self, raw: float, answer: str | None, parts: Mapping[str, float], why: str) -> Score:
        """Returns the score of a raw reward: CORRECT, WRONG, UNPARSED without an answer, or ERROR out of range.

        Args:
            raw: reward of the other library.
            answer: text after the thought; None if there is none.
            parts: components of the reward, by name, in the units of the other library.
            why: explanation in one line that a person can check.
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
