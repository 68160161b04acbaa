"""Statistics of judged transcripts: AUC, calibration, true and false positive rates, and the accuracy of best-of-n."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 10  # of the reliability diagram


class Judged(NamedTuple):
    """One judged transcript.

    Attributes:
        value: the judge's value, 0 to 1; None if the judge failed.
        correct: 1 for a correct reply and 0 for any other; for first steps, the share of continuations that are
            correct.
    """

    value: float | None
    correct: float


Groups = Sequence[Sequence[Judged]]  # judged transcripts by problem


@dataclass(frozen=True, slots=True)
class Reliability:
    """One bin of a reliability diagram.

    Attributes:
        low, high: bounds of the bin; a value on a bound is in the upper bin.
        count: number of judged transcripts in it.
        value: their mean value; NaN without any.
        correct: their share of correct replies; NaN without any.
    """

    low: float
    high: float
    count: int
    value: float
    correct: float


def auc(judged: Sequence[Judged]) -> float:
    """Returns the area under the ROC curve: P(value of a correct reply > of a wrong one) + P(equal) / 2.

    The Mann-Whitney statistic, exact with ties; a transcript with a share of correct continuations counts as correct
    with this weight and as wrong with the rest. NaN if there is no correct or no wrong reply. Failed judgements are
    left out.
    """
    columns = Columns.of([judged])
    return float(columns.auc(np.ones((1, 1)))[0])


def reliability(judged: Sequence[Judged], bins: int = BINS) -> list[Reliability]:
    """Returns the reliability diagram: mean value and share of correct replies, in bins of equal width."""
    columns = Columns.of([judged])
    place = _bin_of(columns.value, bins)
    found = []
    for number in range(bins):
        own = place == number
        value = float(columns.value[own].mean()) if own.any() else math.nan
        correct = float(columns.correct[own].mean()) if own.any() else math.nan
        found.append(Reliability(number / bins, (number + 1) / bins, int(own.sum()), value, correct))
    return found


def calibration_error(judged: Sequence[Judged], bins: int = BINS) -> float:
    """Returns the expected calibration error: the mean over replies of |mean value - share correct| of their bin.

    Guo et al. 2017 (arXiv 1706.04599), with bins of equal width; NaN without judged transcripts.
    """
    return float(Columns.of([judged]).calibration_error(np.ones((1, 1)), bins)[0])


def brier(judged: Sequence[Judged]) -> float:
    """Returns the Brier score, the mean of (value - correct)²; NaN without judged transcripts."""
    return float(Columns.of([judged]).brier(np.ones((1, 1)))[0])


def rates(judged: Sequence[Judged], threshold: float = 0.5) -> tuple[float, float]:
    """Returns (true positive rate, false positive rate) of a judge that accepts values of at least `threshold`.

    A rate is NaN if there is no correct, or no wrong, reply.
    """
    true, false = Columns.of([judged]).rates(np.ones((1, 1)), threshold)
    return float(true[0]), float(false[0])


def ceiling(p: float, t: float, f: float) -> float:
    """Returns the accuracy of sampling until the judge accepts: p t / (p t + (1 - p) f).

    It bounds best-of-n with this threshold for every n. NaN if the judge accepts nothing.

    Args:
        p: accuracy of one try, 0 to 1.
        t: true positive rate, 0 to 1.
        f: false positive rate, 0 to 1.
    """
    return float(ceilings(np.array(p), np.array(t), np.array(f)))


def best_of(judged: Sequence[Judged], n: int) -> float:
    """Returns the expected accuracy of best-of-n at one problem, exactly, from its judged attempts.

    n attempts are drawn without replacement, the one with the highest value is chosen, and equal values are chosen
    equally often. An attempt with a failed judgement is chosen only if all n have one. For a class of m attempts with
    equal values, above b others and among M in all, the probability of the choice is [C(b + m, n) - C(b, n)] / C(M, n).

    Args:
        judged: judged attempts at one problem.
        n: attempts per trial, 1 to the number of attempts.

    Raises:
        ValueError: `n` is out of range.
    """
    if not 1 <= n <= len(judged):
        message = f"best-of-n needs 1 <= n <= attempts: received n {n} and {len(judged)} attempts"
        raise ValueError(message)
    classes: dict[float, list[float]] = {}
    for value, correct in judged:
        classes.setdefault(-math.inf if _failed(value) else float(value or 0.0), []).append(correct)
    total, below = 0.0, 0
    for value in sorted(classes):
        own = classes[value]
        chosen = math.comb(below + len(own), n) - math.comb(below, n)
        total += chosen * math.fsum(own) / len(own)
        below += len(own)
    return total / math.comb(len(judged), n)


def _failed(value: float | None) -> bool:
    return value is None or math.isnan(value)


def ceilings(p: Floats, t: Floats, f: Floats) -> Floats:
    """Returns p t / (p t + (1 - p) f) of each triple; NaN where the judge accepts nothing."""
    with np.errstate(invalid="ignore"):
        return np.asarray(p * t / (p * t + (1 - p) * f))


def _bin_of(values: Floats, bins: int) -> NDArray[np.int64]:
    """Returns the number of the bin of each value; 1.0 belongs to the last bin."""
    return np.minimum((values * bins).astype(np.int64), bins - 1)


class Columns(NamedTuple):
    """Judged transcripts of all problems as columns, without failed judgements.

    The methods take weights of the problems, [resamples, problems], and return one figure per resample.
    """

    value: Floats
    correct: Floats
    problem: NDArray[np.int64]
    problems: int

    @classmethod
    def of(cls, groups: Groups) -> "Columns":
        """Returns the columns of judged transcripts by problem."""
        rows = [
            (value, correct, number)
            for number, group in enumerate(groups)
            for value, correct in group
            if not _failed(value)
        ]
        value, correct, problem = (np.array(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
        return cls(np.asarray(value, float), np.asarray(correct, float), np.asarray(problem, np.int64), len(groups))

    def sums(self, quantity: Floats) -> Floats:
        """Returns the sum of a quantity over the transcripts of each problem, [problems]."""
        return np.asarray(np.bincount(self.problem, quantity, self.problems), np.float64)

    def ratio(self, weights: Floats, part: Floats, whole: Floats) -> Floats:
        """Returns the weighted mean of `part` over `whole`; NaN where there is nothing."""
        with np.errstate(invalid="ignore"):
            return np.asarray((weights @ self.sums(part)) / (weights @ self.sums(whole)))

    def accuracy(self, weights: Floats) -> Floats:
        """Returns the mean over problems of the share of correct attempts."""
        counts = self.sums(np.ones_like(self.value))
        there = counts > 0
        shares = np.divide(self.sums(self.correct), counts, out=np.zeros_like(counts), where=there)
        with np.errstate(invalid="ignore"):
            return np.asarray((weights @ shares) / (weights @ there.astype(float)))

    def brier(self, weights: Floats) -> Floats:
        """Returns the Brier scores."""
        return self.ratio(weights, (self.value - self.correct) ** 2, np.ones_like(self.value))

    def rates(self, weights: Floats, threshold: float) -> tuple[Floats, Floats]:
        """Returns (true positive rates, false positive rates) of accepting values of at least `threshold`."""
        accepted, wrong = (self.value >= threshold).astype(float), 1 - self.correct
        true = self.ratio(weights, accepted * self.correct, self.correct)
        return true, self.ratio(weights, accepted * wrong, wrong)

    def calibration_error(self, weights: Floats, bins: int) -> Floats:
        """Returns the expected calibration errors in bins of equal width."""
        place = _bin_of(self.value, bins)
        gaps = [np.abs(weights @ self.sums((self.value - self.correct) * (place == each))) for each in range(bins)]
        with np.errstate(invalid="ignore"):
            return np.asarray(np.sum(gaps, 0) / (weights @ self.sums(np.ones_like(self.value))))

    def auc(self, weights: Floats, *, within: bool = False) -> Floats:
        """Returns the AUC over all pairs of a correct and a wrong reply, or over those of the same problem."""
        right, wrong = self.sums(self.correct), self.sums(1 - self.correct)
        wins = self.wins()
        with np.errstate(invalid="ignore"):
            if within:
                return np.asarray((weights @ np.diag(wins)) / (weights @ (right * wrong)))
            return np.asarray(((weights @ wins) * weights).sum(1) / ((weights @ right) * (weights @ wrong)))

    def wins(self) -> Floats:
        """Returns the weight of pairs in which a correct reply has a higher value than a wrong one.

        Entry (i, j) of [problems, problems] is of correct replies to problem i and wrong ones to problem j; equal
        values count half.
        """
        found = np.zeros((self.problems, self.problems))
        for other in range(self.problems):
            own = self.problem == other
            order = np.argsort(self.value[own])
            values, mass = self.value[own][order], np.concatenate([[0.0], np.cumsum((1 - self.correct[own])[order])])
            below, upto = (mass[np.searchsorted(values, self.value, side)] for side in ("left", "right"))
            found[:, other] = self.sums(self.correct * (below + upto) / 2)
        return found
