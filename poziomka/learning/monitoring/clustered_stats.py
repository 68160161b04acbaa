"""Whether a quantity has really changed since another time, when it is known from a few rollouts only.

Problems are independent, attempts at one are not, so all that counts of a group is its mean. What is kept of a step is
four numbers for each quantity, whatever the number of rollouts: they add up over steps, and are all an interval needs.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Self

from poziomka.core.rollouts.evaluation import Estimate, wilson


@dataclass(frozen=True, slots=True)
class Moments:
    """What is kept of a quantity.

    Attributes:
        count: groups that it was measured in.
        total, squares: sums over these groups of their means, and of the squares of their means.
        values: attempts that it was measured in.
    """

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    values: int = 0

    @classmethod
    def of(cls, groups: Iterable[Sequence[float]]) -> Self:
        """Returns the moments of values by group; an empty group is left out."""
        found = [group for group in groups if group]
        means = [fmean(group) for group in found]
        return cls(len(means), math.fsum(means), math.fsum(mean * mean for mean in means), sum(map(len, found)))

    def __add__(self, other: "Moments") -> "Moments":
        """Returns the moments of both together."""
        return Moments(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            self.values + other.values,
        )

    @property
    def mean(self) -> float:
        """The mean over groups; 0 where there is none."""
        return self.total / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """Of the mean, clustered by group (Miller 2024, arXiv 2411.00640)."""
        spread = max(0.0, self.squares - self.total * self.mean)
        return spread / (self.count * max(self.count - 1, 1)) if self.count else 0.0

    def share(self, confidence: float) -> Estimate:
        """Returns the mean of values from 0 to 1 with its interval, as core/rollouts/evaluation.py's `proportion` does.

        Raises:
            ValueError: nothing was measured.
        """
        if not self.count:
            message = "an estimate needs at least one value: received none"
            raise ValueError(message)
        mean = min(1.0, max(0.0, self.mean))
        effective = mean * (1 - mean) / self.variance if self.variance > 0 else self.count
        return wilson(mean, min(max(effective, 1.0), self.values), confidence)

    def plain(self) -> list[float]:
        """Returns what a checkpoint keeps; `Moments(*plain)` reads it."""
        return [self.count, self.total, self.squares, self.values]


def change_of_share(after: Moments, before: Moments, confidence: float) -> Estimate:
    """Returns how much a mean of values from 0 to 1 has risen, with its interval.

    Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10, from Wilson's
    intervals: it holds where a share is 0 or 1 and a normal interval would have no width.
    """
    new, old = after.share(confidence), before.share(confidence)
    rise = new.mean - old.mean
    low = math.hypot(new.mean - new.low, old.high - old.mean)
    high = math.hypot(new.high - new.mean, old.mean - old.low)
    return Estimate(rise, max(-1.0, rise - low), min(1.0, rise + high))


def change_of_mean(after: Moments, before: Moments, confidence: float) -> Estimate:
    """Returns how much a mean of any values has risen, with its normal interval."""
    rise = after.mean - before.mean
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(after.variance + before.variance)
    return Estimate(rise, rise - half, rise + half)
