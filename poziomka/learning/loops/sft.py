"""Fine-tuning: next-token prediction of a teacher's words. The loop of a warm start, and of replay later."""

from collections.abc import Callable, Sequence

from poziomka.core.transcript import Author, Transcript
from poziomka.learning.samples.weighting import imitation_examples
from poziomka.learning.session import Clock, Progress


def finetune(
    progress: Progress,
    lessons: Callable[[int], Sequence[Transcript]],
    updates: int,
    *,
    start: int = 0,
    stage: str = "warm_start",
    authors: Sequence[Author] = (Author.TEACHER,),
    after: Callable[[int], None] | None = None,
) -> None:
    """Takes `updates` steps on demonstrations, from `start` on.

    Learned from: the tokens by `authors`, each with weight 1 / (number of them in the batch). Prompts and template
    tokens are read and not learned from. The loop logs every step and saves as `progress` says.

    Args:
        progress: logs, saves, stops; its learner takes the steps.
        lessons: demonstrations of an update, a pure function of its number (1 … updates).
        updates: how many in all.
        start: updates done before, when resumed.
        stage: names the lines in the metrics.
        authors: whose words are learned.
        after: called with the update's number after it was logged and before it is saved.
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
