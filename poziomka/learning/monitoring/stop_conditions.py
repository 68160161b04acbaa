"""Metrics of a step's rollouts, and conditions that stop a run."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from poziomka.core.errors import LearningError
from poziomka.core.problem import Verdict
from poziomka.core.rollout import Group, Rollout, rewards_of
from poziomka.core.transcript import Author
from poziomka.learning.monitoring.monitor import Monitor
from poziomka.learning.samples.advantages import informative
from poziomka.learning.samples.branches import by_role
from poziomka.runs.run import Run


def describe(groups: Sequence[Group]) -> dict[str, float]:
    """Returns the metrics of a step's rollouts by name; means over no attempts are left out.

    reward/mean, reward/pass_rate: over judged attempts · reward/NAME: mean of the reward's part NAME over the attempts
    that have it; a part with the name of another metric is left out · groups/zero_variance: share of groups whose
    rewards are all equal · length/…: mean number of MODEL tokens · verdict/failures: share of attempts whose check
    failed · verdict/correct and so on: number of attempts of each verdict · policy/forced_share: share of attempts with
    a forced span, such as the end of a thought at its budget.
    """
    rollouts = [rollout for group in groups for rollout in group]
    judged = [r for r in rollouts if r.score.reward is not None]
    metrics = {
        "groups/zero_variance": fmean(not informative(group) for group in by_role(groups)),
        "verdict/failures": 1 - len(judged) / len(rollouts),
        "policy/forced_share": fmean(any(s.author is Author.FORCED for s in r.transcript) for r in rollouts),
        "tokens/sampled": float(sum(r.cost.sampled for r in rollouts)),
        "length/thinking": fmean(r.thinking for r in rollouts),
    }
    counts = Counter(r.score.verdict for r in rollouts)
    metrics |= {f"verdict/{verdict}": float(counts[verdict]) for verdict in Verdict}
    if judged:
        metrics["reward/mean"] = fmean(r.score.reward or 0.0 for r in judged)
        metrics["reward/pass_rate"] = fmean(r.score.correct for r in judged)
        metrics = _parts(judged) | metrics
    kinds: dict[str, Callable[[Rollout], bool]] = {
        "length/correct": lambda r: r.score.correct,
        "length/wrong": lambda r: r.score.verdict in (Verdict.WRONG, Verdict.UNPARSED),
        "length/truncated": lambda r: r.score.verdict is Verdict.TRUNCATED,
    }
    for name, holds in kinds.items():
        lengths = [r.transcript.cost for r in rollouts if holds(r)]
        if lengths:
            metrics[name] = fmean(lengths)
    return metrics


def _parts(judged: Sequence[Rollout]) -> dict[str, float]:
    """Returns the mean of each part of the reward, by name of the metric; parts that are not finite are left out."""
    values: dict[str, list[float]] = {}
    for rollout in judged:
        for name, value in rollout.score.parts.items():
            if math.isfinite(value):
                values.setdefault(f"reward/{name}", []).append(value)
    return {name: fmean(found) for name, found in values.items()}


class StopConditions(Monitor):
    """Monitor that stops a run that cannot learn: no informative group for many steps, or too many failed checks.

    A group is informative if its attempts differ in reward. A check is failed if the scorer gave no reward.

    Args:
        patience: number of consecutive steps without an informative group after which to stop; None for no limit.
        failures: share of failed checks in a step, 0 to 1, above which to stop.

    Attributes:
        silent: number of consecutive steps without an informative group so far.
    """

    def __init__(self, patience: int | None, failures: float) -> None:
        """Starts at 0 uninformative steps."""
        self.patience, self.failures = patience, failures
        self.silent = 0

    def logged(self, groups: Sequence[Group], metrics: Mapping[str, float], run: Run, step: int) -> Sequence[str]:
        """Returns notes about failed checks and steps without an informative group; raises LearningError as `look`."""
        return self.look(groups)

    def look(self, groups: Sequence[Group]) -> list[str]:
        """Returns a note each if checks of a step failed and if none of its groups is informative.

        Raises:
            LearningError: `patience` steps in a row had no informative group, or the share of failed checks exceeds
                `failures`.
        """
        rollouts = [rollout for group in groups for rollout in group]
        failed = [r for r in rollouts if r.score.reward is None]
        said = []
        if failed:
            share, example = len(failed) / len(rollouts), failed[0]
            late = sum(r.score.verdict is Verdict.TIMEOUT for r in failed)
            limit = f", {late} by the time limit" if late else ""
            sentence = f"{len(failed)} of {len(rollouts)} checks failed{limit} ({example.id}: {example.score.why})"
            if share > self.failures:
                message = f"{sentence}; more than {self.failures:.0%} is not trusted: mend the scorer and resume"
                raise LearningError(message)
            said.append(f"{sentence}; they are left out")
        if any(informative(group) for group in by_role(groups)):
            self.silent = 0
            return said
        self.silent += 1
        if self.patience is not None and self.silent >= self.patience:
            rewards = [reward for group in groups for reward in rewards_of(group)]
            level = f"all rewards near {fmean(rewards):.2f}" if rewards else "nothing judged"
            message = (
                f"no group had attempts of different reward for {self.silent} steps ({level}): there is nothing to "
                "learn from; train in another folder at another level or temperature, or with more attempts"
            )
            raise LearningError(message)
        said.append("no group had attempts of different reward: this step learns nothing")
        return said
