"""On-policy reinforcement learning with verifiable rewards (RLVR).

    for each step:
        1  P problems; G attempts at each, sampled with the present weights, every thought closed at the thinking budget
        2  A_i = (R_i - mean of the group's R) / std of these differences over the batch
        3  each MODEL token gets weight A_i / (groups × tokens of its group), other tokens 0
        4  c = min(p_old / q, cap): the learner's probability of a token before the step, over the sampler's
        5  one AdamW step on  - Σ weight · c · sg(min(ρ, cap)) · log π(token),  ρ = π / p_old
        6  the sampler loads the new weights

These are the defaults. Settings select other advantages (2), aggregations (3), corrections (4) and surrogates (5) by
name, and several minibatches and epochs: then (5) is a step for each minibatch and epoch, and p_old is computed for all
of them before the first. With one minibatch and epoch, p_old comes from the step's own forward pass, so ρ is 1, nothing
is clipped, and all surrogates have the same gradient.

A group whose rewards are all equal, and an attempt whose check failed, get no advantage: they are left out of the
standard deviation, of the normaliser and of the batch, but are logged and kept in the journal. With tools, an attempt
with a void turn counts in (2) and is left out of (3): see learning/samples/turns.py. A step without any advantage
changes no weight. In (3), prompt, template, tool output and the "</think>" that the budget forces are not MODEL tokens
(learning/samples/weighting.py).

The staleness is 0: rollouts of other weights are refused. So c differs from 1 by rounding only; its cap and
`policy/mismatch_kl` matter for samplers whose numerics differ from the learner's. There is no KL term by default, no
value network and no length penalty.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from poziomka.core.errors import LearningError, SettingsError
from poziomka.core.rollout import Group
from poziomka.core.rollouts.collect import Collector, wait_for
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import Sampler, WeightHost
from poziomka.core.seeds import seed_of
from poziomka.core.settings import setting
from poziomka.core.strategy import Strategy
from poziomka.core.task import Task
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.loops.stage import NAME, SampledSettings
from poziomka.learning.monitoring.consistency import ConsistencyChecks
from poziomka.learning.monitoring.monitor import Freshness, Monitor
from poziomka.learning.monitoring.stop_conditions import StopConditions, describe
from poziomka.learning.monitoring.thresholds import AlarmSettings
from poziomka.learning.objectives.step_sums import over_minibatches
from poziomka.learning.samples.advantages import Advantages, advantage_named, by_token
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.branches import Line, by_role
from poziomka.learning.samples.turns import describe_tools, without_void
from poziomka.learning.samples.weighting import Aggregation, minibatches, policy_examples
from poziomka.learning.session import Clock, TrainingSession, watch_over
from poziomka.models.flops import sampling_flops


@dataclass(frozen=True, kw_only=True)
class RLSettings(SampledSettings):
    """Settings of one stage of reinforcement learning."""

    kind: Literal["rl"] = "rl"
    name: str = setting("rl", NAME)
    steps: int = setting(45, "maximum steps, each on a batch of new rollouts", low=0)
    flops: float | None = setting(
        None, "maximum FLOPs of sampling and learning; the stage ends after the step that exceeds them", low=1.0
    )
    group_size: int = setting(8, "rollouts per prompt", low=2)
    strategy: str | None = setting(
        None, "strategy that makes each rollout, as in `poziomka evaluate --strategy`; none: a reply or conversation"
    )
    advantage: str = setting("batch", "advantage estimator: batch, group, rloo, dr_grpo or expert")
    aggregation: Aggregation = setting(
        "prompt", "weights of the tokens in the loss: equal per prompt, token, sequence, or constant"
    )
    minibatches: int = setting(1, "minibatches per step, each with an optimizer step", low=1)
    epochs: int = setting(1, "passes over a step's minibatches", low=1)
    void: Literal["drop", "keep"] = setting(
        "drop", "rollouts with tools that end in a turn without call and answer; drop: only in the baseline"
    )
    drop_solved_above: float | None = setting(
        0.9, "pass rate above which a problem of a finite task is no longer trained on; none: never", low=0.0, high=1.0
    )
    patience: int | None = setting(
        20, "consecutive steps without an informative group after which the stage stops; none: never", low=1
    )
    failures: float = setting(0.1, "share of failed checks in a step above which the run stops", low=0.0, high=1.0)
    alarms: AlarmSettings = field(default_factory=AlarmSettings)

    def __post_init__(self) -> None:
        """Raises SettingsError for an unknown advantage estimator, before training."""
        super().__post_init__()
        advantage_named(self.advantage)


@dataclass(frozen=True)
class Policy:
    """The policy in training: its sampler, its strategy, and the host of its weights.

    Attributes:
        sampler: continues transcripts with the weights of `host`.
        strategy: makes the attempts, by requests to the sampler.
        host: loads the new weights after each step; None if the sampler itself loads them.

    Raises:
        SettingsError: `host` is None and the sampler is no WeightHost.
    """

    sampler: Sampler
    strategy: Strategy = SINGLE_REPLY
    host: WeightHost | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError if nothing loads new weights."""
        if self.host is None and not isinstance(self.sampler, WeightHost):
            message = f"{type(self.sampler).__name__} cannot load new weights: give the host of its weights"
            raise SettingsError(message)

    @property
    def weight_host(self) -> WeightHost:
        """The object that loads new weights: `host`, or the sampler if `host` is None."""
        return cast("WeightHost", self.sampler) if self.host is None else self.host


