"""Votes are added where they help, and problems on which nothing helps are given up."""

import asyncio
from statistics import fmean

import pytest

from poziomka.core.errors import SettingsError
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Message, Transcript
from poziomka.testing.fakes import ScriptedSampler
from poziomka.thinking.agreement import AgreementVotes
from poziomka.thinking.majority import Majority
from poziomka.thinking.study.fitting import fit
from poziomka.thinking.study.frontier import Replies

PROMPT = Transcript.of([Message("user", "Which number?")])


def attempt(strategy, replies, seed=0):
    sampler = ScriptedSampler(replies)
    made = asyncio.run(strategy.attempt(sampler, PROMPT, SamplingParams(seed=seed)))
    return made, len(sampler.requests)


@pytest.mark.parametrize(
    ("replies", "votes", "answer"),
    [
        (["7", "7", "8", "8", "8", "8"], 2, "7"),  # two agree: settled
        (["7", "8", "8", "9", "8", "9"], 5, "8"),  # none agree: five votes
        (["</think>", "</think>", "8", "8", "8", "8"], 3, "8"),  # no answer: one more try
    ],
)
def test_the_number_of_votes_follows_the_agreement_of_the_first(replies, votes, answer):
    made, requests = attempt(AgreementVotes((3, 5, 2)), replies)
    assert requests == len(made.branches) == votes
    assert made.branches[made.answer].transcript.answer == answer


def test_its_votes_are_those_of_a_majority():
    replies = ["7", "8", "8", "9", "8", "9"]
    ours, _ = attempt(AgreementVotes((5, 5, 2)), replies)
    theirs, _ = attempt(Majority(5), replies)
    assert [each.transcript for each in ours.branches] == [each.transcript for each in theirs.branches]
    assert ours.cost.sampled == theirs.cost.sampled == 10
    assert (ours.cost.latency, theirs.cost.latency) == (4, 2)  # two rounds


def test_votes_below_one_is_refused():
    for votes in ((), (1,), (2, 0, 2)):
        with pytest.raises(SettingsError):
            AgreementVotes(votes)


def test_votes_are_fitted_to_where_they_help(groups):
    """Agreeing replies are right; disagreeing ones are right after more votes; hopeless ones never are."""
    settled, open_, hopeless = ["1"] * 8, ["1", "1", "1", "1", "2", "3", "4", "5"], ["2"] * 4 + ["3"] * 4
    pool = Replies(groups(*[settled, open_, hopeless] * 4))
    found = fit(pool, probe=2, most=60.0)
    assert found.votes[0] == 2  # never seen: no votes are added
    assert found.votes[1] > found.votes[2]
    assert found.tokens <= 60.0 + 20.0
    fixed = fmean(pool.majority(round(found.tokens / pool.tokens)))
    assert found.accuracy.mean >= fixed - 0.02


def test_a_limit_of_the_probe_adds_no_votes(groups):
    found = fit(Replies(groups(*[["1", "2", "1", "1"]] * 4)), probe=2, most=20.0)
    assert (set(found.votes), found.tokens) == ({2}, 20.0)


def test_no_votes_are_added_where_none_helps(groups):
    found = fit(Replies(groups(*[["2", "3", "2", "3"]] * 4)), probe=2, most=1000.0)
    assert set(found.votes) == {2}
    assert found.accuracy.mean == 0.0


def test_a_pool_smaller_than_the_probe_is_refused(groups):
    with pytest.raises(SettingsError):
        fit(Replies(groups(["1"], ["1"])), probe=2, most=10.0)
