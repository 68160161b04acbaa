"""Number of attempts of each evaluation of a run, for the estimate of its time."""

from math import ceil

from poziomka.app.measure import opens_thoughts
from poziomka.app.settings.recipe import Recipe
from poziomka.core.splits import VALIDATION
from poziomka.core.task import Task

MODELS = 2  # the warm start and the trained model: both get a final evaluation


def evaluations(recipe: Recipe, task: Task) -> list[int]:
    """Returns the number of attempts of each evaluation of a run: gate, learning curve, final evaluations.

    Assumes a model that sometimes answers at once; one that always thinks skips the evaluations made to think.
    Evaluations at smaller budgets truncate the same attempts, except with tools, and so are not counted again.
    """
    settings, steps, budget = recipe.evaluate, recipe.reinforce.steps, recipe.reinforce.budget
    thoughts = opens_thoughts(recipe)
    gate = [_attempts(task, VALIDATION, recipe.gate.problems, 2)] * (1 if budget == 0 else 2)
    points = 1 + ceil(steps / settings.every) + (thoughts and budget != 0)
    curve = [_attempts(task, VALIDATION, settings.curve_problems, settings.curve_attempts)] * points
    budgets = len(set(settings.budgets)) if task.environment else 1
    forced = len(set(settings.budgets) - {0})
    forced = forced if task.environment else min(1, forced)
    ways = budgets + (1 + forced if thoughts else 0)
    final = [_attempts(task, "test", settings.problems, settings.attempts)] * ways
    vote = [_attempts(task, "test", settings.vote_problems, max(settings.votes))]
    return gate + curve + (final + vote) * MODELS


def _attempts(task: Task, split: str, problems: int, attempts: int) -> int:
    there = task.count(split)
    return attempts * (problems if there is None else min(problems, there))
