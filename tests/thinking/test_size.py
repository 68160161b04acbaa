"""The largest number of branches of an attempt is known from the strategy, those inside others included."""

import asyncio

import pytest

import poziomka as pz
from poziomka.testing import ScriptedSampler
from poziomka.thinking.registry import STRATEGIES, strategy_of
from poziomka.thinking.search import Search
from poziomka.thinking.size import most_branches

WITHOUT_SEARCH = [name for name, row in STRATEGIES.items() if name != "oracle" and not issubclass(row.make, Search)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("single", 1),
        ("budget:512", 1),
        ("random_budget:4-8/majority:8", 8),
        ("best_of:4/revise:2", 12),
        ("agreement:2-5-3", 5),
        ("adaptive:16", 16),
        ("rsa:8,rounds=2", 24),
        ("mcts:16", 16),
    ],
)
def test_branches_of_strategies_multiply(text, count):
    assert most_branches(strategy_of(text)) == count


@pytest.mark.parametrize("name", WITHOUT_SEARCH)
def test_an_attempt_without_a_search_has_no_more_branches(name):
    value = {"single": "", "agreement": ":4-4-2", "deepconf_online": ":20"}.get(name, ":4")
    replies = ScriptedSampler(lambda transcript, params: f"{params.seed % 3}")
    prompt = pz.Transcript.of([pz.Message("user", " What?")])
    strategy = strategy_of(name + value)
    found = asyncio.run(strategy.attempt(replies, prompt, pz.SamplingParams(seed=1)))
    assert len(found.branches) <= most_branches(strategy)
