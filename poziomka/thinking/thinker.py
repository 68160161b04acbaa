"""A strategy as a sampler: evaluation, chat and serving run any strategy by way of it."""

from dataclasses import dataclass

from poziomka.core.errors import EnvironmentFailure
from poziomka.core.sampler import Capabilities, OnToken, Sampler, Sampling
from poziomka.core.strategy import Strategy
from poziomka.core.transcript import Transcript, Tried


@dataclass(frozen=True)
class Thinker(Sampler):
    """Continues a transcript with the answer of a strategy.

    Attributes:
        sampler: sampler that the strategy uses.
        strategy: makes one attempt per request.
    """

    sampler: Sampler
    strategy: Strategy

    @property
    def capabilities(self) -> Capabilities:
        """Those of the inner sampler."""
        return self.sampler.capabilities

    async def extend(self, transcript: Transcript, sampling: Sampling, on_token: OnToken | None = None) -> Transcript:
        """Returns the branch that answers; the other branches are in its `tried`.

        `on_token` gets the tokens of the answer alone, once it is chosen; its result is ignored.

        Raises:
            SamplerError: as the inner sampler.
            EnvironmentFailure: the attempt failed.
        """
        attempt = await self.strategy.attempt(self.sampler, transcript, sampling)
        if attempt.failure is not None:
            raise EnvironmentFailure(attempt.failure)
        answer = attempt.branches[attempt.answer].transcript
        others = [branch.transcript for branch in attempt.branches if branch.transcript is not answer]
        if on_token is not None:
            for span in answer.spans[_shared(answer, transcript) :]:
                for token in span.tokens or [span.text]:
                    on_token(span.author, token)
        return answer.aside(_put_aside(answer, other) for other in others)

    async def score(self, transcript: Transcript, temperature: float = 1.0) -> list[float]:
        """Returns the log-probabilities of the inner sampler; see Sampler."""
        return await self.sampler.score(transcript, temperature)


def _shared(one: Transcript, other: Transcript) -> int:
    """Returns how many spans two transcripts begin with that have the same author and text."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if (a.author, a.text, a.stop) != (b.author, b.text, b.stop):
            break
        count += 1
    return count


def _put_aside(answer: Transcript, other: Transcript) -> Tried:
    """Returns the part of a branch that the answer does not share."""
    count = _shared(answer, other)
    return Tried(sum(map(len, answer.spans[:count])), other.spans[count:])
