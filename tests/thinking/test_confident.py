"""DeepConf online: the first replies set a threshold, and a less confident reply ends while it is sampled."""

import asyncio
import math
from dataclasses import replace
from itertools import pairwise

import pytest

import poziomka as pz
from poziomka.core.errors import SamplerError, SettingsError
from poziomka.core.sampler import Floor, FloorWatch
from poziomka.core.transcript import Author, Stop
from poziomka.inference.remote import RemoteSampler
from poziomka.testing import ScriptedSampler
from poziomka.thinking import ConfidentVotes, Logprobs, Majority, SelfCertainty, strategy_of
from poziomka.thinking.confident import quantile

QUESTION = pz.Transcript.of([pz.Message("user", " What?")])
WINDOW = 2


def reply(transcript, params):
    """Six words that depend on the seed, and the answer 7, or 8 for one seed in three."""
    words = (f"w{params.seed // 7**place % 5}" for place in range(6))
    return f"<think> {' '.join(words)} </think> {7 if params.seed % 3 else 8}"


def means(transcript):
    """The mean log-probability of each two successive tokens of a reply, worked out without the library."""
    values = [value for span in transcript if span.author is Author.MODEL for value in span.logprobs]
    return [(one + two) / 2 for one, two in pairwise(values)]


def made(strategy, seed=1, sampler=None):
    sampler = sampler or ScriptedSampler(reply)
    return asyncio.run(strategy.attempt(sampler, QUESTION, pz.SamplingParams(seed=seed, max_tokens=40)))


@pytest.mark.parametrize("seed", range(4))
def test_replies_end_at_the_first_group_below_the_threshold_of_the_first_replies(seed):
    whole = [branch.transcript for branch in made(Majority(12), seed).branches]
    strategy = ConfidentVotes(12, warmup=5, keep=0.4, judge=Logprobs(WINDOW))
    found = [branch.transcript for branch in made(strategy, seed).branches]
    lowest = sorted(min(means(each)) for each in whole[:5])
    values = [math.exp(each) for each in lowest]
    least = values[2] + 0.4 * (values[3] - values[2])  # the quantile 0.6 of five values is at place 2.4
    assert found[:5] == whole[:5]
    stopped = []
    for one, full in zip(found[5:], whole[5:], strict=True):
        place = next((n for n, mean in enumerate(means(full)) if math.exp(mean) < least * (1 - 1e-4)), None)
        stopped.append(place is not None)
        if place is None:
            assert one == full
        else:
            kept = len(QUESTION.spans[0].text.split()) + place + WINDOW
            assert one.tokens == full.tokens[:kept]
            assert one.stop in (Stop.LENGTH, full.stop)
    assert any(stopped)
    answer = made(strategy, seed)
    trusted = {}
    for each in found:
        if math.exp(min(means(each))) >= least * (1 - 1e-4):
            trusted[each.answer] = trusted.get(each.answer, 0) + math.exp(min(means(each)))
    assert answer.branches[answer.answer].transcript.answer == max(trusted, key=trusted.get)
    assert answer.cost.sampled < made(Majority(12), seed).cost.sampled


def test_a_quantile_is_interpolated_between_two_values():
    assert quantile([3.0, 1.0, 2.0], 0.0) == 1
    assert quantile([3.0, 1.0, 2.0], 0.75) == 2.5
    assert quantile([3.0, 1.0], 1.0) == 3
    assert quantile([], 0.5) == 0


def test_a_floor_ends_a_reply_only_after_a_whole_group():
    watch = FloorWatch(Floor(3, -1.0))
    ends = [watch.ends(value) for value in (-9.0, 0.0, 0.0, 0.0, -2.0, -2.0)]
    assert ends == [False, False, True, False, False, True]
    assert not FloorWatch(None).ends(-100.0)


def test_with_all_first_replies_kept_the_threshold_is_the_lowest_of_them():
    found = made(ConfidentVotes(6, warmup=3, keep=1.0, judge=Logprobs(WINDOW)))
    least = min(min(means(branch.transcript)) for branch in found.branches[:3])
    assert all(
        min(means(branch.transcript)[:-1], default=0) >= least - 1e-4 for branch in found.branches[3:]
    )  # only the last group of a reply can be below it


def test_the_engine_ends_a_reply_as_the_script_does(sampler):
    prompt = pz.Transcript.of([pz.Message("user", " 1 2 3 4")])
    params = pz.SamplingParams(max_tokens=24, min_thinking_tokens=12, seed=5)
    whole = asyncio.run(sampler.extend(prompt, params))
    values = means(whole)
    least = sorted(values)[2]  # two groups are below it
    ended = asyncio.run(sampler.extend(prompt, replace(params, floor=Floor(WINDOW, least - 1e-6))))
    place = next(number for number, mean in enumerate(values) if mean < least - 1e-6)
    start = next(number for number, mine in enumerate(whole.by(Author.MODEL)) if mine)
    assert ended.tokens == whole.tokens[: start + place + WINDOW]
    assert ended.stop is Stop.LENGTH
    found = asyncio.run(ConfidentVotes(8, 4, judge=Logprobs(WINDOW)).attempt(sampler, prompt, params))
    assert found.failure is None


def test_a_text_names_it():
    assert strategy_of("deepconf_online:32,warmup=8,keep=0.1,judge=logprobs:16") == ConfidentVotes(
        32, 8, 0.1, Logprobs(16)
    )


@pytest.mark.parametrize("wrong", [{"warmup": 0}, {"warmup": 8}, {"keep": 0.0}, {"keep": 2.0}, {"judge": Logprobs()}])
def test_what_sets_no_threshold_is_refused(wrong):
    with pytest.raises(SettingsError):
        ConfidentVotes(**{"votes": 8, "warmup": 4, **wrong})


def test_what_returns_no_log_probabilities_is_refused_in_a_sentence():
    endpoint = RemoteSampler("http://127.0.0.1:9/v1", "m")
    with pytest.raises(SettingsError, match="log-probabilities"):
        made(ConfidentVotes(8, 4), sampler=endpoint)
    with pytest.raises(SamplerError, match="log-probabilities"):
        asyncio.run(endpoint.extend(QUESTION, pz.SamplingParams(floor=Floor(8, -1.0))))
    with pytest.raises(SettingsError, match="Logprobs"):
        ConfidentVotes(8, 4, judge=SelfCertainty(ScriptedSampler(["7"]), 8))
    with pytest.raises(SettingsError):
        Floor(0, -1.0)
