"""`poziomka evaluate`: measures the accuracy of a run's newest weights, or of any model, on the problems of a task."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from statistics import fmean

from poziomka.app.cli.evaluate.result import Result, drawn
from poziomka.app.cli.evaluate.saving import demand_free, folder_for, save, turns_of
from poziomka.app.cli.evaluate.subject import Subject, subject_of
from poziomka.app.cli.shell.progress import doing
from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem
from poziomka.core.rollout import Group
from poziomka.core.rollouts.collect import Collector, wait_for
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.rollouts.evaluation import Evaluation
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.core.strategy import Strategy
from poziomka.core.transcript import AnswerReader
from poziomka.reports.words import counted
from poziomka.runs.storage.turns import RecordedSampler
from poziomka.thinking.budget import shorter
from poziomka.thinking.majority import last_words
from poziomka.thinking.registry import parts_of, reader_named, reads_gold, reads_logprobs, strategy_of, votes
from poziomka.thinking.study.efforts import SINGLE, other_study, strategy_at
from poziomka.thinking.study.findings import upper_bound

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """Problems of an evaluation, and how each is attempted.

    Attributes:
        problems: problems to answer.
        samples: attempts at each problem.
        sampling: sampling settings, except the budget.
        budgets: thinking budgets in ascending order, tokens; () for an evaluation without a limit of thoughts.
        seed: seed of the evaluation.
        strategy: text that names the strategy of each attempt, as `strategy_of` reads it; None for single replies.
        read: name of the reader of answers for votes; None for the task's own.
        name: prefix of the rollouts' ids, from which their seeds derive.
    """

    problems: Sequence[Problem]
    samples: int
    sampling: SamplingParams
    budgets: Sequence[int]
    name: str
    seed: int = 0
    strategy: str | None = None
    read: str | None = None


def evaluate(given: Namespace) -> tuple[Result, str]:
    """Runs `poziomka evaluate`; returns the result, and a sentence about where it was saved ("" if nowhere).

    Args:
        given: parsed options of the command, checked by `options.demand_consistent`.

    Raises:
        PoziomkaError: the model or the task cannot be used, or the scorer failed on all attempts at a budget.
    """
    with doing(f"loading {given.model}", always=False):
        subject = subject_of(given)
    plan = plan_of(subject, given)
    result = result_of(given, subject, plan)
    folder = given.out if given.out is not None or given.no_save else folder_for(result)
    if folder is not None:
        demand_free(folder, result, subject.task_name)
    with Scoring(subject.task) as judge:
        strategy_for(subject, plan, judge)  # a text that names none is refused before anything is sampled
    bound = f", with at most {counted(plan.budgets[-1], 'thinking token')}" if plan.budgets else ""
    log = None
    if folder is not None and subject.task.environment is not None:
        log = turns_of(folder, result, subject.task_name, subject.weights)
    with log or nullcontext():
        if log is not None:
            subject = replace(subject, recorded=RecordedSampler(subject.sampler, log))
        with doing(f"answering {drawn(len(plan.problems), plan.samples, given.split)}{bound}") as say:
            result = replace(result, found=found_at(subject, plan, say))
        saved = ""
        if folder is not None:
            save(folder, result, subject.task_name)
            saved = f"the rollouts are in {folder}: poziomka show {folder}"
        if log is not None:
            log.delete()
    result.demand_judged()
    return result, saved


def result_of(given: Namespace, subject: Subject, plan: Plan) -> Result:
    """Returns the result of an evaluation without its attempts.

    Args:
        given: parsed options of the command.
        subject: the model and the task.
        plan: the problems and how they are attempted.
    """
    empty = dict.fromkeys(plan.budgets or (None,), Evaluation(()))
    return Result(
        model=given.model,
        run=subject.run,
        policy=subject.sampler.policy,
        endpoint=subject.endpoint,
        task=subject.task.name,
        split=given.split,
        problems=len(plan.problems),
        samples=plan.samples,
        sampling=plan.sampling,
        seed=given.seed,
        votes=given.votes,
        strategy=plan.strategy,
        read=plan.read,
        thinks=subject.thinks,
        found=empty,
        notes=(
            *subject.notes,
            *fewer(subject, given, len(plan.problems)),
            *map(upper_bound, filter(reads_gold, [plan.strategy or SINGLE])),
            *votes_compare(subject, plan),
            *other_study(given.study, given.model, subject.task_name),
        ),
    )


def plan_of(subject: Subject, given: Namespace) -> Plan:
    """Returns the plan of an evaluation: the given options, with the model's defaults for those left out.

    Args:
        subject: the model and the task, with default settings.
        given: parsed options of `poziomka evaluate`.

    Raises:
        SettingsError: an option is out of range, or the model does not think and a budget was given.
        TaskError: the split is empty.
    """
    if given.budget and not subject.thinks:
        message = (
            f"{given.model} does not think, so --budget has nothing to bound: leave it out, or open a thought before "
            "each reply with --think"
        )
        raise SettingsError(message)
    budgets = sorted(set(given.budget or subject.budgets))
    sampling = sampling_of(given, subject.sampling, budgets)
    samples = given.samples or (1 if sampling.temperature == 0 else max(subject.samples, given.votes or 1))
    problems = subject.task.first(given.split, given.problems or subject.problems, stand_ins=True)
    name = f"evaluate/{given.split}" + (f"/{given.seed}" if given.seed else "")
    strategy = given.strategy if given.effort is None else strategy_at(given.effort, given.study)
    return Plan(problems, samples, sampling, budgets, name, given.seed, strategy, given.read)


def fewer(subject: Subject, given: Namespace, there: int) -> tuple[str, ...]:
    """Returns a note if the split has fewer problems than --problems or a run's recipe asks for; else ().

    Args:
        subject: the model and the task.
        given: parsed options of `poziomka evaluate`.
        there: number of problems of the evaluation.
    """
    wanted = given.problems or (0 if subject.run is None else subject.problems)
    if there >= wanted:
        return ()
    return (f"split {given.split!r} of task {subject.task.name!r} has {there} of the {wanted} problems asked for",)


def sampling_of(given: Namespace, own: SamplingParams, budgets: Sequence[int]) -> SamplingParams:
    """Returns the sampling settings of an evaluation, without a thinking budget if `budgets` has any.

    With budgets, the limit of tokens leaves room for an answer after the largest one.

    Args:
        given: parsed options of `poziomka evaluate`.
        own: default settings, for options that are not given.
        budgets: thinking budgets in tokens; () for an evaluation without a limit of thoughts.

    Raises:
        SettingsError: a setting is out of range.
    """
    tokens, most = own.max_tokens, own.max_thinking_tokens
    if budgets:
        answer = max(1, own.max_tokens - (own.max_thinking_tokens or 0))  # tokens of an answer after a full thought
        tokens, most = max(own.max_tokens, answer + max(budgets)), None
    elif given.think is False and given.endpoint is None:  # an endpoint is asked for no thought
        most = 0
    options = {name: getattr(given, name) for name in ("top_p", "top_k", "min_p")}
    options |= {"temperature": 0.0 if given.greedy else given.temperature, "max_tokens": given.max_tokens}
    replaced = {name: value for name, value in options.items() if value is not None}
    return replace(own, **({"max_tokens": tokens, "max_thinking_tokens": most} | replaced))


def found_at(subject: Subject, plan: Plan, say: Say) -> dict[int | None, Evaluation]:
    """Samples and scores the attempts of a plan; returns the evaluations by thinking budget in tokens.

    Without budgets, the only key is None. Replies at smaller budgets continue from those at the largest one; see
    `thinking.budget.fork`. A thought with replies of an environment, or without token ids, cannot be cut, and a
    strategy decides by what it reads: tasks with tools, endpoints and strategies are sampled anew at each budget.

    Args:
        subject: the model and the task.
        plan: the problems and how they are attempted.
        say: function that shows a progress message.
    """
    with Scoring(subject.task) as judge:
        if not plan.budgets:
            return {None: Evaluation(collected(subject, plan, judge, say))}
        cuts = subject.task.environment is None and subject.sampler.capabilities.token_ids
        if not cuts or plan.strategy is not None:
            return {
                budget: Evaluation(collected(subject, _within(plan, budget), judge, say)) for budget in plan.budgets
            }
        most = _within(plan, plan.budgets[-1])
        longest = collected(subject, most, judge, say)
        found: dict[int | None, Evaluation] = {}
        for budget in plan.budgets[:-1]:
            say(f"thoughts cut at {counted(budget, 'token')}")
            found[budget] = Evaluation(shorter(subject.sampler, judge, longest, most.sampling, budget))
        return found | {plan.budgets[-1]: Evaluation(longest)}


def strategy_for(subject: Subject, plan: Plan, judge: Scoring) -> Strategy:
    """Returns the strategy of a plan; votes compare what the reader of the plan, or else the task's, finds.

    Raises:
        SettingsError: the strategy or the reader is unknown, or the strategy reads log-probabilities that the sampler
            does not return.
    """
    if plan.strategy is None:
        return SINGLE_REPLY
    if not subject.sampler.capabilities.logprobs and reads_logprobs(plan.strategy):
        message = (
            f"strategy {plan.strategy!r} reads log-probabilities, which the endpoint of {subject.name} does not "
            "return: choose another judge or strategy"
        )
        raise SettingsError(message)
    return strategy_of(plan.strategy, parts_of(subject.sampler, judge), reader_of(subject, plan))


def reader_of(subject: Subject, plan: Plan) -> AnswerReader:
    """Returns the reader of answers for votes: that of the plan, or else the task's, or else the whole answer.

    Raises:
        SettingsError: the reader is unknown.
    """
    if plan.read is not None:
        return reader_named(plan.read)
    return subject.task.reader or last_words


def votes_compare(subject: Subject, plan: Plan) -> tuple[str, ...]:
    """Returns a sentence about the reader of answers with which a plan's strategy votes; () if it does not vote.

    Raises:
        SettingsError: the strategy is unknown.
    """
    if plan.strategy is None or not votes(plan.strategy):
        return ()
    if plan.read is not None:
        return (f"votes compare the answers that {plan.read!r} reads in the replies",)
    if subject.task.reader is not None:
        return (f"votes compare the answers that task {subject.task.name!r} reads in the replies",)
    return (f"votes compare whole answers, because task {subject.task.name!r} has no reader: --read names one",)


def _within(plan: Plan, budget: int) -> Plan:
    return replace(plan, sampling=replace(plan.sampling, max_thinking_tokens=budget))


def collected(subject: Subject, plan: Plan, judge: Scoring, say: Say) -> list[Group]:
    """Returns the judged attempts at each problem; reports the accuracy of those that are finished.

    Args:
        subject: the model and the task.
        plan: the problems and how they are attempted; its budgets are ignored.
        judge: workers of the task's scorer.
        say: function that shows a progress message.

    Raises:
        SettingsError: the strategy or the reader is unknown.
    """
    collector = Collector(subject.recorded or subject.sampler, judge, strategy_for(subject, plan, judge))
    found: dict[int, Group] = {}
    rights: list[float] = []

    async def gathered() -> None:
        async for number, group in collector.groups(plan.problems, plan.sampling, plan.samples, plan.name):
            found[number] = group
            judged = [float(rollout.score.correct) for rollout in group if rollout.score.reward is not None]
            rights.extend([fmean(judged)] if judged else [])
            accuracy = f", accuracy {fmean(rights):.2f}" if rights else ""
            say(f"{len(found)} of {counted(len(plan.problems), 'problem')}{accuracy}")

    wait_for(gathered())
    return [found[number] for number in range(len(plan.problems))]
