"""Conversation and terminal screen of `poziomka chat`."""

import signal
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from secrets import randbits
from types import FrameType
from typing import TextIO

from poziomka.app.build import load
from poziomka.app.cli.chat.equipment import ChatSampler, Decoded, Shown, read, thinking, thought, tokenizer_of
from poziomka.app.cli.chat.wrap import Wrap
from poziomka.core.environment import Environment, Session
from poziomka.core.errors import ModelError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.rollouts.conversation import converse
from poziomka.core.safety.terminal import behind, visible
from poziomka.core.safety.untrusted import expanded
from poziomka.core.sampler import SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.transcript import CLOSE, THINK, Author, Message, Span, Stop, Transcript
from poziomka.inference.engine import EngineLimits
from poziomka.inference.local import LocalSampler
from poziomka.inference.remote import RemoteSampler
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.text.chat import ChatFormat
from poziomka.models.text.template import TemplateFormat
from poziomka.reports.words import counted
from poziomka.runs.run import Run

DIM, YELLOW, NORMAL = "\x1b[2m", "\x1b[33m", "\x1b[0m"
UNMARKED = (
    "neither this model's vocabulary nor its chat template has <think>, so it was not trained to think: --think is "
    "left out, and it answers without a thought; give the folder of a run whose model learned to think"
)
OWN_DTYPE = "--dtype is left out: a run's weights are in the precision that its recipe names"
CONVERSATION = Problem((), task="chat", key="conversation")  # placeholder: a session of tools needs a problem


def sampling_of(given: Namespace) -> SamplingParams:
    """Returns the sampling settings of a reply from the parsed options of `poziomka chat`."""
    return SamplingParams(
        temperature=given.temperature,
        top_p=given.top_p,
        max_tokens=given.tokens,
        max_thinking_tokens=0
        if given.think is False and given.endpoint is None
        else given.budget,  # a thought that is opened all the same is closed
        min_thinking_tokens=0,
    )


def open_sampler(
    name: str, dtype: str | None, *, think: bool | None, endpoint: str | None = None
) -> tuple[ChatSampler, tuple[str, ...]]:
    """Loads a model; returns a sampler that keeps its caches between turns, and notes about the model.

    Args:
        name: folder of a run, or a name that `load_pretrained` accepts.
        dtype: precision of the weights; None for bfloat16. Ignored for a run, whose recipe sets it.
        think: True opens a thought before each reply, False asks the chat template for none; None leaves the default of
            the model or of the run.
        endpoint: URL of an OpenAI-compatible endpoint that serves the model; None loads it into this process.

    Raises:
        PoziomkaError: the model does not exist or cannot be read.
    """
    if endpoint is not None:
        return RemoteSampler.of(endpoint, name, think=think), ()
    folder = expanded(name, ModelError)
    if (folder / "recipe.toml").is_file():
        sampler, run = load(folder, problems=False)[2], Run.read(folder)
        run.latest()  # adds notes about damaged checkpoints
        sampler.chat, note = _thinking(sampler.chat, think)
        sampler.engine.limits = replace(sampler.engine.limits, park_all=True)
        return sampler, (*run.notes, *sampler.chat.notes, *note, *([OWN_DTYPE] if dtype else []))
    loaded = load_pretrained(name, dtype or "bfloat16")
    chat, note = _thinking(loaded.chat, think)
    return LocalSampler(loaded.model, chat, limits=EngineLimits(park_all=True)), (*loaded.notes, *note)


def _thinking(chat: ChatFormat, think: bool | None) -> tuple[ChatFormat, tuple[str, ...]]:
    """Returns the chat format with --think or --no-think applied, and a note if it cannot be applied.

    The plain format opens every thought; `sampling_of` closes it for --no-think.
    """
    if think is None or not isinstance(chat, TemplateFormat):
        return chat, ()
    if think and not (chat.opens_thought or chat.marks_thoughts):
        return chat, (UNMARKED,)
    return chat.thinking(opens=think), ()


