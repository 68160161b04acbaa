"""Measurements for reports, as JSON values: accuracy at thinking budgets, majority votes, oracles and paired gains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from poziomka.app.settings.recipe import EvaluateSettings, Recipe
from poziomka.core.errors import RunError, TaskError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.evaluation import Estimate, Evaluation, evaluate, paired_gain
from poziomka.core.safety.failures import failures_of
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.task import Task
from poziomka.core.transcript import split_thought
from poziomka.learning.loops.stage import RequireSettings
from poziomka.learning.session import TrainingSession
from poziomka.reports.reading import AFTER, BEFORE, FORCED
from poziomka.runs import Run
from poziomka.thinking.budget import at_budgets

Found = Mapping[int, Evaluation]  # evaluations by thinking budget, tokens


def held_out(found: Evaluation) -> dict[str, Any]:
    """Returns an evaluation as JSON values: accuracy with its interval, mean tokens of an attempt, failed checks."""
    return asdict(found.accuracy) | cost(found) | failures(found)


def cost(found: Evaluation) -> dict[str, float]:
    """Returns the mean tokens of an attempt: those of its thought, and all that the model wrote."""
    return {"thinking_tokens": found.thinking, "tokens": found.tokens}


def failures(found: Evaluation) -> dict[str, Any]:
    """Returns the number of attempts whose check failed, with bounds of the accuracy; {} if none failed.

    A check fails if the scorer raises or exceeds its time limit. The bounds count all of these attempts as wrong
    (`as_wrong`) or all as right (`as_right`).
    """
    if not found.failures:
        return {}
    wrong, right = found.bounds
    return {"failures": {"checks": found.failures, "problems": found.problems, "as_wrong": wrong, "as_right": right}}


@dataclass(frozen=True)
class Measured:
    """Results of one model on the test split.

    Attributes:
        curves: accuracy by thinking budget, in the format of results/frontier.json, by name: the model's name, and
            that name with ", made to think" appended for the model made to think.
        found: the evaluations of the curves, by the same names and by thinking budget in tokens.
    """

    curves: Mapping[str, dict[str, Any]]
    found: Mapping[str, Found]

    @property
    def longest(self) -> Evaluation:
        """The evaluation at the largest budget, in which the model is free to answer without a thought."""
        free = next(iter(self.found.values()))
        return free[max(free)]


def measured(
    name: str, sampler: Sampler, task: Task, recipe: Recipe, sampling: Callable[[int, int | None], SamplingParams]
) -> Measured:
    """Evaluates a model on the test split in three modes: free to think or not, made to think, made to answer at once.

    If every attempt thinks by itself, making the model think changes nothing, and the free curve is used for both.

    Args:
        name: name of the model in the results.
        sampler: sampler with the model's weights.
        task: the task whose test split is used.
        recipe: recipe with budgets and numbers of attempts.
        sampling: function of the least and most thinking tokens of a reply that returns its sampling settings;
            None for most is no limit.
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
    """Writes a model's measurements to a run's results, with the gains in accuracy between the models measured so far.

    Args:
        model: the measurements.
        run: the run.
        task: task of the run; the results of its reference policies are recorded too, if it has any.
        recipe: recipe of the run.
    """
    budget = judged_budget(recipe.evaluate, recipe.sampling.max_thinking_tokens)
    rights = run.results_table("by_problem", "rights")
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
    known = run.results_table("frontier", "curves")
    drawn = {"task": task.name, "problems": len(model.longest.groups), "attempts": recipe.evaluate.attempts}
    run.record("frontier", {**drawn, "curves": {**known, **model.curves}})


def at_each_budget(
    sampler: Sampler, task: Task, sampling: SamplingParams, settings: EvaluateSettings
) -> dict[int, Evaluation]:
    """Returns evaluations of the test split by thinking budget, in tokens.

    Budgets of the settings below `sampling.min_thinking_tokens` are left out. A thought with replies of an environment
    cannot be truncated afterwards, so tasks with tools are sampled anew for each budget.
    """
    count, attempts = settings.problems, settings.attempts
    budgets = sorted({budget for budget in settings.budgets if budget >= sampling.min_thinking_tokens})
    if not budgets:
        return {}
    if task.environment is None:
        return at_budgets(sampler, task, sampling, budgets, problems=count, attempts=attempts)
    return {
        budget: evaluate(
            sampler, task, replace(sampling, max_thinking_tokens=budget), problems=count, attempts=attempts
        )
        for budget in budgets
    }


