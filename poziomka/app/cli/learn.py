"""`poziomka learn`: updates a run's weights from rollouts that were served and judged earlier."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poziomka.app.cli.shell.progress import doing
from poziomka.app.settings.recipe import recipe_of
from poziomka.app.stages import served
from poziomka.app.train import Training
from poziomka.core.errors import LearningError, SettingsError
from poziomka.core.settings import build
from poziomka.learning.loops.offline import OfflineSettings, learn_from
from poziomka.reports.words import counted
from poziomka.runs.recipe import demand_present
from poziomka.runs.run import Run

STAGE = "learn"  # name of these updates in the metrics


def learn(
    folder: Path, source: Path, scores: Path | None, settings: Mapping[str, Any], rate: float | None = None
) -> list[str]:
    """Runs `poziomka learn`: updates a run's weights from journaled rollouts; returns notes and a result sentence.

    Args:
        folder: folder of the run; no other process may write to it.
        source: a journal file, or a folder of journals.
        scores: JSON lines with later scores; None to use the journal's scores.
        settings: fields of OfflineSettings by name; missing and None fields have their defaults.
        rate: learning rate; None takes the highest rate of the stage that the run is in.

    Raises:
        PoziomkaError: the update is not possible; the run is unchanged.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    how = build(OfflineSettings, {**given, "name": STAGE}, "learn")
    if rate is not None and not rate >= 0:
        message = f"learn.rate must be at least 0.0: received {rate!r}"
        raise SettingsError(message)
    values = Run.read(folder).recipe
    demand_present(folder, values)
    recipe = recipe_of(values, where=str(folder))
    with doing(f"reading {source}", always=False):
        judged, notes = served(source, scores)
    with Run.open(folder, values) as run:
        with doing(f"loading {folder}", always=False):
            training = Training(recipe, run, quiet=True)
        enter(training)
        for note in notes:
            run.note(note)
        with doing(f"learning from {counted(len(judged.rollouts), 'rollout')}"):
            metrics = learn_from(training.progress, None, judged, how, rate=rate)
        used, mean = counted(int(metrics["rollouts/used"]), "rollout"), metrics["reward/mean"]
        done = (
            f"learned from {used} (mean reward {mean:.2f}, {metrics['policy/mismatch_kl']:.2g} nats a token from "
            f"their writers): the run stands at {training.progress.version}"
        )
        return [*run.notes, done]


def enter(training: Training) -> None:
    """Enters the first unfinished stage after sft, with a new learner, if the run has not begun that stage yet.

    Raises:
        LearningError: a stage before it, such as sft, is unfinished.
    """
    progress, stages = training.progress, training.recipe.stage
    later = [stage for stage in stages if stage.kind != "sft" and stage.name not in progress.stages.ended]
    if not later or later[0].name in progress.stages.taken:
        return
    before = stages[: stages.index(later[0])]
    unfinished = next((stage.name for stage in before if stage.name not in progress.stages.ended), None)
    if unfinished is not None:
        where = progress.run.folder
        message = f"the run {where} is still in its stage {unfinished!r}: finish it first, with {progress.again}"
        raise LearningError(message)
    progress.learner = training.learner(later[0])
    progress.enter(later[0].name)
