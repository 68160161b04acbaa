"""Evaluation metrics of judged groups: accuracy with confidence interval, pass@k, majority@k. Standard library only."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

from poziomka.core.errors import TaskError
from poziomka.core.problem import Verdict
from poziomka.core.rollout import Group, Rollout
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.rollouts.votes import at_random, elect
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.seeds import random_of
from poziomka.core.task import Task
from poziomka.core.transcript import Stop


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its confidence interval.

    Attributes:
        mean: the mean.
        low: lower end of the interval, of 95 % unless another confidence was requested.
        high: upper end of the interval.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Returns the estimate as `0.87 [0.84, 0.90]`."""
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def proportion(groups: Sequence[Sequence[float]], confidence: float = 0.95) -> Estimate:
    """Returns the mean over groups of values from 0 to 1, with a confidence interval that allows for the grouping.

    A Wilson interval at the effective sample size p(1-p)/SE², where SE is the clustered standard error of Miller 2024
    (arXiv 2411.00640): it stays inside 0..1 and does not collapse near the ends.

    Args:
        groups: values by problem; problems are independent, attempts at one problem are not. Empty groups are ignored,
            and every other group has the same weight.
        confidence: coverage of the interval, 0.95 for 95 %.

    Raises:
        TaskError: all groups are empty.
    """
    groups = [group for group in groups if group]
    if not groups:
        message = "an estimate needs at least one judged attempt: received none"
        raise TaskError(message)
    means = [fmean(group) for group in groups]
    mean, count = fmean(means), len(means)
    spread = sum((value - mean) ** 2 for value in means)
    error = spread / (count * max(count - 1, 1))
    everything = sum(len(group) for group in groups)
    effective = mean * (1 - mean) / error if error > 0 else count
    return wilson(mean, min(max(effective, 1.0), everything), confidence)


