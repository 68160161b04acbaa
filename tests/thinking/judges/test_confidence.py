"""Judges without training: they read what the sampler wrote down, or ask it how certain it was."""

import asyncio
import math
from itertools import pairwise

import pytest
import torch

import poziomka as pz
from poziomka.core.errors import SamplerError, SettingsError
from poziomka.core.rollout import Cost
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.transcript import Author, Span, Stop, compact, compact_floats
from poziomka.inference import distributions
from poziomka.testing import ScriptedSampler
from poziomka.thinking import BestOf, FunctionJudge, Logprobs, Majority, SelfCertainty, Thinker
from poziomka.thinking.judges.confidence import lowest_mean

QUESTION = pz.Transcript.of([pz.Message("user", " 1 2")])


def wrote(*logprobs):
    tokens = compact(range(1, len(logprobs) + 1))
    return Span(Author.MODEL, " x" * len(logprobs), tokens, compact_floats(logprobs), Stop.LENGTH)


def judged(judge, *transcripts):
    return asyncio.run(judge.judge(transcripts))


class Textual(Sampler):
    """A sampler of text only, as of an endpoint."""

    async def extend(self, transcript, sampling, on_token=None):
        return transcript + Span(Author.MODEL, "7", stop=Stop.END, usage=3)


# -------------------------------------------------------------------------------------------------------- Logprobs
@pytest.mark.parametrize(
    ("window", "lowest"), [(None, -1.75), (1, -3.0), (2, -2.5), (3, -2.0), (4, -1.75), (99, -1.75)]
)
def test_the_lowest_group_is_that_of_the_lowest_mean(window, lowest):
    assert lowest_mean([-1.0, -2.0, -3.0, -1.0], window) == lowest


def test_confidence_is_the_geometric_mean_of_the_tokens_probabilities():
    reply = QUESTION + wrote(-1.0, -2.0) + Span(Author.FORCED, " Wait", compact([9])) + wrote(-3.0)
    assert judged(Logprobs(), reply)[0].value == pytest.approx(math.exp(-2.0))
    assert judged(Logprobs(window=2), reply)[0].value == pytest.approx(math.exp(-2.5))
    assert judged(Logprobs(), reply)[0].cost == Cost()


def test_only_the_last_turn_is_judged():
    talk = QUESTION + wrote(-9.0) + Span(Author.USER, " 3") + wrote(-1.0)
    assert judged(Logprobs(), talk)[0].value == pytest.approx(math.exp(-1.0))


def test_a_reply_without_tokens_has_no_value():
    assert judged(Logprobs(), QUESTION)[0].value is None


def test_an_endpoint_without_logprobs_is_refused_in_one_sentence():
    with pytest.raises(SettingsError, match="no log-probabilities"):
        asyncio.run(BestOf(2, Logprobs()).attempt(Textual(), QUESTION, SamplingParams()))


def test_logprobs_that_are_no_numbers_fail_their_branch_only():
    class Broken(ScriptedSampler):
        async def extend(self, transcript, sampling, on_token=None):
            reply = await super().extend(transcript, sampling, on_token)
            return reply if reply.answer != "7" else transcript + wrote(math.nan)

    found = asyncio.run(BestOf(2, Logprobs()).attempt(Broken(["7", "8"]), QUESTION, SamplingParams()))
    assert (found.failure, found.answer) == (None, 1)


@pytest.mark.parametrize("make", [lambda: Logprobs(0), lambda: SelfCertainty(Textual(), -1)])
def test_a_window_has_a_token(make):
    with pytest.raises(SettingsError):
        make()


def test_a_confidence_filtered_vote_is_the_formula():
    """DeepConf, offline: groups of 2 tokens, the upper half votes, each vote weighted by its confidence."""
    replies = [f"<think> {n} {n * n} </think> {n % 3}" for n in range(8)]
    strategy = Majority(8, judge=Logprobs(window=2), keep=0.5)
    found = asyncio.run(strategy.attempt(ScriptedSampler(replies), QUESTION, SamplingParams()))
    confidences = []
    for branch in found.branches:
        values = [value for span in branch.transcript for value in span.logprobs or ()]
        confidences.append(math.exp(min((a + b) / 2 for a, b in pairwise(values))))
    kept = sorted(range(8), key=confidences.__getitem__)[4:]
    sums = {answer: sum(confidences[n] for n in kept if n % 3 == answer) for answer in range(3)}
    assert found.branches[found.answer].transcript.answer == str(max(sums, key=sums.get))
    assert len({*sums.values()}) == 3


