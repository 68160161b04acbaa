"""A thought that closes is continued with a forced word, a given number of times."""

import asyncio
from dataclasses import replace

import pytest

import poziomka as pz
from poziomka.core.errors import SettingsError
from poziomka.core.rollout import Cost
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact, compact_floats
from poziomka.testing import ScriptedSampler
from poziomka.thinking import Budget, Continue, Majority

QUESTION = pz.Transcript.of([pz.Message("user", " What?")])  # one token


def thinking(transcript, params):
    """Thinks two words, then one more after each " Wait", then answers with the number of waits."""
    waits = transcript.text.count(" Wait")
    return f" more </think> {waits}" if waits else "<think> a b </think> 0"


def made(strategy, script=thinking, prompt=QUESTION, **params):
    sampler = ScriptedSampler(script)
    return asyncio.run(strategy.attempt(sampler, prompt, SamplingParams(**params)))


def written(attempt):
    return [(span.author, span.text, span.stop) for span in attempt.branches[0].transcript.spans[1:]]


@pytest.mark.parametrize("times", [0, 1, 2, 6])
def test_a_thought_is_continued_as_often_as_asked(times):
    found = made(Continue(times))
    (branch,) = found.branches
    assert branch.transcript.answer == str(times)
    assert branch.transcript.thought == "a b" + " Wait more" * times
    assert sum(span.author is Author.FORCED for span in branch.transcript) == times
    # <think> a b, then "more" and the "</think>" that is replaced each time, then </think> answer END
    assert found.cost == Cost(sampled=3 + 2 * times + 3, read=1 + times, latency=3 + 2 * times + 3)


def test_the_closing_is_replaced_and_put_aside():
    found = made(Continue(1))
    assert written(found) == [
        (Author.MODEL, "<think> a b", Stop.LENGTH),
        (Author.FORCED, " Wait", None),
        (Author.MODEL, " more </think>", Stop.THOUGHT),
        (Author.MODEL, " 1", Stop.END),
    ]
    (tried,) = found.branches[0].transcript.tried
    assert (tried.fork_at, tried.spans[0].text, len(tried.spans[0])) == (4, " </think>", 1)


def test_no_word_is_forced_where_nothing_is_thought():
    found = made(Continue(3), ["7"])
    assert written(found) == [(Author.MODEL, "7", Stop.END)]
    stray = made(Continue(3), lambda transcript, params: " b" if "</think>" in transcript.text else "a </think>")
    assert "Wait" not in stray.branches[0].transcript.text