def wilson(mean: float, count: float, confidence: float = 0.95) -> Estimate:
    """Returns a proportion with its Wilson score interval.

    Args:
        mean: the proportion, 0 to 1.
        count: number of independent trials.
        confidence: coverage of the interval, 0.95 for 95 %.
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    denominator = 1 + z * z / count
    centre = (mean + z * z / (2 * count)) / denominator
    half = z * math.sqrt(mean * (1 - mean) / count + z * z / (4 * count * count)) / denominator
    return Estimate(mean, max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean)))


def paired_gain(after: Sequence[Sequence[float]], before: Sequence[Sequence[float]]) -> Estimate:
    """Returns the mean of `after` minus `before` over the same problems, with a normal 95 % interval.

    A problem that has no judged attempt in one of the lists is left out.

    Args:
        after: values of the judged attempts at each problem.
        before: values of the judged attempts at each problem, with the problems in the same order.

    Raises:
        TaskError: the two lists differ in length, or share fewer than two problems with judged attempts.
    """
    if len(after) != len(before) or len(after) < 2:
        message = f"a paired gain needs the same problems twice: received {len(after)} and {len(before)}"
        raise TaskError(message)
    gains = [fmean(a) - fmean(b) for a, b in zip(after, before, strict=True) if a and b]
    if len(gains) < 2:
        message = f"a paired gain needs two problems with judged attempts in both lists: received {len(gains)}"
        raise TaskError(message)
    mean = fmean(gains)
    error = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / (len(gains) * (len(gains) - 1)))
    half = NormalDist().inv_cdf(0.975) * error
    return Estimate(mean, mean - half, mean + half)


def pass_at(correct: int, attempts: int, k: int) -> float:
    """Returns the unbiased estimate of pass@k: the probability that at least one of `k` attempts is correct.

    Chen et al. 2021 (arXiv 2107.03374), equation 1.

    Args:
        correct: number of correct attempts.
        attempts: number of attempts.
        k: attempts per trial.

    Raises:
        ValueError: `k` is not from 1 to `attempts`, or `correct` not from 0 to `attempts`.
    """
    if not (1 <= k <= attempts and 0 <= correct <= attempts):
        message = f"pass@k needs 1 <= k <= attempts and 0 <= correct <= attempts: received {k}, {attempts}, {correct}"
        raise ValueError(message)
    return 1.0 - math.prod((attempts - correct - i) / (attempts - i) for i in range(k))


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Scored attempts at the problems of a split, and metrics of them.

    A check fails if the scorer or the environment raises or exceeds its time limit (verdict ERROR or TIMEOUT). Failed
    checks are counted in `failures` and left out of `accuracy`; `bounds` gives the accuracy if they are all wrong and
    if they are all correct. In `pass_at` and `majority_at` every problem counts, and a failed check is not a correct
    answer.

    Attributes:
        groups: the scored rollouts of each problem.
    """

    groups: Sequence[Group]

    def __str__(self) -> str:
        """Returns the accuracy with its interval, `0.87 [0.84, 0.90]`, and the number of failed checks if any.

        If most replies ended at their token limit, their number is appended.
        """
        if not any(self.corrects):
            return f"no attempt could be judged: {self.failures} checks failed"
        parts = [str(self.accuracy)]
        parts += [f"{self.failures} checks failed"] if self.failures else []
        parts += [f"{self.cut_off()} (raise max_tokens)"] if self.cut_off() else []
        return ", ".join(parts)

    def __repr__(self) -> str:
        """Returns the accuracy and the number of problems, as `Evaluation(0.87 [0.84, 0.90], 200 problems)`."""
        return f"Evaluation({self}, {len(self.groups)} problems)"

    @property
    def rewards(self) -> list[list[float]]:
        """Rewards of the attempts at each problem; attempts whose check failed are left out."""
        return [[r.score.reward for r in group if r.score.reward is not None] for group in self.groups]

    @property
    def corrects(self) -> list[list[float]]:
        """1.0 for each CORRECT attempt and 0.0 for any other, by problem; attempts whose check failed are left out."""
        return [[float(r.score.correct) for r in group if r.score.reward is not None] for group in self.groups]

    @property
    def accuracy(self) -> Estimate:
        """Share of correct attempts, with a 95 % confidence interval; attempts whose check failed are left out.

        Also called avg@k, or pass@1 over k samples.

        Raises:
            TaskError: all checks failed.
        """
        if not any(self.corrects):
            failed = [rollout for group in self.groups for rollout in group]
            example = f" ({failed[0].id}: {failed[0].score.why})" if failed else ""
            message = f"no attempt could be judged: {len(failed)} of {len(failed)} checks failed{example}"
            raise TaskError(message)
        return proportion(self.corrects)

    @property
    def bounds(self) -> tuple[float, float]:
        """Pair of accuracies: with every failed check counted as wrong, and with every failed check counted as correct.

        Raises:
            TaskError: there is no attempt.
        """
        low, high = (proportion(self._rights(failed)).mean for failed in (0.0, 1.0))
        return low, high

    @property
    def problems(self) -> int:
        """Number of problems with at least one attempt whose check did not fail; `accuracy` is their mean."""
        return sum(map(bool, self.corrects))

    def _rights(self, failed: float) -> list[list[float]]:
        """Returns 1.0 for a CORRECT attempt, `failed` for a failed check and 0.0 for any other, by problem."""
        return [
            [float(r.score.correct) if r.score.reward is not None else failed for r in group] for group in self.groups
        ]

    @property
    def failures(self) -> int:
        """Number of attempts whose check failed (verdict ERROR or TIMEOUT)."""
        return sum(r.score.reward is None for group in self.groups for r in group)

    @property
    def tokens(self) -> float:
        """Mean cost per attempt, in tokens: those of all branches, discarded continuations and judges included.

        Raises:
            TaskError: there is no attempt.
        """
        return self._mean(lambda rollout: rollout.cost.tokens)

    @property
    def latency(self) -> float:
        """Mean number of sampled tokens per attempt that wait for one another.

        Raises:
            TaskError: there is no attempt.
        """
        return self._mean(lambda rollout: rollout.cost.latency)

    @property
    def thinking(self) -> float:
        """Mean number of thinking tokens per attempt.

        Raises:
            TaskError: there is no attempt.
        """
        return self._mean(lambda rollout: rollout.thinking)

    @property
    def truncated(self) -> float:
        """Share of attempts that ended at their token limit.

        Raises:
            TaskError: there is no attempt.
        """
        return self._mean(lambda rollout: rollout.transcript.stop is Stop.LENGTH)

    def cut_off(self) -> str:
        """Returns "48 of 60 replies ended at their token limit" if that is more than half of them, else ""."""
        stops = [rollout.transcript.stop for group in self.groups for rollout in group]
        cut = stops.count(Stop.LENGTH)
        return f"{cut} of {len(stops)} replies ended at their token limit" if 2 * cut > len(stops) else ""

    @property
    def unparsed(self) -> float:
        """Share of attempts in which the scorer found no answer, without those that ended at their token limit.

        Raises:
            TaskError: there is no attempt.
        """
        return self._mean(lambda rollout: rollout.score.verdict is Verdict.UNPARSED)

    def _mean(self, value: Callable[[Rollout], float]) -> float:
        values = [value(rollout) for group in self.groups for rollout in group]
        if not values:
            message = "a mean over attempts needs at least one attempt: received none"
            raise TaskError(message)
        return fmean(values)

    def verdicts(self) -> dict[str, int]:
        """Returns the number of attempts by verdict ("correct", "wrong", …), without verdicts that did not occur."""
        counts = Counter(r.score.verdict for group in self.groups for r in group)
        return {verdict.value: counts[verdict] for verdict in Verdict if counts[verdict]}

    def pass_at(self, k: int, *, failed: float = 0.0) -> Estimate:
        """Returns pass@k: the probability that at least one of `k` attempts at a problem is correct.

        Args:
            k: attempts per trial, at most the number of attempts at each problem.
            failed: value of an attempt that could not be scored (not one that is wrong): 0 counts it as wrong,
                1 as correct. The two results bound pass@k.

        Raises:
            TaskError: no problem has `k` attempts.
        """
        groups = [group for group in self._rights(failed) if len(group) >= k]
        self._demand(k)
        return proportion([[pass_at(int(sum(group)), len(group), k)] for group in groups])

    def majority_at(self, k: int, *, failed: float | None = None) -> Estimate:
        """Returns majority@k: the accuracy of the most frequent answer of `k` attempts.

        The attempts at each problem are divided into disjoint ballots of `k`; replies without an answer do not vote.
        Ties are broken at random, never by the gold answer.

        Args:
            k: attempts per ballot.
            failed: value, 0 or 1, of every ballot with an attempt that could not be scored (not one that is wrong); the
                results for 0 and 1 bound majority@k. `failed=None`: such attempts do not vote, and the rest of the
                ballot decides.

        Raises:
            TaskError: no problem has `k` attempts.
        """
        self._demand(k)
        outcomes: list[list[float]] = []
        for group in self.groups:
            votes = [None if r.score.reward is None else (r.score.answer, r.score.correct) for r in group]
            ballots = [votes[i : i + k] for i in range(0, len(votes) - k + 1, k)]
            random = random_of("majority", group[0].problem.key, k) if group else None
            outcomes.append([_elect(ballot, random.random() if random else 0.0, failed) for ballot in ballots])
        return proportion(outcomes)

    def _demand(self, k: int) -> None:
        most = max(map(len, self.groups), default=0)
        if not 1 <= k <= most:
            message = f"a figure of {k} attempts needs as many at each problem: received at most {most}"
            raise TaskError(message)


