"""A good sampler passes; each planted fault is caught, and the message names it."""

import re
from dataclasses import replace

import pytest

from poziomka.core.errors import SamplerError
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.transcript import Author, Message, Span, Stop, Transcript, compact, compact_floats
from poziomka.testing import ScriptedSampler, check_sampler
from poziomka.testing.fakes import TOKENIZER, pieces, token_of

QUESTION = Transcript.of([Message("user", "What is 3 + 4?")])
THOUGHT = "<think> three and four make seven </think> it is 7"
DRAWS = iter(range(10**9))


class Faulty(ScriptedSampler):
    """The good sampler, spoiled: `before` changes the request, `after` the reply."""

    def __init__(self, before=None, after=None, script=(THOUGHT,)):
        super().__init__(script)
        self.before = before or (lambda transcript, sampling: (transcript, sampling))
        self.after = after or (lambda transcript, reply, sampling: reply)

    async def extend(self, transcript, sampling, on_token=None):
        reply = await super().extend(*self.before(transcript, sampling), on_token)
        return self.after(transcript, reply, sampling)


def ignoring(**settings):
    """A sampler that does not look at some settings."""
    return Faulty(before=lambda transcript, sampling: (transcript, replace(sampling, **settings)))


def rewriting(change):
    """A sampler whose every span it wrote is changed."""

    def after(transcript, reply, sampling):
        old, new = reply.spans[: len(transcript.spans)], reply.spans[len(transcript.spans) :]
        return replace(reply, spans=(*old, *(change(span) for span in new)))

    return Faulty(after=after)


def spoiled(**fields):
    return rewriting(lambda span: replace(span, **fields) if span.author is Author.MODEL else span)


def retokenised(transcript, reply, sampling):
    text = Span(Author.USER, reply.spans[0].text, compact([1, 2, 3]))
    return replace(reply, spans=(text, *reply.spans[1:])) if transcript.tokenizer else reply


def own_end(transcript, reply, sampling):
    """Says of a reply that a stop string ended that the model ended it."""
    if not sampling.stop:
        return reply
    return replace(reply, spans=(*reply.spans[:-1], replace(reply.spans[-1], stop=Stop.END)))


class Scores(ScriptedSampler):
    """Scores in its own way."""

    def __init__(self, change):
        super().__init__([THOUGHT])
        self.change = change

    async def score(self, transcript, temperature=1.0):
        return self.change(await super().score(transcript, temperature))


class Ahead(ScriptedSampler):
    """A sampler whose log-probabilities of next tokens are not those with which it samples."""

    async def next_logprobs(self, transcript, texts):
        found = await super().next_logprobs(transcript, texts)
        return replace(found, logprobs=tuple(logprob - 0.5 for logprob in found.logprobs))


class Branches(ScriptedSampler):
    """Branches in its own way."""

    def __init__(self, change):
        super().__init__([THOUGHT])
        self.change = change

    async def branch(self, transcript, samplings, on_token=None):
        return self.change(await super().branch(transcript, samplings, on_token))


class Deaf(ScriptedSampler):
    """Adopts nothing, and says nothing of it."""

    async def load_weights(self, version, weights):
        pass


class Careless(ScriptedSampler):
    """Takes another tokenizer's tokens for its own."""

    async def extend(self, transcript, sampling, on_token=None):
        return await super().extend(replace(transcript, tokenizer=TOKENIZER), sampling, on_token)


class Scribbler(ScriptedSampler):
    """Writes into the transcript it was given."""

    async def extend(self, transcript, sampling, on_token=None):
        for span in transcript:
            if span.tokens and span.author is Author.USER:
                span.tokens[0] = 7
        return await super().extend(transcript, sampling, on_token)


def unforced(span):
    if span.author is not Author.FORCED:
        return span
    return replace(span, author=Author.MODEL, logprobs=compact_floats([-1.0]), stop=Stop.LENGTH)


def late(transcript, sampling):
    more = (
        None
        if sampling.max_thinking_tokens is None
        else sampling.max_thinking_tokens and sampling.max_thinking_tokens + 1
    )
    return transcript, replace(sampling, max_thinking_tokens=more)


def at_least_one(transcript, sampling):
    return transcript, replace(
        sampling, max_thinking_tokens=1 if sampling.max_thinking_tokens == 0 else sampling.max_thinking_tokens
    )


