"""The waist: what a request may ask, and what a sampler does by default."""

import asyncio
import math

import pytest

from poziomka.core.errors import SamplerError, SettingsError, TranscriptError
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.sampler import Sampler, SamplingParams, WeightHost
from poziomka.core.transcript import Author, Message, Span, Transcript
from poziomka.testing import ScriptedSampler

QUESTION = Transcript.of([Message("user", "Hi")])


class Echo(Sampler):
    """Says its seed."""

    async def extend(self, transcript, sampling, on_token=None):
        return transcript + Span(Author.MODEL, f" {sampling.seed}")


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"max_tokens": 0},
        {"min_thinking_tokens": -1},
        {"max_thinking_tokens": -1},
        {"min_thinking_tokens": 3, "max_thinking_tokens": 2},
        {"stop": ("",)},
    ],
)
def test_a_setting_out_of_range_is_refused(wrong):
    with pytest.raises(SettingsError, match=r"sampling\.\w+ must be .*: received"):
        SamplingParams(**wrong)


@pytest.mark.parametrize(
    ("sampling", "plain"),
    [
        (SamplingParams(), True),
        (SamplingParams(temperature=0.7, max_thinking_tokens=5, stop=("x",)), True),
        (SamplingParams(temperature=0), False),
        (SamplingParams(top_k=5), False),
        (SamplingParams(top_p=0.9), False),
        (SamplingParams(min_p=0.05), False),
        (SamplingParams(min_thinking_tokens=1), False),
    ],
)
def test_plain_sampling_draws_from_the_models_own_distribution(sampling, plain):
    assert sampling.plain is plain


def test_branch_extends_once_for_each_sampling_in_order():
    replies = asyncio.run(Echo().branch(QUESTION, [SamplingParams(seed=seed) for seed in (3, 1, 2)]))
    assert [reply.reply for reply in replies] == [" 3", " 1", " 2"]


def test_a_sampler_that_cannot_score_says_so():
    with pytest.raises(SamplerError, match="Echo cannot score"):
        asyncio.run(Echo().score(QUESTION))


def test_a_sampler_without_weights_is_no_host_of_weights():
    assert not isinstance(Echo(), WeightHost)
    assert isinstance(ScriptedSampler([" 1"]), WeightHost)


def test_branch_tells_the_index_before_each_token():
    heard = []
    sampler = ScriptedSampler(lambda transcript, sampling: f" a{sampling.seed} b{sampling.seed}")
    samplings = [SamplingParams(seed=seed) for seed in (4, 7)]
    replies = asyncio.run(sampler.branch(QUESTION, samplings, lambda *told: heard.append(told) or True))
    for index, reply in enumerate(replies):
        assert [token for where, _, token in heard if where == index] == list(reply.spans[-1].tokens)


class Failing(Echo):
    """Echo that cannot continue the transcript with an odd seed, nor sample at all with seed 4."""

    async def extend(self, transcript, sampling, on_token=None):
        if sampling.seed == 4:
            message = "the endpoint is gone"
            raise SamplerError(message)
        if sampling.seed % 2:
            message = f"seed {sampling.seed} timed out"
            raise TranscriptError(message)
        return await super().extend(transcript, sampling, on_token)


def test_a_request_that_fails_leaves_the_others_their_replies():
    params = [SamplingParams(seed=seed) for seed in (0, 1, 2)]
    found = asyncio.run(Failing().try_branch(QUESTION, params))
    assert [type(each) for each in found] == [Transcript, TranscriptError, Transcript]
    attempts = asyncio.run(SINGLE_REPLY.attempts(Failing(), QUESTION, params))
    assert [attempt.failure for attempt in attempts] == [None, "seed 1 timed out", None]
    with pytest.raises(TranscriptError, match="seed 1"):
        asyncio.run(Failing().branch(QUESTION, params))


def test_a_sampler_that_cannot_sample_ends_all_requests():
    params = [SamplingParams(seed=seed) for seed in (1, 4)]
    with pytest.raises(SamplerError, match="is gone"):
        asyncio.run(Failing().try_branch(QUESTION, params))