def _elect(ballot: Sequence[tuple[str | None, bool] | None], draw: float, failed: float | None) -> float:
    if failed is not None and None in ballot:
        return failed
    judged = [vote for vote in ballot if vote is not None]
    counts = Counter(answer for answer, _ in judged if answer is not None)
    winner = elect(counts, at_random(draw))
    return float(winner is not None and any(right for answer, right in judged if answer == winner))


def evaluate(
    sampler: Sampler,
    task: Task,
    sampling: SamplingParams,
    *,
    problems: int = 200,
    attempts: int = 1,
    split: str = "test",
    scoring: Scoring | None = None,
) -> Evaluation:
    """Evaluates a sampler on the first problems of a split; the same call repeats exactly.

    Every attempt at a problem that cannot be drawn is a failed check.

    Args:
        sampler: samples the attempts.
        task: provides the problems, the environment and the scorer.
        sampling: parameters of every request; its seed is replaced by one derived from the problem and the attempt.
        problems: number of problems, from index 0; all of a smaller split.
        attempts: attempts per problem.
        split: name of the split.
        scoring: worker processes of the scorer, for use in several calls. `scoring=None`: starts workers and stops them
            before returning.

    Raises:
        TaskError: the split is empty.
    """
    drawn = task.first(split, problems, stand_ins=True)
    return Evaluation(
        collect(sampler, task, drawn, sampling, attempts=attempts, name=f"evaluate/{split}", scoring=scoring)
    )
