"""Distillation: the model is trained towards a teacher's probabilities on its own replies.

    for each step:
        1  P problems; G replies to each by exactly these weights
        2  each token that the model wrote gets weight 1 / (tokens that it wrote in the batch)
        3  one step on  Σ weight · D(π ‖ π_teacher),  D over the whole vocabulary ("reverse", "forward") or k3
        4  the sampler loads the new weights

On-policy distillation (Agarwal et al. 2023, arXiv 2306.13649). The teacher is another checkpoint with the same
tokenizer, or the model as it entered the stage with more context before each prompt (Snell et al. 2022, arXiv
2209.15189). Rewards are logged and not learned from.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from poziomka.core.errors import SettingsError
from poziomka.core.rollouts.collect import Collector, wait_for
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.settings import setting
from poziomka.core.task import Task
from poziomka.core.transcript import Author
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.loops.rl import Policy
from poziomka.learning.loops.stage import NAME, SampledSettings
from poziomka.learning.monitoring.stop_conditions import describe
from poziomka.learning.objectives.kl import DivergenceSettings
from poziomka.learning.objectives.teacher import ContextTeacher
from poziomka.learning.samples.weighting import match_examples
from poziomka.learning.session import Clock, TrainingSession
from poziomka.models.flops import sampling_flops


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """Settings of a distillation stage's teacher: another checkpoint, more context before each prompt, or both."""

    load: str | None = setting(
        None, "checkpoint of the teacher, as in model.load; none: the model at the start of the stage"
    )
    precision: Literal["float32", "bfloat16"] = setting("float32", "precision of a loaded teacher's weights")
    context: str | None = setting(
        None, "system message that only the teacher reads; {answer} is replaced by the gold answer"
    )


@dataclass(frozen=True, kw_only=True)
class DistillSettings(SampledSettings):
    """Settings of a stage of on-policy distillation: training towards a teacher's probabilities on sampled replies."""

    kind: Literal["distill"] = "distill"
    name: str = setting("distill", NAME)
    steps: int = setting(45, "steps, each on a batch of new replies", low=0)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    temperature: float = setting(1.0, "temperature of sampling and of both distributions", low=1e-6)
    kl: DivergenceSettings = field(default_factory=lambda: DivergenceSettings(kind="reverse", weight=1.0))

    def __post_init__(self) -> None:
        """Raises SettingsError if `kl` has no kind or weight, or a teacher with a context meets layout "shared"."""
        super().__post_init__()
        if not self.kl.wanted:
            message = f"{self.name}.kl must have a kind and a weight, which is all that a distillation learns from"
            raise SettingsError(message)
        if self.teacher.context is not None and self.layout == "shared":
            message = f'{self.name}.layout must be "rows" where the teacher reads a context of its own'
            raise SettingsError(message)


def distill(
    progress: TrainingSession,
    policy: Policy,
    task: Task,
    curriculum: Curriculum,
    settings: DistillSettings,
    *,
    start: int = 0,
    after: Callable[[int], None] | None = None,
) -> None:
    """Trains a model towards its teacher's probabilities on its own replies, steps `start` + 1 to `settings.steps`.

    The teacher is the reference of the session's learner. Logged every step: loss/divergence, and the metrics of
    replies and optimizer steps as in reinforcement learning. Rewards are logged and not trained on.

    Args:
        progress: training session; its learner takes the steps, and its `reference` is the teacher.
        policy: sampler, strategy and weight host.
        task: environment and scorer.
        curriculum: selects the problems.
        settings: settings of the stage.
        start: number of steps of this stage done before a resume.
        after: callback with the step's number, after the step is logged and before the checkpoint.

    Raises:
        LearningError: a loss is not finite; the weights are unchanged.
        Interrupted: the user requested a stop; a checkpoint was saved first.
    """
    learner, host = progress.learner, policy.weight_host
    progress.publish_weights(host)
    with Scoring(task, settings.scorer_seconds) as scoring:
        collector = Collector(policy.sampler, scoring, policy.strategy)
        for step in range(start + 1, settings.steps + 1):
            clock = Clock()
            problems = curriculum.take(settings.prompts_per_step)
            name = f"distill/{curriculum.seed}/{step}"
            groups = collector.collect(problems, settings.sampling, settings.group_size, name)
            clock.lap("sampling")
            examples = match_examples([rollout.transcript for group in groups for rollout in group], (Author.MODEL,))
            if isinstance(learner.reference, ContextTeacher):
                learner.reference.meet(task, groups)
            batch = learner.pack(examples)
            clock.lap("packing")
            wait_for(host.release_weights())
            done = (step - 1) / settings.steps
            metrics = learner.step(batch, learner.settings.optimizer.rate_at(step, done))
            progress.step += 1
            progress.publish_weights(host)
            clock.lap("learning")
            sampling, training = sampling_flops(learner.model, groups), learner.flops(batch)
            progress.spend(distill_flops=sampling + training, sampling_flops=sampling, training_flops=training)
            sampled = sum(rollout.cost.sampled for group in groups for rollout in group)
            progress.spend(sampled_tokens=float(sampled), trained_tokens=float(batch.real))
            progress.log(settings.name, describe(groups) | metrics | clock.seconds)
            progress.keep(groups, {})
            if after is not None:
                after(step)
            progress.done(last=step == settings.steps)
