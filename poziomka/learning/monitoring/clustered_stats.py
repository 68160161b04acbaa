"""Cluster-robust statistics: means of few rollouts, and confidence intervals of their change.

Problems are independent and attempts at one problem are not, so each group counts by its mean. `Moments` stores four
numbers for each quantity of a step, whatever the number of rollouts; they add up over steps and determine the interval.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Self

from poziomka.core.rollouts.evaluation import Estimate, wilson


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums from which the mean of a quantity over groups, and its variance, are computed.

    A group has the attempts at one problem. Moments of several steps add up with `+`.

    Attributes:
        count: number of groups with a value.
        total, squares: sums over these groups of their means, and of the squares of their means.
        values: number of attempts with a value.
    """

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    values: int = 0

    @classmethod
    def of(cls, groups: Iterable[Sequence[float]]) -> Self:
        """Computes the moments of values given by group; empty groups are ignored."""
        found = [group for group in groups if group]
        means = [fmean(group) for group in found]
        return cls(len(means), math.fsum(means), math.fsum(mean * mean for mean in means), sum(map(len, found)))

    def __add__(self, other: "Moments") -> "Moments":
        """Returns the moments of the union of both sets of groups."""
        return Moments(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            self.values + other.values,
        )

    @property
    def mean(self) -> float:
        """Mean over groups; 0 without groups."""
        return self.total / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """Variance of `mean`, clustered by group (Miller 2024, arXiv 2411.00640); 0 without groups."""
        spread = max(0.0, self.squares - self.total * self.mean)
        return spread / (self.count * max(self.count - 1, 1)) if self.count else 0.0

    def share(self, confidence: float) -> Estimate:
        """Returns the mean of values from 0 to 1 with its Wilson interval, clustered by group.

        It is computed as in `proportion` of core/rollouts/evaluation.py.

        Args:
            confidence: confidence level of the interval, 0.95 for example.

        Raises:
            ValueError: there are no groups.
        """
        if not self.count:
            message = "an estimate needs at least one value: received none"
            raise ValueError(message)
        mean = min(1.0, max(0.0, self.mean))
        effective = mean * (1 - mean) / self.variance if self.variance > 0 else self.count
        return wilson(mean, min(max(effective, 1.0), self.values), confidence)

    def plain(self) -> list[float]:
        """Returns the fields as a list for a checkpoint; `Moments(*plain)` restores them."""
        return [self.count, self.total, self.squares, self.values]


def change_of_share(after: Moments, before: Moments, confidence: float) -> Estimate:
    """Returns the mean of `after` minus that of `before`, for values from 0 to 1, with its confidence interval.

    Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10, from Wilson
    intervals: it is valid for shares of 0 or 1, for which a normal interval would have no width.

    Args:
        after: the later measurement.
        before: the earlier measurement.
        confidence: confidence level of the interval, 0.95 for example.
    """
    new, old = after.share(confidence), before.share(confidence)
    rise = new.mean - old.mean
    low = math.hypot(new.mean - new.low, old.high - old.mean)
    high = math.hypot(new.high - new.mean, old.mean - old.low)
    return Estimate(rise, max(-1.0, rise - low), min(1.0, rise + high))


def change_of_mean(after: Moments, before: Moments, confidence: float) -> Estimate:
    """Returns the mean of `after` minus that of `before`, for any values, with its normal confidence interval."""
    rise = after.mean - before.mean
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(after.variance + before.variance)
    return Estimate(rise, rise - half, rise + half)
