"""On the engine, a tree of many leaves costs its distinct tokens: the engine's counters are those of the attempt."""

import asyncio
from dataclasses import replace

import pytest

from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Message, Transcript
from poziomka.inference.engine import EngineLimits
from poziomka.inference.local import LocalSampler
from poziomka.inference.spans import thought_in
from poziomka.thinking.budget import Budget
from poziomka.thinking.search import DVTS, MCTS, Beam, ParticleFilter, Rebase, Steps, ValueGuided

QUESTION = Transcript.of([Message("user", " 1 2 3 4 5 6 7 8")])
SAMPLING = SamplingParams(max_tokens=20, min_thinking_tokens=8, max_thinking_tokens=14)
PROMPT = 10  # tokens: a mark of the beginning, eight symbols and "<think>"
STOPS = Steps(stops=("3", "5", "7"))
SEARCHES = {
    "beam": lambda **more: Beam(candidates=8, width=4, **more),
    "dvts": lambda **more: DVTS(candidates=8, width=4, **more),
    "rebase": lambda **more: Rebase(budget=8, **more),
    "particles": lambda **more: ParticleFilter(particles=8, **more),
    "mcts": lambda **more: MCTS(simulations=16, width=4, **more),
    "guided": lambda **more: ValueGuided(width=8, **more),
}
every_search = pytest.mark.parametrize("make", SEARCHES.values(), ids=SEARCHES)


def worth(text):
    """A value that differs from text to text."""
    return (sum(map(ord, text)) * 37 % 101) / 101


def attempt(search, sampler, **changes):
    return asyncio.run(search.attempt(sampler, QUESTION, replace(SAMPLING, **changes)))


def fresh(sampler, **limits):
    return LocalSampler(sampler.engine.model, sampler.chat, limits=EngineLimits(**limits))


@every_search
def test_a_tree_costs_its_distinct_tokens(make, sampler, judge):
    """Without a forced "</think>", which siblings share, but the engine inserts into each."""
    found = attempt(make(judge=judge(worth), steps=STOPS), sampler, max_thinking_tokens=None)
    counters = sampler.engine.counters
    assert counters.written == found.spent.sampled == distinct(found) - PROMPT
    # The last token of a prompt is read by the step that writes the next token.
    assert counters.read == found.spent.read - 1 == PROMPT - 1
    assert counters.read + counters.written < 0.7 * sum(len(branch.transcript) for branch in found.branches)


def distinct(attempt):
    """Tokens of the tree: those of the first branch, and of the others after their forks."""
    return sum(len(branch.transcript) - branch.fork_at for branch in attempt.branches)


def test_steps_of_a_number_of_tokens_are_cached_if_the_engine_keeps_all_replies(sampler, judge):
    search = Beam(judge=judge(worth), steps=Steps(stops=(), tokens=4), candidates=8, width=4)
    kept, forgetful = fresh(sampler, park_all=True), fresh(sampler)
    found = attempt(search, kept)
    again = attempt(search, forgetful)
    assert [branch.transcript.tokens for branch in found.branches] == [
        branch.transcript.tokens for branch in again.branches
    ]
    assert kept.engine.counters.read == 9
    assert forgetful.engine.counters.read > kept.engine.counters.read


@every_search
def test_a_search_over_an_engine_repeats_by_its_seed(make, sampler, judge):
    search = make(judge=judge(worth), steps=STOPS)
    found = [attempt(search, sampler, seed=1) for _ in range(2)]
    tokens = [[branch.transcript.tokens for branch in each.branches] for each in found]
    assert tokens[0] == tokens[1]


@every_search
def test_every_reply_keeps_the_limits_of_the_request(make, sampler, judge):
    found = attempt(Budget(most=6, least=6, inner=make(judge=judge(worth), steps=STOPS)), sampler)
    complete = [branch for branch in found.branches if branch.score is None]
    assert complete
    for branch in complete:
        thought, _ = thought_in(branch.transcript, sampler.chat.tokenizer)
        assert (thought, branch.transcript.cost <= 20) == (6, True)
