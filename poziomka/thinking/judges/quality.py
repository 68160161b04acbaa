"""Quality of a judge: does it rank correct replies above wrong ones, is it calibrated, and does best-of-n profit?

With a threshold, a judge accepts a correct reply with probability t (true positive rate) and a wrong one with f (false
positive rate). If replies are sampled until one is accepted, the accuracy is

    p t / (p t + (1 - p) f),

where p is the accuracy of one try: a ceiling that no number of samples exceeds, and below p if f > t (Stroebl et al.
2024, "Inference Scaling fLaws", arXiv 2411.17501). Best-of-n without a threshold has no such form; its expected
accuracy is computed exactly from the judged attempts, ties included.

Intervals are percentiles of a bootstrap over problems, because attempts at one problem are not independent.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from poziomka.core.errors import SettingsError, TaskError
from poziomka.core.rollouts.evaluation import Estimate
from poziomka.core.rollouts.verdict_form import Labelled
from poziomka.core.sampler import Sampler
from poziomka.core.seeds import seed_of
from poziomka.thinking.judges.judge import Judge, judgements
from poziomka.thinking.judges.statistics import (
    BINS,
    Columns,
    Floats,
    Groups,
    Judged,
    Reliability,
    best_of,
    ceilings,
    reliability,
)

RESAMPLES = 1000  # of the bootstrap


async def judged_by(judge: Judge, sampler: Sampler, labels: Sequence[Sequence[Labelled]]) -> list[list[Judged]]:
    """Returns a judge's values of transcripts of known correctness, by problem.

    Args:
        judge: judges the transcripts of each problem together.
        sampler: sampler of the policy.
        labels: labelled transcripts by problem.

    Raises:
        SettingsError: the judge cannot judge such transcripts.
    """

    async def group(own: Sequence[Labelled]) -> list[Judged]:
        if not own:
            return []
        found, _ = await judgements(judge, sampler, [each.transcript for each in own], own[0].problem, 0)
        return [Judged(one.value, label.correct) for one, label in zip(found, own, strict=True)]

    return list(await asyncio.gather(*map(group, labels)))


@dataclass(frozen=True)
class JudgeQuality:
    """Quality of a judge on held-out problems; intervals are of 95 %, by a bootstrap over problems.

    Attributes:
        problems: number of problems with a judged transcript.
        judged: number of judged transcripts.
        failures: number of failed judgements, which are left out of all figures but `best_of` and `gain`.
        accuracy: accuracy of one try, p.
        auc: area under the ROC curve, over all problems.
        auc_within: the same over pairs of replies to the same problem, which is what best-of-n profits from.
        calibration_error: expected calibration error, in BINS (10) bins.
        brier: Brier score.
        reliability: the reliability diagram.
        threshold: value from which on the judge accepts a reply, in the next three.
        true_positives: true positive rate, t.
        false_positives: false positive rate, f.
        ceiling: accuracy of sampling until the judge accepts, p t / (p t + (1 - p) f).
        best_of: accuracy of best-of-n by n.
        gain: accuracy of best-of-n minus that of one try by n, paired by problem.
    """

    problems: int
    judged: int
    failures: int
    accuracy: Estimate
    auc: Estimate
    auc_within: Estimate
    calibration_error: Estimate
    brier: Estimate
    reliability: tuple[Reliability, ...]
    threshold: float
    true_positives: Estimate
    false_positives: Estimate
    ceiling: Estimate
    best_of: Mapping[int, Estimate]
    gain: Mapping[int, Estimate]

    @property
    def harmful(self) -> list[int]:
        """Numbers n at which best-of-n is worse than one try: the whole interval of the gain is below 0."""
        return [n for n, gain in self.gain.items() if gain.high < 0]

    def __str__(self) -> str:
        """Returns the figures, a line each, with a warning if the judge makes best-of-n worse than one try."""
        lines = [
            f"{self.judged} judged replies to {self.problems} problems, {self.failures} judgements failed",
            f"one try {self.accuracy}",
            f"AUC {self.auc}, within a problem {self.auc_within}",
            f"calibration error {self.calibration_error}, Brier score {self.brier}",
            f"true positives {self.true_positives}, false positives {self.false_positives} at {self.threshold:g}",
            f"ceiling of best-of-n at this threshold {self.ceiling}",
        ]
        for n, estimate in self.best_of.items():
            verdict = ": WORSE than one try" if n in self.harmful else ""
            lines.append(f"best-of-{n} {estimate}, gain {self.gain[n]}{verdict}")
        return "\n".join(lines)

    def plain(self) -> dict[str, object]:
        """Returns the figures by name, as nested plain values; an estimate is its mean, low and high."""
        return {**asdict(self), "harmful": self.harmful}


def quality_of(groups: Groups, *, ns: Sequence[int] = (), threshold: float = 0.5, seed: int = 0) -> JudgeQuality:
    """Returns the quality of a judge from its values of transcripts of known correctness.

    Args:
        groups: judged transcripts by problem; problems without any are left out. Failed checks of the scorer are no
            labels: leave them out.
        ns: numbers of attempts of best-of-n; () for the powers of two up to the number of attempts at a problem.
            Problems with fewer attempts are left out of a figure.
        threshold: value from which on the judge accepts a reply.
        seed: seed of the bootstrap.

    Raises:
        TaskError: no transcript was judged.
        SettingsError: a number in `ns` is larger than the number of attempts at every problem, or below 1.
    """
    groups = [group for group in groups if group]
    columns = Columns.of(groups)
    if not len(columns.value):
        message = f"the quality of a judge needs judged transcripts: received none, in {len(groups)} problems"
        raise TaskError(message)
    most = max(map(len, groups))
    if wrong := [n for n in ns if not 1 <= n <= most]:
        message = f"best-of-{wrong[0]} needs as many judged attempts at a problem: received at most {most}"
        raise SettingsError(message)
    weights = _resampled(len(groups), seed)
    true, false = columns.rates(weights, threshold)
    accuracy = columns.accuracy(weights)
    tries = {
        n: [(best_of(group, n), best_of(group, 1)) if len(group) >= n else None for group in groups]
        for n in ns or _powers(most)
    }
    found = {n: _best(pairs, weights) for n, pairs in tries.items()}
    return JudgeQuality(
        problems=len(groups),
        judged=len(columns.value),
        failures=sum(map(len, groups)) - len(columns.value),
        accuracy=_estimate(accuracy),
        auc=_estimate(columns.auc(weights)),
        auc_within=_estimate(columns.auc(weights, within=True)),
        calibration_error=_estimate(columns.calibration_error(weights, BINS)),
        brier=_estimate(columns.brier(weights)),
        reliability=tuple(reliability([each for group in groups for each in group])),
        threshold=threshold,
        true_positives=_estimate(true),
        false_positives=_estimate(false),
        ceiling=_estimate(ceilings(accuracy, true, false)),
        best_of={n: best for n, (best, _) in found.items()},
        gain={n: gain for n, (_, gain) in found.items()},
    )


def _powers(most: int) -> list[int]:
    return [2**power for power in range(1, most.bit_length()) if 2**power <= most]


def _resampled(problems: int, seed: int) -> Floats:
    """Returns weights of the problems, [1 + RESAMPLES, problems]: all once, then the counts of each resample."""
    random = np.random.default_rng(seed_of("judge quality", seed))
    counts = random.multinomial(problems, np.full(problems, 1 / problems), RESAMPLES)
    return np.concatenate([np.ones((1, problems)), counts.astype(np.float64)])


def _estimate(values: Floats) -> Estimate:
    """Returns the first value with the 2.5th and 97.5th percentiles of the others; those that are NaN are left out."""
    others = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(others, [0.025, 0.975]) if len(others) else (math.nan, math.nan)
    return Estimate(float(values[0]), float(low), float(high))


def _best(pairs: Sequence[tuple[float, float] | None], weights: Floats) -> tuple[Estimate, Estimate]:
    """Returns best-of-n and its gain over one try, over the problems that have enough attempts."""
    there = [number for number, pair in enumerate(pairs) if pair is not None]
    best, single = np.array([pair for pair in pairs if pair is not None]).T
    own = weights[:, there]
    with np.errstate(invalid="ignore"):
        return _estimate(own @ best / own.sum(1)), _estimate(own @ (best - single) / own.sum(1))