class Screen:
    """Terminal output of a conversation: streams a reply, with the thought dimmed and without its control tokens.

    Control characters in texts are replaced, so that only the escape sequences of this class reach the terminal.

    Args:
        colour: whether the terminal supports dim text; if not, a thought is enclosed in [thought] and [/thought].
        out: stream of replies; None for stdout.
        beside: stream of all other lines, which must not be part of a piped reply; None for `out` with colour, else
            stderr.
        width: columns of the terminal, to wrap lines between words; None for no wrapping.
    """

    def __init__(
        self, *, colour: bool, out: TextIO | None = None, beside: TextIO | None = None, width: int | None = None
    ) -> None:
        """Starts on an empty line."""
        self.colour = colour
        self._wrap = Wrap(width)
        self.out = behind(out or sys.stdout)
        self.beside = behind(beside or (self.out if colour else sys.stderr))
        self._thinking, self._fresh, self._held = False, True, ""

    def aside(self, text: str) -> None:
        """Writes a line that is not part of a reply, dimmed."""
        words = visible(text)
        print(f"{DIM}{words}{NORMAL}" if self.colour else words, file=self.beside, flush=True)

    def begin(self, *, thinking: bool) -> None:
        """Prepares the screen for a new reply.

        Args:
            thinking: whether the reply begins within a thought that the prompt has opened.
        """
        self._thinking, self._fresh, self._held = thinking, True, ""

    def add(self, text: str) -> None:
        """Writes text of the reply; buffers a suffix that may be the beginning of <think> or </think>."""
        self._held += text
        while (mark := self._mark) in self._held:
            before, _, self._held = self._held.partition(mark)
            self._show(before)
            self._turn()
        most = min(len(mark) - 1, len(self._held))
        keep = next((n for n in range(most, 0, -1) if mark.startswith(self._held[-n:])), 0)
        certain = self._held[: len(self._held) - keep]
        self._held = self._held[len(certain) :]
        self._show(certain)

    def tool(self, text: str) -> None:
        """Writes a tool's reply on separate lines; the model's reply continues after them."""
        self._show(self._held)
        self._held = ""
        self._settle()
        if not self._fresh:
            closing = (NORMAL if self.colour else "\n[/thought]") if self._thinking else ""
            print(closing, file=self.out)
        for line in visible(text).strip().splitlines():
            print(f"{YELLOW}  ▸ {line}{NORMAL}" if self.colour else f"  [tool] {line}", file=self.out)
        self.out.flush()
        self._fresh = True

    def end(self) -> None:
        """Ends a reply: writes the buffered text and a line break."""
        self._show(self._held)
        self._settle()
        if self._thinking and not self._fresh:
            self._turn()
        if not self._fresh:
            print(file=self.out, flush=True)

    @property
    def _mark(self) -> str:
        return CLOSE if self._thinking else THINK

    def _show(self, text: str) -> None:
        text = text.lstrip() if self._fresh else text
        if not text:
            return
        if self._fresh and self._thinking:
            print(DIM if self.colour else "[thought]\n", end="", file=self.out)
        self._fresh = False
        print(self._wrap.add(visible(text)), end="", file=self.out, flush=True)

    def _settle(self) -> None:
        """Writes the word that is buffered for wrapping."""
        print(self._wrap.end(), end="", file=self.out, flush=True)

    def _turn(self) -> None:
        """Switches from thought to answer, or back."""
        self._settle()
        if not self._fresh:
            closing = NORMAL if self.colour else "\n[/thought]"
            print(f"{closing}\n" if self._thinking else "\n", file=self.out, flush=True)
        self._thinking, self._fresh = not self._thinking, True


