"""Conformance check of samplers: they only append, repeat by seed, keep limits, and attribute spans to authors."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from poziomka.core.errors import PoziomkaError, SamplerError
from poziomka.core.sampler import Sampler, SamplingParams, WeightHost
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Stop, Transcript, split_thought
from poziomka.testing.rule import rule


def check_sampler(
    sampler: Sampler,
    transcript: Transcript,
    *,
    sampling: SamplingParams | None = None,
    weights: Mapping[str, Any] | None = None,
) -> list[str]:
    """Checks that a sampler keeps its contract; returns a sentence for each rule that could not be checked.

    A sampler must only append to a transcript, repeat a reply by its seed, keep limits, and name the author of each
    span. Thinking budgets and stop strings are checked on its unconstrained replies, so give a transcript and settings
    with which it thinks and answers.

    Args:
        sampler: the sampler to check.
        transcript: transcript to continue, for example a chat message.
        sampling: settings of the requests, which single checks change; None for 64 tokens.
        weights: weights by name to check `load_weights` with; None leaves it unchecked.

    Raises:
        AssertionError: the sampler breaks a rule; the message names the rule and the observed values.
    """
    sampling = sampling or SamplingParams(max_tokens=64, seed=1)
    return asyncio.run(_check(sampler, transcript, sampling, weights))


@dataclass(frozen=True)
class _Case:
    """A sampler with a request and its reply, on which the rules are checked."""

    sampler: Sampler
    before: Transcript
    sampling: SamplingParams
    after: Transcript  # result of `extend` for the two above

    async def extend(self, **changes: object) -> Transcript:
        """Returns the reply to the same request with some sampling settings changed."""
        return await self.sampler.extend(self.before, replace(self.sampling, **changes))  # type: ignore[arg-type]  # any setting may change

    def new(self, after: Transcript) -> list[Span]:
        """Returns the spans that a reply added to the transcript."""
        return appended(self.before, after)


async def _check(
    sampler: Sampler, before: Transcript, sampling: SamplingParams, weights: Mapping[str, Any] | None
) -> list[str]:
    ids = [list(span.tokens or ()) for span in before]
    case = _Case(sampler, before, sampling, await sampler.extend(before, sampling))
    untried = []
    for check in RULES:
        reason = await check(case)
        untried += [reason] if reason else []
    kept = ids == [list(span.tokens or ()) for span in before]
    rule(kept, "a sampler leaves the transcript it was given as it was: its tokens changed")
    reason = await _loads(case, weights)  # last, because it changes the sampler
    return untried + ([reason] if reason else [])


def appended(before: Transcript, after: Transcript) -> list[Span]:
    """Returns the spans that `after` has in addition to `before`.

    Spans without tokens may have received tokens, with template spans around them; nothing else may have changed.

    Raises:
        AssertionError: anything else has changed.
    """
    rest = list(after.spans)
    read = True  # whether all spans so far had tokens, in which case no span may be inserted
    for span in before.spans:
        while rest and not _same(span, rest[0]):
            rule(
                rest[0].author is Author.TEMPLATE and not (read and span.tokens is not None),
                f"a sampler only appends: {span!r} became {rest[0]!r}",
            )
            rest.pop(0)
        rule(rest, f"a sampler only appends: {span!r} is gone")
        read = read and span.tokens is not None
        rest.pop(0)
    return rest


def _same(given: Span, found: Span) -> bool:
    return found == (given if given.tokens is not None else replace(given, tokens=found.tokens))


def _written(spans: list[Span]) -> int:
    return sum(len(span) for span in spans if span.author is Author.MODEL)


def _text(spans: list[Span]) -> str:
    return "".join(span.text for span in spans if span.author is Author.MODEL)


def _words(transcript: Transcript) -> list[tuple[str, str, object, object]]:
    return [(span.author.value, span.text, span.tokens, span.stop) for span in transcript]


async def _describes(case: _Case) -> str | None:
    new = case.new(case.after)
    rule(any(span.author is Author.MODEL for span in new), f"a sampler writes as the model: it appended {new!r}")
    for span in new:
        rule(span.author not in (Author.USER, Author.SYSTEM), f"nobody speaks for the user: it appended {span!r}")
        if span.author is not Author.MODEL:
            bare = span.logprobs is None and span.stop is None
            rule(bare, f"log-probabilities and stops are the model's: {span!r} has some")
            continue
        rule(span.stop is not None, f"a model's span says why it ended: {span!r} does not")
        if span.tokens is not None:
            rule(span.logprobs is not None, f"a span with tokens has their log-probabilities: {span!r} has none")
            wrong = [value for value in span.logprobs or () if not (math.isfinite(value) and value <= 0)]
            rule(not wrong, f"a log-probability is finite and at most 0: received {wrong}")
    last = case.after.stop
    over = last not in (Stop.SWAP, Stop.THOUGHT)
    rule(over, f"a reply ends for a reason: its last span says {last!r}, after which another follows")
    read = all(span.tokens is not None for span in case.after)
    rule(not read or case.after.tokenizer, "a transcript with tokens names its tokenizer: received None")
    return None if read else "tokens and log-probabilities were not tried: it gives none"


async def _repeats(case: _Case) -> str | None:
    again = await case.extend()
    same = _words(again) == _words(case.after)
    rule(same, f"one seed gives one reply: received {case.after.reply!r} and then {again.reply!r}")
    return None


async def _branches(case: _Case) -> str | None:
    samplings = [replace(case.sampling, seed=case.sampling.seed + more) for more in (0, 1, 2)]
    samplings.append(replace(case.sampling, max_tokens=1))
    branches = await case.sampler.branch(case.before, samplings)
    rule(len(branches) == len(samplings), f"branch gives one reply a sampling: {len(samplings)} gave {len(branches)}")
    for sampling, branch in zip(samplings, branches, strict=True):
        alone = await case.sampler.extend(case.before, sampling)
        same = _words(alone) == _words(branch)
        rule(same, f"branch writes what extend writes: {branch.reply!r} is not {alone.reply!r} ({sampling})")
    rule(not await case.sampler.branch(case.before, []), "branch without samplings gives no replies")
    return None


async def _limits(case: _Case) -> str | None:
    if not _written(case.new(case.after)):
        return "the limit of tokens was not tried: it gives no tokens"
    for limit in (1, 3):
        cut = await case.extend(max_tokens=limit)
        written = _written(case.new(cut))
        rule(1 <= written <= limit, f"a request for {limit} tokens writes at most as many: it wrote {written}")
        short = written < limit or cut.stop is not Stop.LENGTH
        rule(
            not short or written == _written(case.new(case.after)), f"{limit} tokens cut a reply: it says {cut.stop!r}"
        )
    return None


async def _stops(case: _Case) -> str | None:
    free = _text(case.new(case.after))
    words = [word for word in free.split() if THINK not in word and CLOSE not in word and word.isprintable()]
    if not words:
        return "stop strings were not tried: it wrote no words"
    phrase = words[len(words) // 2]
    cut = await case.extend(stop=(phrase,))
    text = _text(case.new(cut))
    rule(phrase in text, f"a stop string is kept: {phrase!r} is not in {text!r}")
    before, _, after = text.partition(phrase)
    rule(free.startswith(before + phrase), f"a stop string changes nothing before it: {text!r} does not begin {free!r}")
    rule(len(after.split()) <= 1, f"a reply ends at a stop string: {after!r} came after {phrase!r}")
    rule(cut.stop is Stop.PHRASE, f"a reply that a stop string ended says so: it says {cut.stop!r}")
    return None


def _first_thought(spans: list[Span]) -> str:
    return _text(spans).partition(CLOSE)[0].rpartition(THINK)[2].strip()


async def _closes(case: _Case) -> str | None:
    free = _first_thought(case.new(case.after))
    if not free or not split_thought(case.after.reply)[0]:
        return "budgets of thought were not tried: it did not think"
    opening = 0
    for most in (0, 2):
        new = case.new(await case.extend(max_thinking_tokens=most))
        forced = [number for number, span in enumerate(new) if span.author is Author.FORCED and CLOSE in span.text]
        thought = _first_thought(new[: forced[0]] if forced else new)
        rule(
            forced or (most and thought == free),
            f"a thought at its limit is closed by forced words: with max_thinking_tokens {most} the reply was {new!r}",
        )
        written = _written(new[: forced[0]]) if forced else 0
        opening = written if most == 0 else opening  # tokens that open the thought
        rule(most or not thought, f"max_thinking_tokens 0 leaves no thought: received {thought!r}")
        rule(written - opening <= most, f"max_thinking_tokens {most} is a limit: it thought {written - opening} tokens")
    return None


async def _persists(case: _Case) -> str | None:
    written = _written(case.new(case.after))
    if not written or CLOSE not in _text(case.new(case.after)):
        return "the least length of a thought was not tried: it closed none"
    longer = await case.extend(min_thinking_tokens=written, max_thinking_tokens=None, max_tokens=written + 8)
    new = case.new(longer)
    closed = CLOSE in _text(new)
    rule(
        not closed or _written(new) > written,
        f"min_thinking_tokens {written} keeps a thought open: it closed one within {_written(new)} tokens",
    )
    return None


async def _goes_on(case: _Case) -> str | None:
    question = Span(Author.ENVIRONMENT, " " + " ".join(span.text.strip() for span in case.before if span.text.strip()))
    asked = case.after + question
    answered = await case.sampler.extend(asked, case.sampling)
    new = appended(asked, answered)
    rule(any(span.author is Author.MODEL for span in new), f"a sampler goes on after an answer: it appended {new!r}")
    kept = answered.tokens[: len(case.after)] == case.after.tokens
    rule(kept, "tokens are written once: those of an earlier turn changed")
    return None


async def _scores(case: _Case) -> str | None:
    temperature = (
        case.sampling.temperature or 1.0
    )  # at temperature 0 a sampler may return log-probability 0 or the model's own
    reply = await case.extend(temperature=temperature)
    try:
        scores = await case.sampler.score(reply, temperature)
    except SamplerError as error:
        return f"scoring was not tried: {error}"
    count = len(reply)
    rule(len(scores) == count, f"score gives one number a token: {count} tokens gave {len(scores)}")
    rule(not scores or scores[0] == 0, f"nothing comes before the first token: its score is {scores[0]}")
    place = 0
    for span in reply:
        for number, logprob in enumerate(span.logprobs or ()):
            found = scores[place + number]
            near = abs(found - logprob) <= 1e-3
            rule(near, f"score repeats what was sampled: token {place + number} had {logprob}, and now {found}")
        place += len(span)
    return None


async def _looks_ahead(case: _Case) -> str | None:
    """Checks that `next_logprobs` returns the log-probability with which the first token of a reply was sampled."""
    began = await case.extend(max_tokens=1, temperature=1.0)
    first = next((span for span in case.new(began) if span.author is Author.MODEL and span.logprobs), None)
    if first is None or first.logprobs is None:
        return "log-probabilities of next tokens were not tried: it gives none"
    before = began.cut(len(began) - 1)
    try:
        found = await case.sampler.next_logprobs(before, [first.text])
    except SamplerError as error:
        return f"log-probabilities of next tokens were not tried: {error}"
    near = abs(found.logprobs[0] - first.logprobs[0]) <= 1e-3
    rule(near, f"next_logprobs repeats what was sampled: {first.text!r} had {first.logprobs[0]}, and now {found}")
    return None


async def _streams(case: _Case) -> str | None:
    """Checks that `on_token` gets the tokens of the reply in order, and ends the reply by returning False."""
    heard: list[tuple[Author, int | str]] = []

    def on_token(author: Author, token: int | str) -> bool:
        heard.append((author, token))
        return True

    streamed = await case.sampler.extend(case.before, case.sampling, on_token)
    rule(_words(streamed) == _words(case.after), "a reply that is streamed is the reply that is not streamed")
    written = [(span.author, token) for span in case.new(case.after) for token in span.tokens or ()]
    if not case.sampler.capabilities.token_ids:
        return "streaming was compared without token ids"
    written = [pair for pair in written if pair[0] is not Author.TEMPLATE]
    rule(
        heard == written, f"on_token gets every token of a reply in order: {len(written)} written, {heard!r:.200} heard"
    )
    rule(
        _written(case.new(await case.sampler.extend(case.before, case.sampling, lambda *_: False))) <= 1,
        "a reply ends where on_token returns False",
    )
    return None


async def _refuses(case: _Case) -> str | None:
    if case.after.tokenizer is None:
        return "another tokenizer's transcript was not tried: it names no tokenizer"
    foreign = replace(case.after, tokenizer="nobody-has-this-tokenizer")
    try:
        await case.sampler.extend(foreign, case.sampling)
    except PoziomkaError:
        return None
    rule(holds=False, broken="a transcript that another tokenizer read is refused: it was extended")
    return None


async def _loads(case: _Case, weights: Mapping[str, Any] | None) -> str | None:
    if weights is None:
        return "loading weights was not tried: no weights were given"
    if not isinstance(case.sampler, WeightHost):
        return f"loading weights was not tried: {type(case.sampler).__name__} is no WeightHost"
    await case.sampler.load_weights("a-new-version", weights)
    policies = {span.policy for span in case.new(await case.extend()) if span.author is Author.MODEL}
    rule(
        policies == {"a-new-version"},
        f"spans name the version that wrote them: after load_weights, received {policies}",
    )
    return None


RULES: tuple[Callable[[_Case], Awaitable[str | None]], ...] = (
    _describes,
    _repeats,
    _branches,
    _limits,
    _stops,
    _closes,
    _persists,
    _goes_on,
    _scores,
    _looks_ahead,
    _streams,
    _refuses,
)