def reinforce(
    progress: TrainingSession,
    policy: Policy,
    task: Task,
    curriculum: Curriculum,
    settings: RLSettings,
    *,
    start: int = 0,
    after: Callable[[int], None] | None = None,
) -> None:
    """Trains a policy by reinforcement learning: steps `start` + 1 to `settings.steps`, or up to `settings.flops`.

    Args:
        progress: training session: logs, keeps rollouts, and saves a checkpoint at its interval, after the last step,
            and when the user stops the run. Its `monitors` run after the standard ones.
        policy: sampler, strategy and weight host.
        task: environment and scorer.
        curriculum: selects the problems.
        settings: settings of the stage; `max_tokens` bounds thought and answer together.
        start: number of steps of this stage done before a resume.
        after: callback with the step's number, after the step is logged and before the checkpoint.

    Logged every step (names in docs/files.md): reward, pass rate, share of groups without variance, entropy, lengths of
    replies, gradient norm, clip share, sampler-learner KL, tokens, FLOPs, seconds, tool use.

    Raises:
        SettingsError: the learner's temperature differs from the sampling temperature.
        LearningError: a monitor stops the run (a checkpoint is saved first), rollouts are stale, or a loss is not
            finite (the weights are unchanged, and the sampler has none until the next `load_weights`).
        Interrupted: the user requested a stop; a checkpoint was saved first.
    """
    learner, host = progress.learner, policy.weight_host
    if learner.temperature != settings.temperature:
        message = f"the learner's temperature is {learner.temperature}, the sampling's {settings.temperature}: give one"
        raise SettingsError(message)
    monitors = _monitors(progress, policy.sampler, task, settings)
    progress.publish_weights(host)
    with Scoring(task, settings.scorer_seconds) as scoring:
        collector = Collector(policy.sampler, scoring, policy.strategy)
        for step in range(start + 1, settings.steps + 1):
            done = fraction_done(progress, curriculum, settings, step - 1)
            if done >= 1:
                break
            clock = Clock()
            # 1 attempts
            problems = curriculum.take(settings.prompts_per_step)
            name = f"train/{curriculum.seed}/{step}"
            groups = collector.collect(problems, settings.sampling, settings.group_size, name)
            for monitor in monitors:
                monitor.sampled(groups, progress.version)
            clock.lap("sampling")
            # 2, 3 advantages, as weights on tokens, in minibatches
            lines = by_role(groups)
            advantages = _advantages(task, lines, settings)
            parts = minibatches(lines, advantages, settings.minibatches, seed_of("minibatches", name))
            batches = [learner.pack(policy_examples(*p, settings.aggregation, settings.max_tokens)) for p in parts]
            clock.lap("packing")
            # 4, 5, 6 the old probabilities, a step for each minibatch and epoch, the new weights
            wait_for(host.release_weights())
            rate = learner.settings.optimizer.rate_at(step, done)
            if len(batches) * settings.epochs > 1:
                batches = learner.with_old(batches)
            metrics = over_minibatches([learner.step(batch, rate) for _ in range(settings.epochs) for batch in batches])
            progress.step += 1
            progress.publish_weights(host)
            clock.lap("learning")
            # records and monitors
            dealt = curriculum.learn(groups)
            _count_compute(progress, groups, batches, settings.epochs)
            seen = _described(task, groups)
            for monitor in monitors:
                seen |= monitor.learned(groups, progress.step)
            clock.lap("monitoring")
            progress.log(settings.name, seen | dealt | metrics | clock.seconds)
            progress.keep(groups, by_token(lines, advantages))
            if after is not None:
                after(step)
            _note_or_stop(progress, monitors, groups, metrics)
            progress.done(last=fraction_done(progress, curriculum, settings, step) >= 1)