class Talk:
    """A conversation with a model: a transcript that only grows until `begin` starts a new one.

    A model with a task's own vocabulary of symbols has no format for a second question, so that each question begins a
    new conversation.

    Args:
        sampler: sampler of the replies.
        sampling: sampling settings of every reply, except the seed.
        opening: messages that every conversation begins with: a system message, examples.
        seed: seed of the replies; None for a random one.
        toolbox: tools that the model can call; their state is kept for a conversation. None for no tools.
    """

    def __init__(
        self,
        sampler: ChatSampler,
        sampling: SamplingParams,
        opening: Sequence[Message] = (),
        seed: int | None = None,
        toolbox: Environment | None = None,
    ) -> None:
        """Begins a conversation."""
        self.sampler, self.sampling, self.opening = sampler, sampling, opening
        self.seed = randbits(32) if seed is None else seed
        self.toolbox = toolbox
        self.session: Session | None = None
        self.transcript = Transcript()
        self.turn = 0
        self.begin()

    def begin(self) -> None:
        """Begins a new conversation: discards the transcript and the state of the tools."""
        self.close()
        self.transcript = Transcript.of(self.opening, getattr(self.toolbox, "described", None))
        self.session = self.toolbox.open(CONVERSATION) if self.toolbox else None

    def close(self) -> None:
        """Closes the session of the tools."""
        if self.session is not None:
            self.session.close()
        self.session = None

    def ask(self, words: str, screen: Screen) -> str:
        """Sends a message, streams the reply to the screen, and returns a line of statistics about it.

        Ctrl-C stops the reply; the conversation continues with the part that was written.

        Args:
            words: the user's message.
            screen: screen for the reply.

        Raises:
            SamplerError: the message cannot be answered; the conversation is unchanged.
            EnvironmentFailure: a tool failed; the conversation is unchanged.
        """
        tokenizer = tokenizer_of(self.sampler)
        if tokenizer is not None and tokenizer.files is None:
            self.begin()
        asked = read(self.sampler, self.transcript + Span(Author.USER, words))
        self.turn += 1
        stop = (*self.sampling.stop, *(self.toolbox.stop if self.toolbox else ()))
        sampling = replace(self.sampling, seed=seed_of("chat", self.seed, self.turn), stop=stop)
        screen.begin(thinking=thinking(self.sampler, asked))
        decoded = Decoded(tokenizer, screen)
        moments: list[float] = []  # time of each token
        with interruptions() as interrupted:

            def show(text: str) -> None:
                decoded.flush()
                screen.tool(text)

            def on_token(_: Author, token: int | str) -> bool:
                moments.append(time.perf_counter())
                decoded.take(token)
                return not interrupted

            reply = (
                converse(self.sampler, Shown(self.session, show), asked, sampling, on_token)
                if self.session
                else self.sampler.extend(asked, sampling, on_token)
            )
            self.transcript = wait_for(reply)
        decoded.flush()
        screen.end()
        seconds = moments[-1] - moments[0] if moments else 0.0
        return self._line(len(asked.spans), seconds, stopped=bool(interrupted))

    def _line(self, start: int, seconds: float, *, stopped: bool) -> str:
        """Returns a line about the reply: tokens, tool calls, tokens per second after the first, why it was cut."""
        reply = replace(self.transcript, spans=self.transcript.spans[start:])
        written = sum(reply.by(Author.MODEL, Author.FORCED)) or reply.cost
        calls = sum(span.author is Author.ENVIRONMENT for span in reply)
        thoughts = thought(self.sampler, self.transcript)
        parts = [counted(written, "token"), *([f"{thoughts} of them thought"] if thoughts else [])]
        parts += [counted(calls, "call")] if calls else []
        if seconds:
            parts.append(f"{(written - 1) / seconds:.0f} tok/s")
        if stopped:
            parts.append("stopped")
        elif reply.stop is Stop.LENGTH:
            parts.append("cut there: --tokens N allows more")
        return " · ".join(parts)


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """Yields a list that stays empty until Ctrl-C is pressed; a second Ctrl-C raises KeyboardInterrupt."""
    heard: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if heard:
            raise KeyboardInterrupt
        heard.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)
