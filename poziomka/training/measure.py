"""The figures that a report draws: accuracy at budgets, votes and oracles, as plain data."""

from dataclasses import asdict, replace
from typing import Any

from poziomka.core.evaluation import Evaluation, evaluate
from poziomka.core.problem import Task
from poziomka.core.sampler import Sampler, Sampling
from poziomka.thinking.budget import at_budgets
from poziomka.training.recipe import EvaluateSettings


def held_out(found: Evaluation) -> dict[str, Any]:
    """Returns accuracy with its interval, and what it cost in tokens."""
    return asdict(found.accuracy) | {"thinking_tokens": found.thinking, "tokens": found.tokens}


def frontier(
    sampler: Sampler, task: Task, sampling: Sampling, settings: EvaluateSettings
) -> tuple[dict[str, Any], Evaluation]:
    """Returns the accuracy at each budget, and the evaluation at the largest.

    A thought in which an environment speaks cannot be cut, so with tools each budget is attempted by itself.
    """
    count, attempts = settings.problems, settings.attempts
    if task.environment is None:
        found = at_budgets(sampler, task, sampling, settings.budgets, problems=count, attempts=attempts)
    else:
        found = {
            budget: evaluate(sampler, task, replace(sampling, think_most=budget), problems=count, attempts=attempts)
            for budget in sorted(set(settings.budgets))
        }
    points = [
        {
            "budget": budget,
            "accuracy": asdict(evaluation.accuracy),
            "thinking_tokens": evaluation.thinking,
            "tokens": evaluation.tokens,
        }
        for budget, evaluation in sorted(found.items())
    ]
    return {"budgets": points}, found[max(found)]


def vote(sampler: Sampler, task: Task, sampling: Sampling, settings: EvaluateSettings) -> dict[str, Any]:
    """Returns what majority voting and an oracle make of many attempts with short thoughts.

    `thinking_tokens` are those of all attempts together, the price at which they compare with one longer thought.
    """
    most = max(settings.votes)
    how = replace(sampling, think_most=settings.vote_budget)
    found = evaluate(sampler, task, how, problems=settings.vote_problems, attempts=most)

    def points(measure: str) -> list[dict[str, Any]]:
        return [
            {"attempts": k, "thinking_tokens": k * found.thinking, "accuracy": asdict(getattr(found, measure)(k))}
            for k in settings.votes
        ]

    return {
        "majority": points("majority_at"),
        "oracle": points("pass_at"),
        "majority_budget": settings.vote_budget,
    }
