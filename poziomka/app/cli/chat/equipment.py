"""Wrappers of sampler and session that stream a conversation's tokens and tool replies to the terminal."""

from collections.abc import Callable

from poziomka.core.environment import Reply, Session, goes_on
from poziomka.core.errors import SamplerError
from poziomka.core.transcript import Transcript
from poziomka.inference.local import LocalSampler

MOST = 1000  # largest number of tool calls of a conversation; the tokens of a reply limit them sooner


def demand_room(sampler: LocalSampler, transcript: Transcript) -> None:
    """Raises SamplerError if a transcript fills the sampler's context."""
    most = sampler.context
    if most is not None and len(transcript) >= most:
        message = f"the conversation fills the context of {most} tokens: /new begins anew"
        raise SamplerError(message)


class Shown:
    """Wrapper of a session of tools that passes the text of each tool's reply to a callback (implements Session).

    Args:
        inner: the wrapped session.
        show: called with the text of each span of a reply.
    """

    def __init__(self, inner: Session, show: Callable[[str], None]) -> None:
        """Stores session and callback."""
        self._inner = inner
        self._show = show
        self.after_end = getattr(inner, "after_end", False)

    def unfinished(self, transcript: Transcript) -> bool:
        """Whether the model must continue after its last stop string (see Session)."""
        return goes_on(self._inner, transcript)

    async def reply(self, transcript: Transcript) -> Reply | None:
        """Returns the wrapped session's reply, after passing its text to the callback; None if there is none."""
        reply = await self._inner.reply(transcript)
        if reply is not None:
            for span in (reply.span, *reply.more):
                self._show(span.text)
        return reply

    def fork(self) -> "Shown":
        """Returns a fork of the wrapped session with the same callback."""
        return Shown(self._inner.fork(), self._show)

    def close(self) -> None:
        """Closes the wrapped session."""
        self._inner.close()
