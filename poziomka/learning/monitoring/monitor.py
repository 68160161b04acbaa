"""The monitor interface: checks and measurements that run in every step of reinforcement learning."""

from collections.abc import Mapping, Sequence

from poziomka.core.errors import LearningError
from poziomka.core.rollout import Group
from poziomka.core.transcript import Author
from poziomka.runs.run import Run


class Monitor:
    """Base class of monitors, which never change weights or random numbers. Each method may be overridden."""

    def sampled(self, groups: Sequence[Group], version: str) -> None:
        """Checks rollouts before anything is learned from them.

        Args:
            groups: judged rollouts of the step.
            version: version of the weights that the step learns with.

        Raises:
            LearningError: the rollouts must not be trained on; the weights are unchanged.
        """

    def learned(self, groups: Sequence[Group], step: int) -> Mapping[str, float]:
        """Returns metrics to log with the step, after the weights were updated."""
        return {}

    def logged(self, groups: Sequence[Group], metrics: Mapping[str, float], run: Run, step: int) -> Sequence[str]:
        """Returns notes about the step, after it was logged and its rollouts were kept.

        Args:
            groups: judged rollouts of the step.
            metrics: metrics of the learner.
            run: the run, for monitors that keep results of their own.
            step: number of the step in the run.

        Raises:
            LearningError: training must stop; the loop saves a checkpoint first.
        """
        return ()


class Freshness(Monitor):
    """Refuses rollouts that were not sampled with the weights in training: the staleness is 0."""

    def sampled(self, groups: Sequence[Group], version: str) -> None:
        """Raises LearningError for a rollout of another version; see Monitor."""
        branches = (branch for group in groups for rollout in group for branch in rollout.branches if branch.trainable)
        spans = (span for branch in branches for span in branch.transcript)
        stale = {span.policy for span in spans if span.author is Author.MODEL} - {version, None}
        if stale:
            message = (
                f"the sampler wrote with {', '.join(map(str, stale))} instead of {version}: it did not load the weights"
            )
            raise LearningError(message)
