"""Tools for a conversation in the terminal: the exchange as it is shown."""

from collections.abc import Callable

from poziomka.core.environment import Reply, Session, goes_on
from poziomka.core.errors import SamplerError
from poziomka.core.sampler import Sampler, Sampling
from poziomka.core.transcript import Author, Transcript
from poziomka.inference.local import LocalSampler

MOST = 1000  # calls of a conversation: a reply's tokens bound them sooner


def demand_room(sampler: LocalSampler, transcript: Transcript) -> None:
    """Raises SamplerError where no token fits after a transcript."""
    most = sampler.context
    if most is not None and len(transcript) >= most:
        message = f"the conversation fills the context of {most} tokens: /new begins anew"
        raise SamplerError(message)


class Spoken(Sampler):
    """A sampler that somebody listens to."""

    def __init__(self, inner: LocalSampler, hear: Callable[[Author, int], bool]) -> None:
        """Remembers who listens."""
        self._inner = inner
        self._hear = hear

    async def extend(self, transcript: Transcript, sampling: Sampling) -> Transcript:
        """See Sampler.

        Raises:
            SamplerError: as the sampler.
        """
        return await self._inner.stream(transcript, sampling, self._hear)


class Shown:
    """A session whose answers somebody sees (a Session)."""

    def __init__(self, inner: Session, show: Callable[[str], None]) -> None:
        """Remembers who looks."""
        self._inner = inner
        self._show = show
        self.after_end = getattr(inner, "after_end", False)

    def unfinished(self, transcript: Transcript) -> bool:
        """See Session."""
        return goes_on(self._inner, transcript)

    async def reply(self, transcript: Transcript) -> Reply | None:
        """See Session."""
        reply = await self._inner.reply(transcript)
        if reply is not None:
            for span in (reply.span, *reply.more):
                self._show(span.text)
        return reply

    def fork(self) -> "Shown":
        """See Session."""
        return Shown(self._inner.fork(), self._show)

    def close(self) -> None:
        """See Session."""
        self._inner.close()
