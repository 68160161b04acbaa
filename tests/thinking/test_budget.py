"""A budget bounds a thought, and one long thought tells what every shorter budget would have given."""

import asyncio
from dataclasses import replace

import pytest

from poziomka.core.errors import SettingsError
from poziomka.core.rollouts.evaluation import evaluate
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.core.seeds import random_of
from poziomka.core.transcript import Author, Message, Span, Stop, Transcript
from poziomka.environments.tools.calculator import Calculator
from poziomka.testing import ScriptedSampler
from poziomka.thinking.budget import Budget, RandomBudget, at_budgets, fork
from poziomka.thinking.thinker import Thinker

QUESTION = Transcript.of([Message("user", " 1 2")])
BUDGETS = (0, 1, 2, 3, 5, 8, 13)
LIMIT = 30  # tokens of a reply


def extend(sampler, sampling):
    return asyncio.run(sampler.extend(QUESTION, sampling))


def pieces(transcript):
    """What was written and by whom, and why it ended, as far as that is more than a limit."""
    return [(span.author, span.tokens, None if span.stop is Stop.LENGTH else span.stop) for span in transcript]


# ---------------------------------------------------------------------------------------------------------- Budget
def test_a_budget_bounds_the_thoughts_of_any_sampler():
    scripted = ScriptedSampler(["<think> one two three four </think> 7"])
    reply = asyncio.run(Thinker(scripted, Budget(most=2)).extend(QUESTION, SamplingParams()))
    assert any(span.author is Author.FORCED for span in reply)
    reply = asyncio.run(Thinker(scripted, Budget(most=9)).extend(QUESTION, SamplingParams()))
    assert not any(span.author is Author.FORCED for span in reply)


def test_a_budget_holds_a_thought_open(sampler):
    for seed in range(10):
        reply = asyncio.run(
            Thinker(sampler, Budget(most=7, least=7)).extend(QUESTION, SamplingParams(max_tokens=LIMIT, seed=seed))
        )
        thought = next(span for span in reply if span.author is Author.MODEL)
        assert len(thought) == 7


def test_a_budget_overrides_the_requests_own(sampler):
    sampling = SamplingParams(max_tokens=LIMIT, min_thinking_tokens=1, max_thinking_tokens=9)
    assert pieces(asyncio.run(Thinker(sampler, Budget(most=0)).extend(QUESTION, sampling))) == pieces(
        extend(sampler, replace(sampling, min_thinking_tokens=0, max_thinking_tokens=0))
    )


# ------------------------------------------------------------------------------------------------------------ fork
async def forks_and_directs(sampler, samplings, budget):
    """What forks of long replies give, and what the same requests give with the smaller budget from the start."""
    longs = await sampler.branch(QUESTION, samplings)
    forks = [fork(sampler, long, sampling, budget) for long, sampling in zip(longs, samplings, strict=True)]
    directs = [replace(sampling, max_thinking_tokens=budget) for sampling in samplings]
    return await asyncio.gather(*forks), await sampler.branch(QUESTION, directs)


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_fork_is_the_reply_sampled_with_the_smaller_budget(sampler, budget):
    samplings = [SamplingParams(max_tokens=LIMIT, seed=seed, max_thinking_tokens=20) for seed in range(60)]
    forks, directs = asyncio.run(forks_and_directs(sampler, samplings, budget))
    for forked, direct in zip(forks, directs, strict=True):
        assert pieces(forked) == pieces(direct)


def test_a_fork_keeps_to_the_limit_of_tokens(sampler):
    """Limits below, at and above the budget: the fork ends where the direct reply ends."""
    samplings = [
        SamplingParams(max_tokens=n, seed=seed, max_thinking_tokens=20) for n in (1, 4, 5, 6, 7) for seed in range(12)
    ]
    forks, directs = asyncio.run(forks_and_directs(sampler, samplings, 5))
    for forked, direct in zip(forks, directs, strict=True):
        assert pieces(forked) == pieces(direct)


def test_a_fork_of_a_fork_is_a_fork(sampler):
    sampling = SamplingParams(max_tokens=LIMIT, seed=1, min_thinking_tokens=20, max_thinking_tokens=20)
    long = extend(sampler, sampling)
    sampling = replace(sampling, min_thinking_tokens=0)

    async def forks():
        middle = await fork(sampler, long, sampling, 8)
        return await fork(sampler, middle, sampling, 3), await fork(sampler, long, sampling, 3)

    twice, once = asyncio.run(forks())
    assert pieces(twice) == pieces(once)


