"""The figures that a report draws, as plain data: accuracy at budgets, votes, oracles, gains at equal thinking."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from poziomka.core.answers import split_thought
from poziomka.core.errors import TaskError
from poziomka.core.evaluation import Estimate, Evaluation, evaluate, paired_gain
from poziomka.core.failures import failures_of
from poziomka.core.problem import Problem, Task
from poziomka.core.sampler import Sampler, Sampling
from poziomka.reports.reading import AFTER, BEFORE, FORCED
from poziomka.runs import Run
from poziomka.thinking.budget import at_budgets
from poziomka.training.recipe import EvaluateSettings, Recipe

Found = Mapping[int, Evaluation]  # by budget


def held_out(found: Evaluation) -> dict[str, Any]:
    """Returns accuracy with its interval, and what it cost in tokens."""
    return asdict(found.accuracy) | cost(found) | failures(found)


def cost(found: Evaluation) -> dict[str, float]:
    """Returns the tokens of an attempt: of its thought, and all of them."""
    return {"thinking_tokens": found.thinking, "tokens": found.tokens}


def failures(found: Evaluation) -> dict[str, Any]:
    """Returns what failed checks leave open: how many there are, and the accuracy with all of them wrong, all right."""
    if not found.failures:
        return {}
    wrong, right = found.bounds
    return {"failures": {"checks": found.failures, "problems": found.problems, "as_wrong": wrong, "as_right": right}}


@dataclass(frozen=True)
class Measured:
    """What one model reaches on the test split.

    Attributes:
        curves: as results/frontier.json holds them, by name; the second one, where there is one, is made to think.
        found: the evaluations behind them, by name and budget.
    """

    curves: Mapping[str, dict[str, Any]]
    found: Mapping[str, Found]

    @property
    def longest(self) -> Evaluation:
        """The evaluation at the largest budget, free to answer at once."""
        free = next(iter(self.found.values()))
        return free[max(free)]


def measured(
    name: str, sampler: Sampler, task: Task, recipe: Recipe, sampling: Callable[[int, int | None], Sampling]
) -> Measured:
    """Returns the figures of a model: free to answer at once, made to think, and made to answer at once.

    Where every attempt thinks by itself, to make the model think changes nothing, and the curve is taken as it is.

    Args:
        name: of the model.
        sampler: has its weights.
        task: whose test split to use.
        recipe: says at which budgets and how often.
        sampling: returns how problems are attempted with (least, most) thinking tokens.
    """
    settings = recipe.evaluate
    found = {name: at_each_budget(sampler, task, sampling(0, None), settings)}
    curve = {"budgets": points(found[name])} | vote(sampler, task, sampling(0, None), settings)
    curves = {name: curve}
    if opens_thoughts(recipe):
        once = evaluate(sampler, task, sampling(0, 0), problems=settings.problems, attempts=settings.attempts)
        same = always_thinks(found[name][max(found[name])])
        thinking = {budget: each for budget, each in found[name].items() if budget > 0}
        forced = thinking if same else at_each_budget(sampler, task, sampling(1, None), settings)
        curve |= {"at_once": held_out(once), "always_thinks": same}
        found[name + FORCED], curves[name + FORCED] = forced, {"budgets": points(forced)}
    return Measured(curves, found)


def record(model: Measured, run: Run, task: Task, recipe: Recipe) -> None:
    """Adds a model's figures to a run's results, and the gains between those that are known by then."""
    budget = judged_budget(recipe.evaluate, recipe.reinforce.budget)
    rights = (run.results("by_problem") or {}).get("rights", {})
    rights |= {name: by_problem(found[budget]) for name, found in model.found.items() if found}
    run.record("by_problem", {"budget": budget, "rights": rights})
    run.record("gains", {"budget": budget, **gains(rights)})
    if task.references is not None and run.results("references") is None:
        problems = [group[0].problem for group in model.longest.groups]
        try:
            with failures_of(f"the references of task {task.name!r}", TaskError):
                found = reference_points([problem for problem in problems if not problem.fault], task, recipe)
        except TaskError as error:
            run.note(f"{error}: the report draws no known policies")
        else:
            run.record("references", found)
    known = (run.results("frontier") or {}).get("curves", {})
    drawn = {"task": task.name, "problems": len(model.longest.groups), "attempts": recipe.evaluate.attempts}
    run.record("frontier", {**drawn, "curves": {**known, **model.curves}})


def at_each_budget(
    sampler: Sampler, task: Task, sampling: Sampling, settings: EvaluateSettings
) -> dict[int, Evaluation]:
    """Returns the evaluation of the test split at each budget that leaves room for `sampling.think_least` tokens.

    A thought in which an environment speaks cannot be cut, so with tools each budget is attempted by itself.
    """
    count, attempts = settings.problems, settings.attempts
    budgets = sorted({budget for budget in settings.budgets if budget >= sampling.think_least})
    if not budgets:
        return {}
    if task.environment is None:
        return at_budgets(sampler, task, sampling, budgets, problems=count, attempts=attempts)
    return {
        budget: evaluate(sampler, task, replace(sampling, think_most=budget), problems=count, attempts=attempts)
        for budget in budgets
    }


def points(found: Found) -> list[dict[str, Any]]:
    """Returns the points of a curve: accuracy and tokens at each budget."""
    return [
        {"budget": budget, "accuracy": asdict(each.accuracy), **cost(each), **failures(each)}
        for budget, each in sorted(found.items())
    ]


def reference_points(problems: Sequence[Problem], task: Task, recipe: Recipe) -> dict[str, Any]:
    """Returns what the task's known policies reach on problems at each budget, computed and not sampled.

    The mean number of tokens that a policy spends within a budget is the sum of its chances to be still at work after
    0, 1, … tokens, since it stops where it has solved the problem.
    """
    if task.references is None:
        return {}
    budgets = sorted(set(recipe.evaluate.budgets))
    found = [task.references(problem, max(budgets)) for problem in problems]
    curves = {
        name: [fmean(chances) for chances in zip(*(each[name] for each in found), strict=True)] for name in found[0]
    }
    return {
        "budget": judged_budget(recipe.evaluate, recipe.reinforce.budget),
        "curves": {
            name: [
                {
                    "budget": most,
                    "accuracy": chances[most],
                    "thinking_tokens": sum(1 - chance for chance in chances[:most]),
                }
                for most in budgets
            ]
            for name, chances in curves.items()
        },
    }


def opens_thoughts(recipe: Recipe) -> bool:
    """Whether replies begin with an opened thought, so that a model can be made to think, or to answer at once."""
    return recipe.pretrained is None or recipe.thinks


def always_thinks(found: Evaluation) -> bool:
    """Whether no attempt answered at once: to make such a model think changes nothing."""
    replies = (rollout.transcript.reply for group in found.groups for rollout in group)
    return all(split_thought(reply)[0] for reply in replies)


def judged_budget(settings: EvaluateSettings, budget: int | None) -> int:
    """Returns the budget at which gains are measured: the recipe's where it is evaluated, else the largest."""
    return budget if budget in settings.budgets and budget else max(settings.budgets)


