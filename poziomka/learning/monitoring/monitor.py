"""The monitor interface: checks and measurements that run in every step of reinforcement learning."""

from collections.abc import Mapping, Sequence

from poziomka.core.errors import LearningError
from poziomka.core.rollout import Group
from poziomka.core.transcript import Author
from poziomka.runs.run import Run


class Monitor:
    """Base class of monitors: checks and measurements that the training loop runs in every step.

    A step calls `sampled`, `learned` and `logged` in this order. Each may be overridden; by default it does nothing. A
    monitor must not change weights or random numbers.
    """

    def sampled(self, groups: Sequence[Group], version: str) -> None:
        """Checks rollouts before anything is learned from them.

        Args:
            groups: judged rollouts of the step.
            version: version of the weights that the step learns with.

        Raises:
            LearningError: the rollouts must not be trained on; the weights are unchanged.
        """

    def learned(self, groups: Sequence[Group], step: int) -> Mapping[str, float]:
        """Returns metrics to log with the step; called after the weights were updated.

        Args:
            groups: judged rollouts of the step.
            step: number of the step in the run.
        """
        return {}

    def logged(self, groups: Sequence[Group], metrics: Mapping[str, float], run: Run, step: int) -> Sequence[str]:
        """Returns notes to write to the run; called after the step was logged and its rollouts were kept.

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
    """Monitor that stops training if a rollout was sampled with other weights than those in training."""

    def sampled(self, groups: Sequence[Group], version: str) -> None:
        """Raises LearningError if a MODEL span of a trainable branch names another policy than `version`."""
        branches = (branch for group in groups for rollout in group for branch in rollout.branches if branch.trainable)
        spans = (span for branch in branches for span in branch.transcript)
        stale = {span.policy for span in spans if span.author is Author.MODEL} - {version, None}
        if stale:
            message = (
                f"the sampler wrote with {', '.join(map(str, stale))} instead of {version}: it did not load the weights"
            )
            raise LearningError(message)
