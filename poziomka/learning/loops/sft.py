"""Supervised fine-tuning (SFT): next-token prediction on demonstrations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from poziomka.core.settings import setting
from poziomka.core.transcript import Author, Transcript
from poziomka.learning.learner import LearnerSettings
from poziomka.learning.loops.stage import NAME, StageSettings
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.learning.samples.demonstrations import LessonSettings
from poziomka.learning.samples.weighting import imitation_examples
from poziomka.learning.session import Clock, TrainingSession

OPTIMIZER = OptimizerSettings(learning_rate=2e-3, warmup_steps=50, decay_ratio=0.6, min_lr_ratio=0.02)


@dataclass(frozen=True, kw_only=True)
class SFTSettings(LearnerSettings, StageSettings):
    """Settings of a stage of supervised fine-tuning on demonstrations."""

    kind: Literal["sft"] = "sft"
    name: str = setting("sft", NAME)
    steps: int = setting(1200, "optimizer steps", low=0)
    demonstrations: LessonSettings = field(default_factory=LessonSettings)
    optimizer: OptimizerSettings = field(default_factory=lambda: OPTIMIZER)


def finetune(
    progress: TrainingSession,
    lessons: Callable[[int], Sequence[Transcript]],
    updates: int,
    *,
    start: int = 0,
    stage: str = "sft",
    authors: Sequence[Author] = (Author.TEACHER,),
    after: Callable[[int], None] | None = None,
) -> None:
    """Trains on demonstrations, from update `start` + 1 to `updates`.

    The loss is the mean negative log-likelihood of the batch's tokens by `authors`. Other tokens, such as those of
    prompts and of the chat template, have no loss. The loop logs every step, and `progress` saves checkpoints.

    Args:
        progress: training session; its learner takes the steps.
        lessons: function from the number of an update, 1 to `updates`, to its demonstrations; deterministic.
        updates: number of updates, those before a resume included.
        start: number of updates done before a resume.
        stage: name of the stage in the metrics.
        authors: authors whose tokens are trained on.
        after: callback with the update's number, after it is logged and before the checkpoint.

    Raises:
        LearningError: a loss is not finite; the weights are unchanged.
        Interrupted: the user requested a stop; a checkpoint was saved first.
    """
    learner = progress.learner
    schedule = learner.settings.optimizer
    for update in range(start + 1, updates + 1):
        clock = Clock()
        demonstrations = lessons(update)
        batch = learner.pack(imitation_examples(demonstrations, authors))
        clock.lap("data")
        metrics = learner.step(batch, schedule.rate_at(update, (update - 1) / updates))
        clock.lap("learning")
        progress.step += 1
        progress.spend(finetune_flops=learner.flops(batch), finetune_tokens=float(batch.real))
        progress.log(stage, metrics | clock.seconds)
        if after is not None:
            after(update)
        progress.done(last=update == updates)