def by_problem(found: Evaluation) -> list[float | None]:
    """Returns the share of right attempts of each problem; None where no attempt could be judged."""
    return [fmean(attempts) if attempts else None for attempts in found.corrects]


def gains(rights: Mapping[str, Sequence[float | None]]) -> dict[str, Any]:
    """Returns what reinforcement gained, paired by problem, each with its interval.

    `equal_thinking` compares both models made to think: it is what reinforcement added to the thought itself.
    `over_made_to_think` compares the trained model, free to answer at once, with the warm start made to think, and
    `free` both models free to answer at once, so that it counts learning when to think too. A gain is left out where
    fewer than two problems have judged attempts by both models.

    Args:
        rights: `by_problem` of each model, by its name, at one budget.
    """
    pairs = {
        "equal_thinking": (AFTER + FORCED, BEFORE + FORCED),
        "over_made_to_think": (AFTER, BEFORE + FORCED),
        "free": (AFTER, BEFORE),
    }
    known = {
        name: (rights[after], rights[before])
        for name, (after, before) in pairs.items()
        if after in rights and before in rights
    }
    return {name: asdict(paired_of(*both)) for name, both in known.items() if _judged_by_both(*both) > 1}


def _judged_by_both(after: Sequence[float | None], before: Sequence[float | None]) -> int:
    """Returns how many problems have judged attempts in both lists of `by_problem`."""
    return sum(a is not None and b is not None for a, b in zip(after, before, strict=False))


def paired_of(after: Sequence[float | None], before: Sequence[float | None]) -> Estimate:
    """Returns the gain between two lists of `by_problem`."""
    first, second = ([[] if right is None else [right] for right in rights] for rights in (after, before))
    return paired_gain(first, second)


def vote(sampler: Sampler, task: Task, sampling: Sampling, settings: EvaluateSettings) -> dict[str, Any]:
    """Returns what majority voting and an oracle make of many attempts with short thoughts.

    `thinking_tokens` are those of all attempts together, the price at which they compare with one longer thought.
    """
    most = max(settings.votes)
    how = replace(sampling, think_most=settings.vote_budget)
    found = evaluate(sampler, task, how, problems=settings.vote_problems, attempts=most)

    def line(measure: str) -> list[dict[str, Any]]:
        return [
            {"attempts": k, "thinking_tokens": k * found.thinking, "accuracy": asdict(getattr(found, measure)(k))}
            | _bounds(found, measure, k)
            for k in settings.votes
        ]

    return {
        "majority": line("majority_at"),
        "oracle": line("pass_at"),
        "majority_budget": settings.vote_budget,
    }


def _bounds(found: Evaluation, measure: str, k: int) -> dict[str, Any]:
    if not found.failures:
        return {}
    wrong, right = (getattr(found, measure)(k, failed=failed).mean for failed in (0.0, 1.0))
    problems = len(found.groups)
    return {"failures": {"checks": found.failures, "problems": problems, "as_wrong": wrong, "as_right": right}}
