"""`poziomka learn`: updates a run's weights from rollouts that were served and judged earlier."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poziomka.app.cli.progress import doing
from poziomka.app.settings.recipe import recipe_of
from poziomka.app.train import Training
from poziomka.core.errors import LearningError
from poziomka.core.settings import build
from poziomka.learning.loops.offline import ServedSettings, learn_from
from poziomka.reports.words import counted
from poziomka.runs.feedback import Judged, judge, read_scores, rollouts_in
from poziomka.runs.run import Run


def learn(folder: Path, source: Path, scores: Path | None, settings: Mapping[str, Any]) -> list[str]:
    """Updates a run's weights from a journal; returns sentences about skipped rollouts and the result.

    Args:
        folder: folder of the run; no other process may write to it.
        source: a journal file, or a folder of journals.
        scores: JSON lines with later scores; None to use the journal's scores.
        settings: fields of ServedSettings by name; missing ones and None stand for the defaults.

    Raises:
        PoziomkaError: the update is not possible; the run is unchanged.
    """
    how = build(ServedSettings, {name: value for name, value in settings.items() if value is not None}, "learn")
    plain = Run.read(folder).recipe
    recipe = recipe_of(plain, where=str(folder))
    with doing(f"reading {source}", always=False):
        rollouts, twice = rollouts_in(source)
    judged = judge(rollouts, read_scores(scores)) if scores is not None else Judged(rollouts)
    with Run.open(folder, plain) as run:
        with doing(f"loading {folder}", always=False):
            training = Training(recipe, run, quiet=True)
        progress = training.progress
        if progress.step < training.warm_updates:
            message = f"the run {folder} is still in its warm start: finish it first, with {progress.again}"
            raise LearningError(message)
        if progress.step == training.warm_updates:
            progress.learner = training.learner(recipe.reinforce.learner)
        if twice:
            run.note(f"{counted(len(twice), 'rollout')} came more than once ({twice[0]!r} for one): the first counts")
        with doing(f"learning from {counted(len(judged.rollouts), 'rollout')}"):
            metrics = learn_from(progress, None, judged, how)
        used, mean = counted(int(metrics["rollouts/used"]), "rollout"), metrics["reward/mean"]
        done = (
            f"learned from {used} (mean reward {mean:.2f}, {metrics['policy/mismatch_kl']:.2g} nats a token from "
            f"their writers): the run stands at {progress.version}"
        )
        return [*run.notes, done]