def _monitors(progress: TrainingSession, sampler: Sampler, task: Task, settings: RLSettings) -> list[Monitor]:
    """Returns the monitors of a stage, in the order of their calls."""
    conditions = StopConditions(settings.patience, settings.failures)
    conditions.silent = _silent_so_far(progress, settings.name)
    return [
        Freshness(),
        watch_over(progress, task, settings.alarms, settings.scorer_seconds),
        ConsistencyChecks(progress.learner.model, settings.temperature, sampler),
        conditions,
        *progress.monitors,
    ]


def fraction_done(progress: TrainingSession, curriculum: Curriculum, settings: RLSettings, done: int) -> float:
    """Returns the fraction (0 to 1, or more) of a stage that is done: of its steps or FLOPs, whichever is greater.

    Returns 1 if the curriculum has no problem left.

    Args:
        progress: training session, which counts the FLOPs spent.
        curriculum: curriculum of the stage.
        settings: settings of the stage.
        done: number of steps taken in this stage.
    """
    if curriculum.finished:
        return 1.0
    spent = progress.spent_since_entry("compute/reinforce_flops")
    return max(done / settings.steps, spent / settings.flops if settings.flops else 0.0)


def _advantages(task: Task, lines: Sequence[Sequence[Line]], settings: RLSettings) -> Advantages:
    """Returns the advantages by group and line; None leaves a line out of the batch."""
    advantages = advantage_named(settings.advantage)(lines)
    if task.environment is None or settings.void == "keep":
        return advantages
    return without_void(lines, advantages)


def _described(task: Task, groups: Sequence[Group]) -> dict[str, float]:
    """Returns the metrics of a step's rollouts, with those of tool use if the task has an environment."""
    return describe(groups) | (describe_tools(groups) if task.environment is not None else {})


def _count_compute(progress: TrainingSession, groups: Sequence[Group], batches: Sequence[Batch], epochs: int) -> None:
    """Adds the sampled and trained tokens, and their FLOPs, to the cumulative totals.

    A forward pass for old log-probabilities costs a third of a step.
    """
    learner = progress.learner
    sampling = sampling_flops(learner.model, groups)
    passes = [epochs + (0 if batch.old is None else 1 / 3) for batch in batches]
    training = sum(count * learner.flops(batch) for count, batch in zip(passes, batches, strict=True))
    progress.spend(reinforce_flops=sampling + training, sampling_flops=sampling, training_flops=training)
    sampled = sum(rollout.cost.sampled for group in groups for rollout in group)
    trained = epochs * sum(batch.real for batch in batches)
    progress.spend(sampled_tokens=float(sampled), trained_tokens=float(trained))


def _silent_so_far(progress: TrainingSession, stage: str) -> int:
    """Returns how many of a stage's latest steps in a row had no group with different rewards, from its metrics.

    A resumed run continues this count. Metrics of steps after the checkpoint must have been removed before.
    """
    lines = [line for line in progress.run.metrics() if line["stage"] == stage]
    shares = [line["groups/zero_variance"] for line in reversed(lines)]
    return next((count for count, share in enumerate(shares) if share < 1), len(shares))


def _note_or_stop(
    progress: TrainingSession, monitors: Sequence[Monitor], groups: Sequence[Group], metrics: Mapping[str, float]
) -> None:
    """Writes the monitors' notes to the run; saves a checkpoint before a monitor stops it."""
    try:
        for monitor in monitors:
            for note in monitor.logged(groups, metrics, progress.run, progress.step):
                progress.run.note(f"step {progress.step}: {note}")
    except LearningError:
        progress.save()
        raise
