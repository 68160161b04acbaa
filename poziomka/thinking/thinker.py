"""Thinker: a strategy behind the sampler interface, for evaluation, chat and serving."""

from dataclasses import dataclass, replace

from poziomka.core.errors import EnvironmentFailure
from poziomka.core.rollout import Branch, Cost
from poziomka.core.sampler import OnToken, SamplerWrapper, SamplingParams
from poziomka.core.strategy import Strategy
from poziomka.core.transcript import Author, Correction, Span, Transcript, Tried


@dataclass(frozen=True)
class Thinker(SamplerWrapper):
    """Sampler that runs a strategy for each request and continues the transcript with the strategy's answer.

    Attributes:
        sampler: sampler that the strategy uses.
        strategy: makes one attempt per request.
    """

    strategy: Strategy

    async def extend(
        self, transcript: Transcript, sampling: SamplingParams, on_token: OnToken | None = None
    ) -> Transcript:
        """Returns the transcript continued by one attempt of the strategy: its answering branch.

        The attempt's other branches, such as outvoted replies, are in the transcript's `tried`, and what the attempt
        cost beyond all these tokens in its `correction`, so that an evaluation of this sampler reports the strategy's
        cost. After an earlier reply of the model, the correction has the tokens of judges only.

        Args:
            transcript: the prompt, or a conversation so far.
            sampling: parameters of each request of the strategy.
            on_token: called for the tokens of the answering branch only, after the attempt; its result is ignored.

        Raises:
            SamplerError: the inner sampler raised it.
            EnvironmentFailure: the strategy's attempt has a failure, which is the message.
        """
        prompt = replace(transcript, correction=None)  # or each branch would add it to the cost
        attempt = await self.strategy.attempt(self.sampler, prompt, sampling)
        if attempt.failure is not None:
            raise EnvironmentFailure(attempt.failure)
        answer = attempt.branches[attempt.answer].transcript
        others = [branch.transcript for branch in attempt.branches if branch.transcript is not answer]
        if on_token is not None:
            for span in _written(answer)[len(_written(transcript)) :]:
                for token in span.tokens or [span.text]:
                    on_token(span.author, token)
        return _corrected(answer.aside(_put_aside(answer, other) for other in others), attempt.cost, transcript)


def _corrected(reply: Transcript, cost: Cost, prompt: Transcript) -> Transcript:
    """Returns a reply with the difference between the cost of its attempt and the cost that its tokens show.

    Args:
        reply: the reply, without the correction of the prompt.
        cost: cost of the attempt.
        prompt: the transcript before the reply, whose correction is kept.
    """
    own, parts = Cost.of([Branch(reply)]), [prompt.correction or Correction(), reply.correction or Correction()]
    first = prompt.cost == 0  # later, the cost of an attempt includes earlier replies, once for each branch
    correction = Correction(
        sampled=sum(part.sampled for part in parts) + (cost.sampled - own.sampled) * first,
        read=sum(part.read for part in parts) + (cost.read - own.read) * first,
        judged=sum(part.judged for part in parts) + cost.judged - own.judged,
        latency=sum(part.latency for part in parts) + (cost.latency - own.latency) * first,
    )
    return replace(reply, correction=None if correction == Correction() else correction)


def _written(transcript: Transcript) -> list[Span]:
    """Returns the spans of the model and those forced into its replies."""
    return [span for span in transcript if span.author in (Author.MODEL, Author.FORCED)]


def _shared(one: Transcript, other: Transcript) -> int:
    """Returns the number of leading spans that two transcripts share.

    A span that was sampled for one of them is shared only if both have the same object: two replies of equal text were
    sampled twice, and both cost tokens.
    """
    count = 0
    for a, b in zip(one, other, strict=False):
        read = a.author is not Author.MODEL and (a.author, a.text) == (b.author, b.text)
        if a is not b and not read:
            break
        count += 1
    return count


def _put_aside(answer: Transcript, other: Transcript) -> Tried:
    """Returns the branch `other` as a discarded continuation: its spans after those it shares with the answer."""
    count = _shared(answer, other)
    return Tried(sum(map(len, answer.spans[:count])), other.spans[count:])
