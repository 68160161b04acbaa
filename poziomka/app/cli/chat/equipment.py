"""Parts of a conversation in the terminal: tokens as text, and the replies of tools as they come."""

from collections.abc import Callable
from typing import Protocol

from poziomka.core.environment import Reply, Session, goes_on
from poziomka.core.errors import SamplerError
from poziomka.core.transcript import Transcript
from poziomka.inference.endpoint.budget import thought_in as thought_in_text
from poziomka.inference.local import LocalSampler
from poziomka.inference.remote import RemoteSampler
from poziomka.inference.spans import thought_in
from poziomka.models.text.chat import ChatFormat
from poziomka.models.text.tokenizer import Tokenizer

MOST = 1000  # largest number of tool calls of a conversation; the tokens of a reply limit them sooner
HALF = "\ufffd"  # decoded text of an incomplete character

ChatSampler = LocalSampler | RemoteSampler


def format_of(sampler: ChatSampler) -> ChatFormat | None:
    """Returns the chat format of a sampler; None for an endpoint, which has its own."""
    return sampler.chat if isinstance(sampler, LocalSampler) else None


def tokenizer_of(sampler: ChatSampler) -> Tokenizer | None:
    """Returns the tokenizer of a sampler; None for an endpoint, whose tokens are texts."""
    return sampler.chat.tokenizer if isinstance(sampler, LocalSampler) else None


def read(sampler: ChatSampler, transcript: Transcript) -> Transcript:
    """Returns a transcript as the sampler continues it: with tokens, if the sampler has token ids.

    Raises:
        SamplerError: the chat format rejects the messages, or they fill the context.
    """
    if isinstance(sampler, RemoteSampler):
        return transcript
    asked = sampler.read(transcript)
    demand_room(sampler, asked)
    return asked


def thinking(sampler: ChatSampler, asked: Transcript) -> bool:
    """Returns whether the next reply begins within a thought that the prompt opens."""
    if isinstance(sampler, RemoteSampler):
        return sampler.opens_thought
    return thought_in(asked, sampler.chat.tokenizer)[1]


def thought(sampler: ChatSampler, transcript: Transcript) -> int:
    """Returns the number of thinking tokens since the last user message."""
    if isinstance(sampler, RemoteSampler):
        return thought_in_text(transcript)[0]
    return thought_in(transcript, sampler.chat.tokenizer)[0]


def demand_room(sampler: LocalSampler, transcript: Transcript) -> None:
    """Raises SamplerError if a transcript fills the sampler's context."""
    most = sampler.context
    if most is not None and len(transcript) >= most:
        message = f"the conversation fills the context of {most} tokens: /new begins anew"
        raise SamplerError(message)


class Writer(Protocol):
    """Interface of a screen that text of a reply is written to."""

    def add(self, text: str) -> None:
        """Writes text."""


class Decoded:
    """Text of tokens while they arrive: ids are decoded, with incomplete characters held back, and texts passed on.

    Args:
        tokenizer: decodes token ids; None for tokens that are texts.
        screen: gets each piece of text.
    """

    def __init__(self, tokenizer: Tokenizer | None, screen: Writer) -> None:
        """Stores the arguments."""
        self._tokenizer, self._screen = tokenizer, screen
        self._waiting: list[int] = []  # tokens since the last whole character
        self._shown = 0  # characters of them that were passed on

    def take(self, token: int | str) -> None:
        """Passes on the text that the next token completes."""
        if self._tokenizer is None:
            self._screen.add(str(token))
            return
        self._waiting.append(int(token))
        text = self._tokenizer.decode(self._waiting)
        self._add(text.rstrip(HALF))  # the bytes of its last characters may not be complete
        if not text.endswith(HALF):
            self._forget()

    def flush(self) -> None:
        """Passes on the text that was held back."""
        if self._tokenizer is not None:
            self._add(self._tokenizer.decode(self._waiting))
            self._forget()

    def _add(self, text: str) -> None:
        self._screen.add(text[self._shown :])
        self._shown = max(self._shown, len(text))

    def _forget(self) -> None:
        self._waiting.clear()
        self._shown = 0


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