def points(found: Found) -> list[dict[str, Any]]:
    """Returns evaluations as JSON values in ascending order of budget: accuracy, tokens, failed checks."""
    return [
        {"budget": budget, "accuracy": asdict(each.accuracy), **cost(each), **failures(each)}
        for budget, each in sorted(found.items())
    ]


def reference_points(problems: Sequence[Problem], task: Task, recipe: Recipe) -> dict[str, Any]:
    """Returns the exact accuracy of the task's reference policies at each budget, computed without sampling.

    The mean number of tokens that a policy spends within a budget is the sum of its probabilities of being unfinished
    after 0, 1, … tokens, since it stops when it has solved the problem.

    Args:
        problems: the problems to average over.
        task: a task with reference policies; {} is returned for one without.
        recipe: recipe with the budgets.
    """
    if task.references is None:
        return {}
    budgets = sorted(set(recipe.evaluate.budgets))
    found = [task.references(problem, max(budgets)) for problem in problems]
    curves = {
        name: [fmean(chances) for chances in zip(*(each[name] for each in found), strict=True)] for name in found[0]
    }
    return {
        "budget": judged_budget(recipe.evaluate, recipe.sampling.max_thinking_tokens),
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
    """Whether replies begin with an open thought, so that sampling can make the model think or answer at once."""
    return recipe.model.load is None or recipe.model.thinks


def always_thinks(found: Evaluation) -> bool:
    """Whether every attempt has a thought, so that making the model think changes nothing."""
    replies = (rollout.transcript.reply for group in found.groups for rollout in group)
    return all(split_thought(reply)[0] for reply in replies)


def judged_budget(settings: EvaluateSettings, budget: int | None) -> int:
    """Returns the thinking budget in tokens at which gains are measured: `budget` if evaluated, else the largest.

    Args:
        settings: settings with the evaluated budgets.
        budget: thinking budget of the recipe's sampling; None or 0 gives the largest evaluated budget.
    """
    return budget if budget in settings.budgets and budget else max(settings.budgets)


def by_problem(found: Evaluation) -> list[float | None]:
    """Returns the share of correct attempts of each problem; None for a problem without judged attempts."""
    return [fmean(attempts) if attempts else None for attempts in found.corrects]


def gains(rights: Mapping[str, Sequence[float | None]]) -> dict[str, Any]:
    """Returns the gains in accuracy from reinforcement, paired by problem, each with its interval.

    `equal_thinking` compares both models made to think: the gain in the quality of thoughts. `over_made_to_think`
    compares the trained model, free to answer without a thought, with the warm start made to think. `free` compares
    both models free to answer without a thought, and so includes learning when to think. A gain is left out if fewer
    than two problems have judged attempts by both models.

    Args:
        rights: by the model's name, the share of correct attempts of each problem at one budget, as from `by_problem`.
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
    """Returns the number of problems with judged attempts of both models, from their lists of `by_problem`."""
    return sum(a is not None and b is not None for a, b in zip(after, before, strict=False))


def paired_of(after: Sequence[float | None], before: Sequence[float | None]) -> Estimate:
    """Returns the mean gain in accuracy from `before` to `after`, paired by problem, with its interval.

    Args:
        after: share of correct attempts of each problem, as `by_problem` returns; None where none was judged.
        before: the same of the other model, for the same problems.
    """
    first, second = ([[] if right is None else [right] for right in rights] for rights in (after, before))
    return paired_gain(first, second)


def vote(sampler: Sampler, task: Task, sampling: SamplingParams, settings: EvaluateSettings) -> dict[str, Any]:
    """Returns, as JSON values, the accuracy of majority votes and of an oracle over attempts with short thoughts.

    The oracle is right if at least one attempt is. `thinking_tokens` is the sum over the attempts, for comparison with
    one longer thought of the same cost.

    Args:
        sampler: sampler with the model's weights.
        task: the task whose test split is used.
        sampling: sampling settings; `vote_budget` of the settings replaces the thinking budget.
        settings: numbers of problems and attempts, and the budget of an attempt.
    """
    most = max(settings.votes)
    how = replace(sampling, max_thinking_tokens=settings.vote_budget)
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


def ends(accuracy: Estimate) -> tuple[tuple[str, float], ...]:
    """Returns an estimate as (suffix of a metric's name, value): "" is the mean, "_low" and "_high" its interval."""
    return ("", accuracy.mean), ("_low", accuracy.low), ("_high", accuracy.high)


def failed_checks(found: Evaluation) -> dict[str, float]:
    """Returns the number of attempts whose check failed, and bounds of the accuracy, as metrics; {} if none failed."""
    if not found.failures:
        return {}
    wrong, right = found.bounds
    return {
        "evaluate/failed_checks": float(found.failures),
        "evaluate/accuracy_as_wrong": wrong,
        "evaluate/accuracy_as_right": right,
    }


def gate_of(
    stage: str, wanted: RequireSettings, direct: Evaluation, thinking: Evaluation, *, thinks: bool
) -> dict[str, Any]:
    """Returns the content of results/gate.json: whether a model fulfils the `require` settings of a stage.

    Args:
        stage: name of the stage.
        wanted: the stage's `require` settings.
        direct: evaluation of the model made to answer without a thought.
        thinking: evaluation of the model made to think.
        thinks: whether replies of the stage may contain thoughts; if False, no gain from thinking is required.
    """
    gain = thinking.accuracy.mean - direct.accuracy.mean
    gains = not thinks or wanted.thinking_gain is None or gain >= wanted.thinking_gain
    solves = wanted.accuracy is None or thinking.accuracy.mean >= wanted.accuracy
    return {
        "stage": stage,
        "direct": held_out(direct),
        "thinking": held_out(thinking),
        "margin": wanted.thinking_gain,
        "gain": gain,
        "accuracy": wanted.accuracy,
        "passed": gains and solves,
    }


def refusal(stage: str, wanted: RequireSettings, gate: Mapping[str, Any]) -> str:
    """Returns the error message for a model that does not fulfil the `require` settings of a stage.

    Args:
        stage: name of the stage.
        wanted: the stage's `require` settings.
        gate: content of results/gate.json, as `gate_of` returns it.

    Raises:
        RunError: a number is missing from `gate`.
    """
    conditions = {"thinking_gain": wanted.thinking_gain, "accuracy": wanted.accuracy}
    asks = [f"{name} = {value:.2f}" for name, value in conditions.items() if value is not None]
    try:
        return (
            f"the stage {stage!r} requires {' and '.join(asks)}, and the model gains {gate['gain']:+.2f} of accuracy "
            f"from thinking ({gate['direct']['mean']:.2f} answering at once, {gate['thinking']['mean']:.2f} thinking): "
            f"train it longer before the stage, or lower {stage}.require"
        )
    except (KeyError, TypeError, ValueError) as error:
        message = f"the gate of stage {stage!r} in the run's results is damaged: remove it, and it is measured again"
        raise RunError(message) from error


# phase of a run → the names of its totals of FLOPs and of tokens, and its clocks by kind of stage
PHASES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], Mapping[str, Sequence[str]]]] = {
    "warm start": (("finetune_flops",), ("finetune_tokens",), {"sft": ("data", "learning")}),
    "sampling": (("sampling_flops",), ("sampled_tokens",), {"rl": ("sampling",), "distill": ("sampling",)}),
    "learning": (
        ("training_flops", "learn_flops"),
        ("trained_tokens", "learn_tokens"),
        {
            "rl": ("packing", "learning", "monitoring"),
            "distill": ("packing", "learning"),
            "offline": ("checking", "learning"),
        },
    ),
    "evaluation": (("evaluation_flops",), (), {}),
}


def costs(progress: TrainingSession, recipe: Recipe, parameters: int) -> dict[str, Any]:
    """Returns the FLOPs, tokens and seconds of a run's phases: warm start, sampling, learning, evaluation.

    Args:
        progress: running totals and clocks of the run.
        recipe: recipe with the stages and threads.
        parameters: number of the model's weights.
    """
    spent = {name.removeprefix("compute/"): amount for name, amount in progress.spent.items()}
    clocks = {phase: _clocks(recipe, kinds) for phase, (_, _, kinds) in PHASES.items()}
    clocks["evaluation"] = ["evaluate: evaluating", "evaluating"]
    return {
        "flops": {phase: sum(spent.get(name, 0.0) for name in names) for phase, (names, _, _) in PHASES.items()},
        "tokens": {
            phase: sum(spent.get(name, 0.0) for name in names) for phase, (_, names, _) in PHASES.items() if names
        },
        "seconds": {phase: sum(progress.seconds.get(name, 0.0) for name in names) for phase, names in clocks.items()},
        "parameters": parameters,
        "threads": recipe.threads,
    }


def _clocks(recipe: Recipe, kinds: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{stage.name}: {clock}" for stage in recipe.stage for clock in kinds.get(stage.kind, ())]
