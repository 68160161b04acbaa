"""Runs one stage of a recipe: a function for each kind, from the components of a run to the loop that trains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poziomka.app.build import context_of, seed_in
from poziomka.app.preflight import strategy_in
from poziomka.app.settings.recipe import Recipe, Stage
from poziomka.core.errors import SettingsError
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.task import Task
from poziomka.inference.local import LocalSampler
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.loops.distill import DistillSettings, distill
from poziomka.learning.loops.offline import OfflineSettings, learn_from
from poziomka.learning.loops.rl import Policy, RLSettings, fraction_done, reinforce
from poziomka.learning.loops.sft import SFTSettings, finetune
from poziomka.learning.samples.demonstrations import Lessons
from poziomka.learning.session import TrainingSession
from poziomka.models.text.chat import ChatFormat
from poziomka.reports.words import counted
from poziomka.runs.feedback import Judged, judge, read_scores, rollouts_in


@dataclass(frozen=True)
class StageParts:
    """Components that a stage trains with.

    Attributes:
        recipe: recipe of the run.
        progress: training session of the run, with the learner of the stage.
        task: environment and scorer.
        taught: the task restricted to the problems that are trained on.
        chat: chat format.
        sampler: sampler with a copy of the weights in training.
        curriculum: chooses the problems of stages that sample.
    """

    recipe: Recipe
    progress: TrainingSession
    task: Task
    taught: Task
    chat: ChatFormat
    sampler: LocalSampler
    curriculum: Curriculum


After = Callable[[int, bool], None]  # (steps of the stage so far, whether the stage is done), before they are saved


def run_stage(parts: StageParts, stage: Stage, start: int, after: After) -> None:
    """Runs a stage from its step `start` on.

    Args:
        parts: components that the stage trains with.
        stage: settings of the stage.
        start: number of the stage's steps that are done already.
        after: called after each step, before it is saved, with the number of steps done and whether it is the last.

    Raises:
        PoziomkaError: the stage cannot run, or training failed.
        Interrupted: the user asked to stop; the state is saved.
    """
    if isinstance(stage, SFTSettings):
        _run_sft(parts, stage, start, after)
    elif isinstance(stage, RLSettings):
        _run_rl(parts, stage, start, after)
    elif isinstance(stage, DistillSettings):
        _run_distill(parts, stage, start, after)
    else:
        _run_offline(parts, stage, after)


def _run_sft(parts: StageParts, stage: SFTSettings, start: int, after: After) -> None:
    progress, steps = parts.progress, stage.steps
    context = context_of(parts.recipe, progress.learner.model)
    lessons = Lessons(parts.taught, parts.chat, stage.demonstrations, seed_in(parts.recipe, stage), context)

    def ended(step: int) -> None:
        if step == steps:
            for note in lessons.notes:
                progress.run.note(note)
        after(step, step == steps)

    finetune(progress, lambda step: lessons.at(step, steps), steps, start=start, stage=stage.name, after=ended)


def _run_rl(parts: StageParts, stage: RLSettings, start: int, after: After) -> None:
    progress, curriculum = parts.progress, parts.curriculum

    def ended(step: int) -> None:
        after(step, fraction_done(progress, curriculum, stage, step) >= 1)

    with Scoring(parts.task, stage.scorer_seconds) as scoring:  # of judges; the loop has its own
        policy = Policy(parts.sampler, strategy_in(stage, parts.sampler, scoring))
        reinforce(progress, policy, parts.task, curriculum, stage, start=start, after=ended)


def _run_distill(parts: StageParts, stage: DistillSettings, start: int, after: After) -> None:
    def ended(step: int) -> None:
        after(step, step == stage.steps)

    distill(parts.progress, Policy(parts.sampler), parts.task, parts.curriculum, stage, start=start, after=ended)


def _run_offline(parts: StageParts, stage: OfflineSettings, after: After) -> None:
    if stage.journal is None:
        message = f"the stage {stage.name!r} learns from served rollouts: give {stage.name}.journal, a file or a folder"
        raise SettingsError(message)
    judged, notes = served(Path(stage.journal), None if stage.scores is None else Path(stage.scores))
    for note in notes:
        parts.progress.run.note(note)
    learn_from(parts.progress, parts.sampler, judged, stage, after=lambda step: after(step, True))


def served(journal: Path, scores: Path | None) -> tuple[Judged, list[str]]:
    """Reads rollouts that were served and journaled; returns them with scores, and notes about duplicates.

    Args:
        journal: a journal file, or a folder of journals.
        scores: JSON lines with later scores; None uses the scores in the journal.

    Raises:
        PoziomkaError: a file cannot be read.
    """
    rollouts, twice = rollouts_in(journal)
    judged = judge(rollouts, read_scores(scores)) if scores is not None else Judged(rollouts)
    said = (
        f"{counted(len(twice), 'rollout')} came more than once ({twice[0]!r} for one): the first counts"
        if twice
        else ""
    )
    return judged, [said] * bool(said)


def curriculum_of(recipe: Recipe, stage: Stage, task: Task) -> Curriculum:
    """Returns the curriculum of a stage, which chooses its training problems.

    For a stage that does not sample, such as sft, this is the default curriculum with all levels of the task.
    """
    if isinstance(stage, RLSettings):
        return Curriculum(task, seed_in(recipe, stage), stage.drop_solved_above, stage.curriculum)
    settings = stage.curriculum if isinstance(stage, DistillSettings) else None
    return Curriculum(task, seed_in(recipe, stage), settings=settings)


def saved_stage(state: Mapping[str, Any]) -> str:
    """Returns the name of the stage in which a checkpoint was saved, from the checkpoint's state; "" if unknown."""
    return str(state.get("stages", {}).get("present", ""))