FAULTS = {
    "a sampler only appends: Span": Faulty(after=lambda given, reply, sampling: replace(reply, spans=reply.spans[1:])),
    "a sampler only appends: Span(author=<Author.USER: 'user'>, text='What is 3 + 4?', tokens=None": Faulty(
        after=lambda given, reply, sampling: Transcript((Span(Author.USER, "?"), *reply.spans[1:]), TOKENIZER)
    ),
    "a sampler writes as the model": Faulty(
        after=lambda given, reply, sampling: replace(reply, spans=reply.spans[: len(given.spans)])
    ),
    "nobody speaks for the user": Faulty(after=lambda given, reply, sampling: reply + Span(Author.USER, " thanks")),
    "log-probabilities and stops are the model's": Faulty(
        after=lambda given, reply, sampling: reply + Span(Author.FORCED, " so", stop=Stop.END)
    ),
    "a model's span says why it ended": spoiled(stop=None),
    "a reply ends for a reason": spoiled(stop=Stop.SWAP),
    "a span with tokens has their log-probabilities": spoiled(logprobs=None),
    "a log-probability is finite and at most 0": rewriting(
        lambda span: replace(span, logprobs=compact_floats([0.5] * len(span)))
    ),
    "a transcript with tokens names its tokenizer": Faulty(
        before=lambda given, sampling: (replace(given, tokenizer=None), sampling),
        after=lambda given, reply, sampling: replace(reply, tokenizer=None),
    ),
    "one seed gives one reply": Faulty(
        before=lambda given, sampling: (given, replace(sampling, seed=next(DRAWS))), script=[" 7", " 8"]
    ),
    "branch gives one reply a sampling": Branches(lambda replies: replies[1:]),
    "branch writes what extend writes": Branches(lambda replies: replies[::-1]),
    "branch without samplings gives no replies": Branches(lambda replies: replies or [QUESTION]),
    "at most as many": ignoring(max_tokens=64),
    "1 tokens cut a reply": Faulty(
        after=lambda given, reply, sampling: (
            reply
            if sampling.max_tokens > 3
            else replace(reply, spans=(*reply.spans[:-1], replace(reply.spans[-1], stop=Stop.END)))
        )
    ),
    "a stop string is kept": Faulty(
        after=lambda given, reply, sampling: (
            reply
            if not sampling.stop
            else replace(reply, spans=(*reply.spans[:-1], replace(reply.spans[-1], text=reply.spans[-1].text[:-3])))
        )
    ),
    "a reply ends at a stop string": ignoring(stop=()),
    "a reply that a stop string ended says so": Faulty(after=own_end),
    "a stop string changes nothing before it": Faulty(
        before=lambda given, sampling: (given, replace(sampling, seed=77) if sampling.stop else sampling),
        script=lambda given, sampling: " so four make seven" if sampling.seed == 77 else THOUGHT,
    ),
    "a thought at its limit is closed by forced words": ignoring(max_thinking_tokens=None),
    "closed by forced words: with max_thinking_tokens 0": rewriting(unforced),
    "max_thinking_tokens 0 leaves no thought": Faulty(before=at_least_one),
    "max_thinking_tokens 2 is a limit": Faulty(before=late),
    "min_thinking_tokens": ignoring(min_thinking_tokens=0),
    "a sampler goes on after an answer": Faulty(
        after=lambda given, reply, sampling: (
            reply if given.stop is None else replace(reply, spans=reply.spans[: len(given.spans)])
        )
    ),
    "a sampler only appends: Span(author=<Author.USER: 'user'>, text='What is 3 + 4?', tokens=array": Faulty(
        after=retokenised
    ),
    "score gives one number a token": Scores(lambda scores: scores[1:]),
    "nothing comes before the first token": Scores(lambda scores: [-1.0, *scores[1:]]),
    "score repeats what was sampled": Scores(lambda scores: [score * 1.1 for score in scores]),
    "next_logprobs repeats what was sampled": Ahead([THOUGHT]),
    "a transcript that another tokenizer read is refused": Careless([THOUGHT]),
    "after load_weights, received {'script'}": Deaf([THOUGHT]),
}


@pytest.mark.parametrize("script", [[THOUGHT], ["<think> a b c d e"], [" it is 7"], ["<think> a </think> 7", " 8"]])
def test_a_good_sampler_passes(script):
    check_sampler(ScriptedSampler(script), QUESTION, weights={})


def test_a_thought_that_the_prompt_opened_is_checked_too():
    opened = QUESTION + Span(Author.TEMPLATE, " <think>")
    assert check_sampler(ScriptedSampler([" a b c </think> it is 7"]), opened, weights={}) == []


def test_all_rules_are_tried_on_a_sampler_that_thinks():
    assert check_sampler(ScriptedSampler([THOUGHT]), QUESTION, weights={}) == []


@pytest.mark.parametrize("broken", FAULTS)
def test_a_fault_is_caught(broken):
    with pytest.raises(AssertionError, match=re.escape(broken)):
        check_sampler(FAULTS[broken], QUESTION, weights={})


def test_a_transcript_that_was_read_before_stays_as_it_was():
    question = Transcript((Span(Author.USER, "What?", compact([token_of("What?")])),), TOKENIZER)
    with pytest.raises(AssertionError, match="as it was: its tokens changed"):
        check_sampler(Scribbler([THOUGHT]), question)


class Remote(Sampler):
    """An endpoint that gives words only."""

    async def extend(self, transcript, sampling, on_token=None):
        words = pieces(" it is 7")
        stop = next((phrase for phrase in sampling.stop if phrase in words[1]), None)
        text = " it is" if stop else " it is 7"
        return transcript + Span(Author.MODEL, text, stop=Stop.PHRASE if stop else Stop.END)


def test_what_could_not_be_tried_is_said():
    untried = check_sampler(Remote(), QUESTION, sampling=SamplingParams(max_tokens=9))
    assert [reason.partition(":")[0].removesuffix(" not tried") for reason in untried] == [
        "tokens and log-probabilities were",
        "the limit of tokens was",
        "budgets of thought were",
        "the least length of a thought was",
        "scoring was",
        "log-probabilities of next tokens were",
        "streaming was compared without token ids",
        "another tokenizer's transcript was",
        "loading weights was",
    ]


def test_a_sampler_that_cannot_adopt_says_so():
    assert "loading weights was not tried: Remote is no WeightHost" in check_sampler(Remote(), QUESTION, weights={})[-1]


def test_a_silent_sampler_has_no_stop_strings_to_try():
    untried = check_sampler(ScriptedSampler([""]), QUESTION)
    assert "stop strings were not tried: it wrote no words" in untried


def test_a_samplers_own_error_is_not_hidden():
    with pytest.raises(SamplerError, match="received int"):
        check_sampler(ScriptedSampler(lambda transcript, sampling: 7), QUESTION)
