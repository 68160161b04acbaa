"""Thinking budgets over an endpoint: one request ends at the budget, and another one continues its reply."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from poziomka.core.sampler import OnToken, SamplingParams
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Stop, Transcript

Extend = Callable[[Transcript, SamplingParams, OnToken | None], Awaitable[Transcript]]

FORCED = f"\n{CLOSE}\n\n"  # as chat templates of reasoning models write it


async def within_budget(
    extend: Extend, transcript: Transcript, sampling: SamplingParams, on_token: OnToken | None
) -> Transcript:
    """Returns a transcript with a reply of at most `sampling.max_thinking_tokens` thinking tokens.

    The first request ends at the budget. If the thought is still open there, it is closed by a forced "</think>". In
    both cases a second request continues the reply. The tag "<think>" counts as a token if the model writes it. A
    thought that is opened after the forced end is not bounded.

    Args:
        extend: makes one request.
        transcript: the prompt, or a conversation so far.
        sampling: parameters of the reply.
        on_token: called for each piece of the reply; None for no calls.
    """
    budget = sampling.max_thinking_tokens or 0
    spent, thinking = thought_in(transcript)
    left = max(budget - spent, 0)
    if thinking and not left:
        return await _closed(extend, transcript, sampling, on_token)
    first = min(max(left, 1), sampling.max_tokens)
    heard = _Heard(on_token)
    reply = await extend(transcript, replace(sampling, max_tokens=first), heard.hear if left and on_token else None)
    written = reply.cost - transcript.cost
    new = reply.spans[len(transcript.spans) :]
    thinking = thought_in(reply)[1] or not any(span.text for span in new)  # the tag alone can be no text
    cut = reply.stop is Stop.LENGTH and not heard.over and (not written or written >= first)
    if cut and thinking and not left:  # only the tag was within the budget
        reply = replace(reply, spans=(*transcript.spans, replace(new[-1], text=THINK, usage=written)))
    if not left and on_token is not None:
        text = "".join(span.text for span in reply.spans[len(transcript.spans) :])
        heard.hear(Author.MODEL, text)
    rest = sampling.max_tokens - first
    if not cut or heard.over or not rest:
        return reply
    sampling = replace(sampling, max_tokens=rest)
    if thinking:
        opened = reply if thought_in(reply)[1] else reply + Span(Author.TEMPLATE, THINK)
        return await _closed(extend, opened, sampling, on_token)
    return _joined(reply, await extend(reply, sampling, on_token))


async def _closed(
    extend: Extend, transcript: Transcript, sampling: SamplingParams, on_token: OnToken | None
) -> Transcript:
    """Returns a transcript whose thought is closed by a forced "</think>", with the answer after it."""
    closed = transcript + Span(Author.FORCED, FORCED)
    if on_token is not None and not on_token(Author.FORCED, FORCED):
        return closed + Span(Author.MODEL, "", stop=Stop.LENGTH)
    return await extend(closed, sampling, on_token)


def _joined(before: Transcript, after: Transcript) -> Transcript:
    """Returns `after` with the last span of `before` and the next one as one span."""
    place = len(before.spans)
    last, following = after.spans[place - 1], after.spans[place]
    whole = replace(
        following,
        text=last.text + following.text,
        seconds=last.seconds + following.seconds,
        usage=last.usage + following.usage,
    )
    return replace(after, spans=(*after.spans[: place - 1], whole, *after.spans[place + 1 :]))


def thought_in(transcript: Transcript) -> tuple[int, bool]:
    """Returns the number of the model's thinking tokens since the last user message, and whether a thought is open."""
    spent, opened = 0, False
    for span in transcript:
        if span.author in (Author.USER, Author.SYSTEM):
            spent, opened = 0, False
            continue
        spent += span.cost if opened or THINK in span.text else 0
        opened = thinks_after(span.text, opened=opened)
    return spent, opened


def thinks_after(text: str, *, opened: bool = False) -> bool:
    """Returns whether a thought is open after a text: its last tag decides, or `opened` if it has none."""
    begins, ends = text.rfind(THINK), text.rfind(CLOSE)
    return opened if begins == ends else begins > ends


@dataclass
class _Heard:
    """Callback that remembers whether the wrapped one ended the reply."""

    on_token: OnToken | None
    over: bool = False

    def hear(self, author: Author, token: int | str) -> bool:
        """Passes a piece on; returns False to end the reply."""
        self.over = self.on_token is not None and not self.on_token(author, token)
        return not self.over
