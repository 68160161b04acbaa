"""Every strategy runs over an OpenAI-compatible endpoint, whose replies have no token ids and no log-probabilities."""

import asyncio

import pytest

import poziomka as pz
from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task
from poziomka.core.transcript import Message, Transcript
from poziomka.inference.endpoint.connection import Limits
from poziomka.inference.remote import RemoteSampler
from poziomka.testing import ScriptedSampler
from poziomka.testing.endpoint import Fault, endpoint
from poziomka.thinking import parts_of, strategy_of
from poziomka.thinking.registry import STRATEGIES
from poziomka.thinking.search.base import Search

TASK = Task("digits", None, pz.exact(pz.number), trusted=True)
PROBLEM = Problem.ask("digits", "k", "Which digit?", "1")
QUESTION = Transcript.of([Message("user", "Which digit?")])
PARAMS = SamplingParams(max_tokens=40, seed=3)
# "logprobs" and "certainty" need token ids; an endpoint has texts, so judges of it are exact or learned
TEXTS = {"agreement": "agreement:4-4-2", "single": "single", "weighted": "weighted:4,judge=exact"}
TEXTS |= {"best_of": "best_of:4,judge=exact", "deepconf": "deepconf:4,judge=exact"}
TEXTS |= {name: f"{name}:4,judge=exact,steps=line" for name, row in STRATEGIES.items() if issubclass(row.make, Search)}
TEXTS["mcts"] += ",prior=uniform"  # the other prior is the log-probability of a step


def digit(transcript, params):
    """A reply of two steps; a beginning that was written already is continued."""
    full = f"first\nsecond\n{params.seed % 3}"
    return full[len(transcript.reply) :] if full.startswith(transcript.reply) else str(params.seed % 3)


def attempt(text, *faults):
    with endpoint(ScriptedSampler(digit), thoughts=None) as served, Scoring(TASK) as scoring:
        sampler = RemoteSampler(served.url, served.model, limits=Limits(tries=1))
        strategy = strategy_of(text, parts_of(sampler, scoring))
        served.faults.extend(faults)
        found = asyncio.run(strategy.attempt(sampler, QUESTION, PARAMS, problem=PROBLEM))
        return found, len(served.requests)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "deepconf_online"])
def test_a_strategy_runs_over_an_endpoint(name):
    found, requests = attempt(TEXTS.get(name, f"{name}:4"))
    assert found.failure is None
    assert requests >= 1
    assert found.cost.sampled > 0
    assert found.branches[found.answer].transcript.answer


@pytest.mark.parametrize("text", ["majority:4", "best_of:4,judge=exact", "adaptive:4", "beam:4,judge=exact,steps=line"])
def test_a_reply_that_breaks_off_is_a_failed_branch_and_the_others_go_on(text):
    found, _ = attempt(text, Fault(200, b'{"choices": ['))
    assert found.failure is None
    failed = [branch for branch in found.branches if branch.score is not None and branch.score.reward is None]
    assert len(failed) == 1
    assert found.branches[found.answer] not in failed


def test_a_judge_of_log_probabilities_is_refused_in_a_sentence():
    for text in ("best_of:2,judge=logprobs", "deepconf_online:4,warmup=2"):
        with pytest.raises(SettingsError, match="log-probabilities"):
            attempt(text)
