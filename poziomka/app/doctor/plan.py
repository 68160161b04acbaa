"""Number of attempts of each evaluation of a run, for the estimate of its time."""

from math import ceil

from poziomka.app.measure import opens_thoughts
from poziomka.app.settings.recipe import Recipe, Stage
from poziomka.core.task import Task
from poziomka.learning.loops.offline import OfflineSettings
from poziomka.learning.loops.sft import SFTSettings


def evaluations(recipe: Recipe, task: Task) -> list[int]:
    """Returns the number of attempts of each evaluation of a run: gates, learning curve, final evaluations.

    Assumes a model that sometimes answers without a thought; for a model that always thinks, a run skips the
    evaluations in which it is made to think. Evaluations at smaller thinking budgets truncate the same attempts, except
    with tools, and so are not counted again.
    """
    settings, budget = recipe.evaluate, recipe.sampling.max_thinking_tokens
    thoughts = opens_thoughts(recipe)
    gates: list[int] = []
    for stage in recipe.stage:
        if stage.require is not None:
            gates += [_attempts(task, settings.split, stage.require.problems, 2)] * (1 if budget == 0 else 2)
    points = sum(_points(stage, settings.every) for stage in recipe.stage)
    points += isinstance(recipe.stage[-1], SFTSettings) and recipe.stage[-1].steps > 0
    if recipe.compared:
        points += 1 + (thoughts and budget != 0)
    curve = [_attempts(task, settings.split, settings.curve_problems, settings.curve_attempts)] * points
    budgets = len(set(settings.budgets)) if task.environment else 1
    forced = len(set(settings.budgets) - {0})
    forced = forced if task.environment else min(1, forced)
    ways = budgets + (1 + forced if thoughts else 0)
    final = [_attempts(task, "test", settings.problems, settings.attempts)] * ways
    vote = [_attempts(task, "test", settings.vote_problems, max(settings.votes))]
    return gates + curve + (final + vote) * (2 if recipe.compared else 1)


def _points(stage: Stage, every: int) -> int:
    """Returns the number of points of the learning curve in a stage, at its steps."""
    if isinstance(stage, SFTSettings):
        return 0
    return min(1, stage.steps) if isinstance(stage, OfflineSettings) else ceil(stage.steps / every)


def _attempts(task: Task, split: str, problems: int, attempts: int) -> int:
    return attempts * task.available(split, problems)