# --------------------------------------------------------------------------------------------------- SelfCertainty
def test_certainty_is_the_divergence_from_the_uniform_distribution(sampler):
    reply = asyncio.run(sampler.extend(QUESTION, SamplingParams(max_tokens=12, seed=1)))
    found = asyncio.run(sampler.certainty(reply))
    model, ids = sampler.engine.model, torch.tensor([list(reply.tokens)])
    with torch.no_grad():
        chances = model.logits(model(ids))[0].double().softmax(-1)
    uniform = 1 / chances.shape[1]
    expected = [sum(uniform * math.log(uniform / p) for p in row.tolist()) for row in chances[:-1]]
    assert found[0] == 0
    assert found[1:] == pytest.approx(expected, abs=1e-4)
    mine = [value for value, is_mine in zip(found, reply.by(Author.MODEL), strict=True) if is_mine]
    (judgement,) = judged(SelfCertainty(sampler), reply)
    mean = sum(mine) / len(mine)
    assert judgement.value == pytest.approx(mean / (1 + mean))
    assert judgement.cost == Cost(judged=len(reply))


def test_certainty_needs_the_memory_of_a_few_positions(sampler, monkeypatch):
    reply = asyncio.run(sampler.extend(QUESTION, SamplingParams(max_tokens=12, seed=1)))
    expected, model, rows = asyncio.run(sampler.certainty(reply)), sampler.engine.model, []

    def logits(hidden, whole=model.logits):
        rows.append(len(hidden))
        return whole(hidden)

    monkeypatch.setattr(distributions, "AT_ONCE", 3)
    monkeypatch.setattr(model, "logits", logits)
    assert asyncio.run(sampler.certainty(reply)) == pytest.approx(expected, abs=1e-5)
    assert max(rows) == 3
    assert sum(rows) == len(reply) - 1


def test_ids_that_are_never_sampled_are_left_out(sampler):
    reply = asyncio.run(sampler.extend(QUESTION, SamplingParams(max_tokens=6)))
    model = sampler.engine.model
    model.unused = torch.tensor([3, 5])
    with torch.no_grad():
        logits = model.logits(model(torch.tensor([list(reply.tokens)])))[0].double()
    rows = torch.cat([logits[:, :3], logits[:, 4:5], logits[:, 6:]], -1).log_softmax(-1)
    expected = (-math.log(rows.shape[1]) - rows.mean(-1))[:-1].tolist()
    assert asyncio.run(sampler.certainty(reply))[1:] == pytest.approx(expected, abs=1e-4)


def test_a_model_without_an_opinion_has_no_certainty(sampler):
    reply = asyncio.run(sampler.extend(QUESTION, SamplingParams(max_tokens=6)))
    with torch.no_grad():
        for parameter in sampler.engine.model.parameters():
            parameter.zero_()
    assert asyncio.run(sampler.certainty(reply)) == pytest.approx([0.0] * len(reply), abs=1e-6)
    assert judged(SelfCertainty(sampler), reply)[0].value == pytest.approx(0.0, abs=1e-6)


def test_the_most_certain_reply_is_chosen_and_its_cost_is_that_of_reading_all(sampler):
    found = asyncio.run(BestOf(4, SelfCertainty(sampler)).attempt(sampler, QUESTION, SamplingParams(max_tokens=8)))
    values = [one.value for one in judged(SelfCertainty(sampler), *(branch.transcript for branch in found.branches))]
    assert found.answer == values.index(max(values))
    assert found.cost.judged == sum(len(branch.transcript) for branch in found.branches)


def test_a_thinker_is_as_certain_as_its_sampler(sampler):
    thinker = Thinker(sampler, Majority(2))
    reply = asyncio.run(thinker.extend(QUESTION, SamplingParams(max_tokens=6)))
    assert asyncio.run(thinker.certainty(reply)) == asyncio.run(sampler.certainty(reply))
    assert thinker.decode(reply.tokens) == sampler.decode(reply.tokens)


def test_a_sampler_without_distributions_fails_the_branches():
    found = asyncio.run(BestOf(2, SelfCertainty(Textual())).attempt(Textual(), QUESTION, SamplingParams()))
    assert "no distributions" in found.failure


def test_a_script_is_certain_by_its_logprobs_and_decodes_its_own_tokens():
    script = ScriptedSampler(["<think> a </think> 7"])
    reply = asyncio.run(script.extend(QUESTION, SamplingParams()))
    assert asyncio.run(script.certainty(reply)) == [-value for value in asyncio.run(script.score(reply))]
    assert script.decode(reply.tokens) == reply.text
    with pytest.raises(SamplerError):
        script.decode([12345])


# --------------------------------------------------------------------------------------------------- FunctionJudge
def test_a_function_judges_each_reply_by_problem_and_text_and_fails_for_itself_alone():
    problem = pz.Problem("2 4", "4", task="t", key="k")
    judge = FunctionJudge(lambda problem, transcript: 1 / len(transcript.reply) / int(problem.answer))
    replies = [QUESTION + Span(Author.MODEL, text, stop=Stop.END) for text in ("x", "", "xx")]
    found = asyncio.run(judge.judge(replies, problem=problem))
    assert [each.value for each in found] == [0.25, None, 0.125]
    assert "division" in found[1].why
    assert [each.cost for each in found] == [Cost()] * 3
