"""Log-probabilities of next tokens are those that scoring gives, and a prefix that requests share is read once."""

import asyncio
import math

import pytest
import torch

from poziomka.core.errors import SamplerError, TranscriptError
from poziomka.core.problem import Problem
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Span, Transcript
from poziomka.inference.engine import EngineLimits
from poziomka.inference.local import LocalSampler
from poziomka.inference.next_tokens import SHARED
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.testing import ScriptedSampler, check_sampler
from poziomka.thinking.majority import Majority
from poziomka.thinking.thinker import Thinker

torch.set_num_threads(1)
DIGITS = [str(digit) for digit in range(10)]


def local(kind="transformer", limits=None):
    tokenizer = Tokenizer.of_symbols(DIGITS)
    model = build_model(kind, TransformerSettings(width=32, layers=2, heads=4), len(tokenizer), 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return LocalSampler(model, PlainFormat(tokenizer), limits=limits)


def asked(text):
    return Transcript.of(Problem(text).prompt)


def together(sampler, transcripts, texts):
    async def each():
        return await asyncio.gather(*(sampler.next_logprobs(transcript, texts) for transcript in transcripts))

    return asyncio.run(each())


@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_the_log_probabilities_are_those_of_scoring_alone_and_in_a_batch(kind):
    sampler = local(kind)
    head = " 1 2 3 4 5 6 7 8 9" * 4
    prompts = [asked(head + tail) for tail in (" 1", " 2", " 2 3", " 2 3", "", " 4" * 40)] + [asked(" 5")]
    found = together(sampler, prompts, ["3", "7"])
    for prompt, each in zip(prompts, found, strict=True):
        read = sampler.read(prompt)
        for text, logprob in zip(["3", "7"], each.logprobs, strict=True):
            said = Span(Author.TEACHER, text, sampler.read(Transcript((Span(Author.USER, text),))).tokens[1:2])
            scored = asyncio.run(sampler.score(read + said))[-1]
            assert logprob == pytest.approx(scored, abs=1e-5)
    alone = [together(sampler, [prompt], ["3", "7"])[0] for prompt in prompts]
    for one, other in zip(alone, found, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_a_long_prefix_that_requests_share_is_read_once():
    sampler = local()
    head = " 1" * (2 * SHARED)  # with the opening token
    prompts = [asked(head + f" {digit} {digit}") for digit in range(2, 6)]
    found = together(sampler, prompts, ["3"])
    own = 3  # two digits and "<think>"
    assert sorted(each.read for each in found) == [own, own, own, 1 + 2 * SHARED + own]
    assert sampler.engine.counters.read == sum(each.read for each in found)


def test_equal_transcripts_are_read_once_and_short_prefixes_again():
    sampler = local()
    found = together(sampler, [asked(" 1 2")] * 3 + [asked(" 1 3")], ["3"])
    assert [each.read for each in found] == [4, 0, 0, 4]


def test_batches_are_bounded_in_tokens_that_are_read_and_held(monkeypatch):
    sampler = local()
    head = " 1" * (2 * SHARED)
    prompts = [asked(head + f" {digit} {digit}" * length) for digit in range(2, 6) for length in (1, 5)]
    whole = together(sampler, prompts, ["3"])
    for bound, most in (("HELD", 60), ("READ_AT_ONCE", 12)):
        with monkeypatch.context() as patch:
            patch.setattr(f"poziomka.inference.next_tokens.{bound}", most)
            found = together(sampler, prompts, ["3"])
        assert [each.read for each in found] == [each.read for each in whole]
        for one, other in zip(found, whole, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_requests_for_next_tokens_and_for_replies_do_not_disturb_each_other():
    sampler, params = local(), SamplingParams(max_tokens=5, seed=3)

    async def both():
        return await asyncio.gather(sampler.extend(asked(" 1 2"), params), sampler.next_logprobs(asked(" 1 2"), ["3"]))

    reply, found = asyncio.run(both())
    assert reply.tokens == asyncio.run(sampler.extend(asked(" 1 2"), params)).tokens
    assert found.logprobs == pytest.approx(together(sampler, [asked(" 1 2")], ["3"])[0].logprobs)


@pytest.mark.parametrize("text", ["1 2", "", "word"])
def test_a_candidate_is_one_token(text):
    with pytest.raises(SamplerError):
        together(local(), [asked(" 1")], [text])
    if text != "word":
        with pytest.raises(SamplerError):
            together(ScriptedSampler(["a"]), [asked(" 1")], [text])


def test_a_transcript_that_is_too_long_or_foreign_fails_alone():
    sampler = local(limits=EngineLimits(context=6))
    foreign = Transcript(tokenizer="another")

    async def each():
        asked_for = [asked(" 1"), asked(" 1" * 9), foreign]
        return await asyncio.gather(*(sampler.next_logprobs(one, ["3"]) for one in asked_for), return_exceptions=True)

    good, *bad = asyncio.run(each())
    assert math.isfinite(good.logprobs[0])
    assert [type(error) for error in bad] == [TranscriptError, TranscriptError]


def test_logits_that_are_not_finite_are_an_error():
    sampler = local()
    with torch.no_grad():
        for parameter in sampler.engine.model.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(SamplerError):
        together(sampler, [asked(" 1")], ["3"])
    assert not sampler._asking


def test_a_sampler_without_weights_says_so():
    sampler = local()
    asyncio.run(sampler.release_weights())
    with pytest.raises(SamplerError):
        together(sampler, [asked(" 1")], ["3"])


def test_a_scripted_sampler_and_a_strategy_answer_too():
    scripted = ScriptedSampler(["a"])
    (found,) = together(Thinker(scripted, Majority(2)), [asked(" 1 2")], [" yes", " no"])
    followed = Transcript.of([*Problem(" 1 2").prompt]) + Span(Author.TEACHER, " yes")
    assert found.logprobs[0] == asyncio.run(scripted.score(followed))[-1]
    assert found.read == 2


@pytest.mark.parametrize("make", [local, lambda: ScriptedSampler(["<think> 1 2 </think> 3"])])
def test_samplers_with_next_tokens_conform(make):
    assert not [reason for reason in check_sampler(make(), asked(" 1 2 3")) if "next tokens" in reason]