def test_a_budget_closes_a_continued_thought_at_its_cap():
    found = made(Budget(3, inner=Continue(9)))
    assert found.branches[0].transcript.thought == "a b Wait more"
    assert [span.text for span in found.branches[0].transcript if span.author is Author.FORCED] == [
        " Wait",
        " </think>",
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
def test_a_continued_thought_keeps_to_the_limit_of_tokens(limit):
    found = made(Continue(2), max_tokens=limit)
    assert found.cost.sampled == limit
    assert found.branches[0].transcript.stop is (Stop.END if limit == 10 else Stop.LENGTH)


def test_each_turn_may_be_continued():
    first = made(Continue(1)).branches[0].transcript
    second = first + Span(Author.USER, " And?")

    def script(transcript, params):
        return " d </think> 2" if transcript.text.count(" Wait") == 2 else "<think> c </think> 1"

    again = asyncio.run(Continue(1).attempt(ScriptedSampler(script), second, SamplingParams()))
    assert again.branches[0].transcript.thought == "c Wait d"


def test_a_stop_string_of_the_caller_still_stops():
    found = made(Continue(2), stop=("more",))
    assert written(found)[-1] == (Author.MODEL, " more", Stop.PHRASE)


def test_votes_are_continued_each():
    found = made(Continue(1, inner=Majority(3)))
    assert [branch.transcript.answer for branch in found.branches] == ["1", "1", "1"]
    assert found.cost == Cost(sampled=3 * 8, read=1 + 3, latency=8)


def test_an_endpoint_of_text_is_continued_too():
    class Textual(Sampler):
        async def extend(self, transcript, sampling, on_token=None):
            said = thinking(transcript, sampling)
            stop = next((stop for stop in sampling.stop if stop in said), None)
            if stop is not None:
                said = said[: said.index(stop) + len(stop)]
            return transcript + Span(
                Author.MODEL, said, stop=Stop.PHRASE if stop else Stop.END, usage=len(said.split())
            )

    found = asyncio.run(Continue(2).attempt(Textual(), QUESTION, SamplingParams()))
    assert (found.branches[0].transcript.answer, found.cost.sampled) == ("2", 4 + 2 + 3)


class Subwords(Sampler):
    """A sampler whose "</think>" is several tokens, the first of which begins with other text."""

    words = ("<think>", " b", ".</", "think", ">", " Wait", " no", " 7")
    thought = (0, 1, 2, 3, 4)
    answer = (6, 2, 3, 4, 7)

    def decode(self, tokens):
        return "".join(self.words[token] for token in tokens)

    async def extend(self, transcript, sampling, on_token=None):
        spans = [replace(span, tokens=compact([5])) if span.tokens is None else span for span in transcript]
        said = self.answer if any(span.author is Author.FORCED for span in spans) else self.thought
        stops = [end for end in range(1, len(said) + 1) for stop in sampling.stop if stop in self.decode(said[:end])]
        said = said[: min(stops, default=len(said))]
        stop = Stop.PHRASE if stops else Stop.END
        span = Span(Author.MODEL, self.decode(said), compact(said), compact_floats([-1.0] * len(said)), stop)
        return replace(transcript, spans=(*spans, span))


def test_a_closing_of_several_tokens_is_replaced_whole():
    prompt = Transcript((Span(Author.USER, " What?", compact([9])),), "t")
    found = asyncio.run(Continue(1).attempt(Subwords(), prompt, SamplingParams()))
    (branch,) = found.branches
    assert [list(span.tokens) for span in branch.transcript] == [[9], [0, 1], [5], [6, 2, 3, 4, 7]]
    assert [len(span.logprobs) for span in branch.transcript if span.author is Author.MODEL] == [2, 5]
    (tried,) = branch.transcript.tried
    assert (list(tried.spans[0].tokens), tried.spans[0].text, tried.fork_at) == ([2, 3, 4], ".</think>", 3)
    assert branch.transcript.text == " What?<think> b Wait no.</think> 7"
    assert found.cost == Cost(sampled=2 + 3 + 5, read=1 + 1, latency=10)


def test_a_rollout_keeps_the_cost_of_replaced_tokens():
    problem = pz.Problem(" What?", "2", task="t", key="k")
    task = pz.Task("t", lambda rng: problem, pz.exact(pz.number), trusted=True)
    with Scoring(task) as scoring:
        ((rollout,),) = Collector(ScriptedSampler(thinking), scoring, Continue(2)).collect([problem], SamplingParams())
    assert rollout.score.correct
    assert rollout.spent == Cost(sampled=10, read=3, latency=10)
    assert rollout.thinking == 3 + 1 + 2  # <think> a b, more, more </think>: forced words are not counted


@pytest.mark.parametrize("wrong", [{"times": -1}, {"times": 1, "word": ""}])
def test_a_continuation_out_of_range_is_refused(wrong):
    with pytest.raises(SettingsError):
        Continue(**wrong)


def test_the_engine_continues_a_thought_as_if_it_had_read_the_word(sampler):
    """Every sampled token is the one that the engine samples after the same tokens, by its position and seed."""
    strategy, continued = Continue(2, word=" 3", inner=Budget(12)), 0
    for seed in range(24):
        params = SamplingParams(max_tokens=20, seed=seed)
        prompt = Transcript.of([pz.Message("user", " 1 2")])
        transcript = asyncio.run(strategy.attempt(sampler, prompt, params)).branches[0].transcript
        words = [n for n, span in enumerate(transcript) if span.author is Author.FORCED and span.text == " 3"]
        assert [tried.spans[0].text for tried in transcript.tried] == [" </think>"] * len(words)
        for number in words:
            before = Transcript(transcript.spans[: number + 1], transcript.tokenizer)
            direct = asyncio.run(sampler.extend(before, replace(params, max_thinking_tokens=12)))
            after = transcript.spans[number + 1].tokens
            assert direct.spans[number + 1].tokens[: len(after)] == after
        continued += len(words)
    assert continued > 0
