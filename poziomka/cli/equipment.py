"""Tools for a conversation in the terminal: how this model calls them, and the exchange as it is shown."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from poziomka.core.environment import Reply, Session
from poziomka.core.errors import SamplerError
from poziomka.core.sampler import Sampler, Sampling
from poziomka.core.transcript import Author, Transcript
from poziomka.environments.formats import FORMATS, format_of
from poziomka.environments.toolbox import Toolbox
from poziomka.environments.tools import Tool
from poziomka.models.chat import ChatFormat
from poziomka.models.template import TemplateFormat
from poziomka.sampling.local import LocalSampler

MOST = 1000  # calls of a conversation: a reply's tokens bound them sooner
OWN = ("plain", "spelled", "gemma", "fenced")  # formats that no chat template describes


def equipped(chat: ChatFormat, tools: Sequence[Tool], calls: str | None) -> tuple[ChatFormat, Toolbox, bool]:
    """Returns the chat format that tells the model of its tools, the toolbox, and whether it is told of them so.

    Args:
        chat: the model's format.
        tools: what it can call.
        calls: how they are called; None: as the model's chat template describes it, or else in plain marks.

    Raises:
        SettingsError: the tools cannot be called so.
    """
    if calls not in OWN and isinstance(chat, TemplateFormat):
        telling = chat.with_tools([tool.schema for tool in tools])
        native = calls or format_of(telling.source)
        if telling.tells_tools and native not in OWN:
            return telling, Toolbox(tools, native, MOST), True
    symbols = chat.tokenizer.files is None  # a vocabulary that has no words to tell it with
    return chat, Toolbox(tools, calls or _marks(chat, tools), MOST), symbols


def _marks(chat: ChatFormat, tools: Sequence[Tool]) -> str:
    """Returns the plain format, or, where the vocabulary is one of symbols, the one that spells them apart."""
    wide = any(FORMATS["plain"]().refuse(tool) for tool in tools)
    return "hermes:inside" if wide else "plain" if chat.tokenizer.files else "spelled"


def room(sampler: LocalSampler, transcript: Transcript) -> int:
    """Returns how many tokens fit after a transcript.

    Raises:
        SamplerError: none.
    """
    most = sampler.engine.limits.context
    if len(transcript) >= most:
        message = f"the conversation fills the context of {most} tokens: /new begins anew"
        raise SamplerError(message)
    return most - len(transcript)


class Spoken(Sampler):
    """A sampler that somebody listens to, and that writes no more than there is room for."""

    def __init__(self, inner: LocalSampler, hear: Callable[[Author, int], bool]) -> None:
        """Remembers who listens."""
        self._inner = inner
        self._hear = hear

    async def extend(self, transcript: Transcript, sampling: Sampling) -> Transcript:
        """See Sampler.

        Raises:
            SamplerError: there is no room left, or as the sampler.
        """
        transcript = self._inner.read(transcript)
        tokens = min(sampling.tokens, room(self._inner, transcript))
        return await self._inner.stream(transcript, replace(sampling, tokens=tokens), self._hear)


class Shown:
    """A session whose answers somebody sees (a Session)."""

    def __init__(self, inner: Session, show: Callable[[str], None]) -> None:
        """Remembers who looks."""
        self._inner = inner
        self._show = show
        self.after_end = getattr(inner, "after_end", False)

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