def test_a_thought_within_the_budget_is_returned_as_it_is(sampler):
    sampling = SamplingParams(max_tokens=LIMIT, seed=1, max_thinking_tokens=6)
    long = extend(sampler, sampling)
    assert asyncio.run(fork(sampler, long, sampling, 6)) is long


def test_where_the_model_wrote_nothing_there_is_nothing_to_fork(sampler):
    silent = QUESTION + Span(Author.FORCED, " </think>")
    assert asyncio.run(fork(sampler, silent, SamplingParams(), 0)) is silent


# ------------------------------------------------------------------------------------------------------ at_budgets
def outcomes(evaluation):
    return [
        [(rollout.id, pieces(rollout.transcript), rollout.score) for rollout in group] for group in evaluation.groups
    ]


def test_every_budget_is_evaluated_as_if_by_itself(sampler, task):
    sampling = SamplingParams(max_tokens=LIMIT)
    found = at_budgets(sampler, task, sampling, BUDGETS, problems=10, attempts=3)
    assert sorted(found) == sorted(BUDGETS)
    for budget in BUDGETS:
        direct = evaluate(sampler, task, replace(sampling, max_thinking_tokens=budget), problems=10, attempts=3)
        assert outcomes(found[budget]) == outcomes(direct)


def test_thinking_once_costs_less_than_thinking_at_every_budget(sampler, task):
    sampling = SamplingParams(max_tokens=LIMIT)
    at_budgets(sampler, task, sampling, BUDGETS, problems=10)
    once = sampler.engine.counters.written
    for budget in BUDGETS:
        evaluate(sampler, task, replace(sampling, max_thinking_tokens=budget), problems=10)
    assert once < 0.9 * (sampler.engine.counters.written - once)


def test_a_budget_named_twice_is_evaluated_once(sampler, task):
    assert list(at_budgets(sampler, task, SamplingParams(max_tokens=LIMIT), (3, 3, 1), problems=2)) == [1, 3]


def test_a_finite_task_gives_no_problem_twice(sampler, task):
    found = at_budgets(sampler, task, SamplingParams(max_tokens=LIMIT), (2,), problems=1000)
    assert len(found[2].groups) == 25


def test_the_scoring_at_hand_is_used_and_left_open(sampler, task):
    with Scoring(task) as scoring:
        found = at_budgets(sampler, task, SamplingParams(max_tokens=LIMIT), (0, 4), problems=2, scoring=scoring)
        again = at_budgets(sampler, task, SamplingParams(max_tokens=LIMIT), (0, 4), problems=2, scoring=scoring)
    assert outcomes(found[0]) == outcomes(again[0])


@pytest.mark.parametrize("budgets", [(), (-1, 4)])
def test_budgets_must_be_given_and_not_negative(sampler, task, budgets):
    with pytest.raises(SettingsError, match="budgets are thinking tokens, 0 or more"):
        at_budgets(sampler, task, SamplingParams(), budgets)


def test_a_task_that_talks_inside_the_thought_is_refused(sampler, task):
    talking = replace(task, environment=lambda problem: Calculator())
    with pytest.raises(SettingsError, match="talks to an environment while it thinks"):
        at_budgets(sampler, talking, SamplingParams(), (1, 2))


# --------------------------------------------------------------------------------------------------- a random budget
def test_a_random_budget_is_drawn_by_the_seed_of_the_request(sampler):
    strategy, drawn = RandomBudget((1, 4, 9)), []
    for seed in range(12):
        params = SamplingParams(max_tokens=LIMIT, seed=seed)
        drawn.append(random_of(seed, "random_budget").choice((1, 4, 9)))
        found, bounded = (
            asyncio.run(each.attempt(sampler, QUESTION, params)).branches[0].transcript
            for each in (strategy, Budget(drawn[-1]))
        )
        assert pieces(found) == pieces(bounded)
    assert set(drawn) == {1, 4, 9}


@pytest.mark.parametrize("budgets", [(), (4, -1)])
def test_a_random_budget_needs_budgets(budgets):
    with pytest.raises(SettingsError):
        RandomBudget(budgets)
