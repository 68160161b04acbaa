"""Which evaluations a run makes, so that their time can be estimated before it begins."""

from math import ceil

from poziomka.app.measure import opens_thoughts
from poziomka.app.settings.recipe import Recipe
from poziomka.core.splits import VALIDATION
from poziomka.core.task import Task

MODELS = 2  # the warm start and the trained model: each gets final figures


def evaluations(recipe: Recipe, task: Task) -> list[int]:
    """Returns how many attempts each evaluation of a run samples: gate, learning curve, final figures.

    Counted as if the model answered at once now and then; one that always thinks is not made to think once more.
    Thoughts that are cut at smaller budgets are parts of attempts that are counted already.
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
