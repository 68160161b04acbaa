"""A conversation and the screen that it is shown on: what `poziomka chat` is made of."""

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

from poziomka.cli.equipment import Shown, Spoken, demand_room
from poziomka.cli.wrap import Wrap
from poziomka.core.answers import CLOSE, THINK
from poziomka.core.collect import wait_for
from poziomka.core.environment import Environment, Session, converse
from poziomka.core.errors import ModelError
from poziomka.core.problem import Problem
from poziomka.core.sampler import Sampling
from poziomka.core.seeds import seed_of
from poziomka.core.terminal import behind, visible
from poziomka.core.transcript import Author, Message, Span, Stop, Transcript
from poziomka.core.untrusted import expanded
from poziomka.models.chat import ChatFormat
from poziomka.models.pretrained import load_pretrained
from poziomka.models.template import TemplateFormat
from poziomka.reports.words import counted
from poziomka.runs.run import Run
from poziomka.sampling.engine import EngineLimits
from poziomka.sampling.local import LocalSampler
from poziomka.sampling.spans import thought_in
from poziomka.training.build import load

DIM, YELLOW, NORMAL = "\x1b[2m", "\x1b[33m", "\x1b[0m"
UNMARKED = (
    "neither this model's vocabulary nor its chat template has <think>, so it was not trained to think: --think is "
    "left out, and it answers without a thought; give the folder of a run whose model learned to think"
)
OWN_DTYPE = "--dtype is left out: a run's weights are in the precision that its recipe names"
HALF = "\ufffd"  # what half a character reads as
CONVERSATION = Problem("chat", "conversation", ())  # what a session of tools is about


def sampling_of(given: Namespace) -> Sampling:
    """Returns the settings of a reply that the command line names."""
    return Sampling(
        temperature=given.temperature,
        top_p=given.top_p,
        tokens=given.tokens,
        think_most=0 if given.think is False else given.budget,  # a thought that is opened all the same is closed
        think_least=0,
    )


def open_sampler(name: str, dtype: str | None, *, think: bool | None) -> tuple[LocalSampler, tuple[str, ...]]:
    """Returns a sampler that keeps the states of what it read, and sentences about its model.

    Args:
        name: the folder of a run, or what `load_pretrained` takes.
        dtype: of the weights; None for bfloat16. A run has its own.
        think: open a thought before each reply, or ask the template for none; None as the model or the run has it.

    Raises:
        PoziomkaError: there is no such model, or it cannot be read.
    """
    folder = expanded(name, ModelError)
    if (folder / "recipe.toml").is_file():
        sampler, run = load(folder, problems=False)[2], Run.read(folder)
        run.latest()  # notes what is damaged
        sampler.chat, note = _thinking(sampler.chat, think)
        sampler.engine.limits = replace(sampler.engine.limits, park_all=True)
        return sampler, (*run.notes, *sampler.chat.notes, *note, *([OWN_DTYPE] if dtype else []))
    loaded = load_pretrained(name, dtype or "bfloat16")
    chat, note = _thinking(loaded.chat, think)
    return LocalSampler(loaded.model, chat, limits=EngineLimits(park_all=True)), (*loaded.notes, *note)


def _thinking(chat: ChatFormat, think: bool | None) -> tuple[ChatFormat, tuple[str, ...]]:
    """Returns the format as --think and --no-think have it, and a sentence where it cannot be so.

    The plain format opens every thought; what --no-think makes of that is `sampling_of`'s.
    """
    if think is None or not isinstance(chat, TemplateFormat):
        return chat, ()
    if think and not (chat.opens_thought or chat.marks_thoughts):
        return chat, (UNMARKED,)
    return chat.thinking(opens=think), ()


class Screen:
    """Writes a reply as it comes: the thought dim and apart, its marks not shown.

    Args:
        colour: whether the terminal knows dim letters; else a thought stands between lines that say so.
        out: where replies go; None for standard output.
        beside: where everything else goes, which a pipe should not take for a reply.
        width: columns of the terminal, where lines of a reply break between words; None: nowhere.

    Whatever it is given is cleaned; only its own marks reach the terminal as they are.
    """

    def __init__(
        self, *, colour: bool, out: TextIO | None = None, beside: TextIO | None = None, width: int | None = None
    ) -> None:
        """Starts with nothing on the line."""
        self.colour = colour
        self._wrap = Wrap(width)
        self.out = behind(out or sys.stdout)
        self.beside = behind(beside or (self.out if colour else sys.stderr))
        self._thinking, self._fresh, self._held = False, True, ""

    def aside(self, text: str) -> None:
        """Writes a line that belongs to nobody's words."""
        words = visible(text)
        print(f"{DIM}{words}{NORMAL}" if self.colour else words, file=self.beside, flush=True)

    def begin(self, *, thinking: bool) -> None:
        """Begins a reply."""
        self._thinking, self._fresh, self._held = thinking, True, ""

    def add(self, text: str) -> None:
        """Writes what is certain: a text that may be the beginning of a mark waits for its end."""
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
        """Writes what a tool said, on lines of its own; the reply goes on after them."""
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
        """Ends a reply: writes what waited, and goes to the next line."""
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
        """Writes the word that waited for its end."""
        print(self._wrap.end(), end="", file=self.out, flush=True)

    def _turn(self) -> None:
        """Goes from thought to answer, or back."""
        self._settle()
        if not self._fresh:
            closing = NORMAL if self.colour else "\n[/thought]"
            print(f"{closing}\n" if self._thinking else "\n", file=self.out, flush=True)
        self._thinking, self._fresh = not self._thinking, True


class Talk:
    """A conversation, which only grows until it begins anew.

    A vocabulary of symbols has no format for a second question, so there each question is a conversation.

    Args:
        sampler: who answers.
        sampling: settings of every reply; the seed is set here.
        opening: messages that every conversation begins with: a system message, examples.
        seed: names the randomness; None for another one every time.
        toolbox: what the model can call; its state is kept until the conversation begins anew. None for nothing.
    """

    def __init__(
        self,
        sampler: LocalSampler,
        sampling: Sampling,
        opening: Sequence[Message] = (),
        seed: int | None = None,
        toolbox: Environment | None = None,
    ) -> None:
        """Begins."""
        self.sampler, self.sampling, self.opening = sampler, sampling, opening
        self.seed = randbits(32) if seed is None else seed
        self.toolbox = toolbox
        self.session: Session | None = None
        self.transcript = Transcript()
        self.turn = 0
        self.begin()

    def begin(self) -> None:
        """Forgets what was said, and what tools remember of it."""
        self.close()
        self.transcript = Transcript.of(self.opening, getattr(self.toolbox, "described", None))
        self.session = self.toolbox.open(CONVERSATION) if self.toolbox else None

    def close(self) -> None:
        """Closes what the tools hold."""
        if self.session is not None:
            self.session.close()
        self.session = None

    def ask(self, words: str, screen: Screen) -> str:
        """Says `words`, shows the reply as it is written, and returns a line about it.

        Ctrl-C stops the reply; the conversation goes on from as far as it came.

        Raises:
            SamplerError: the words cannot be answered; the conversation stands where it stood.
            EnvironmentFailure: a tool failed, likewise.
        """
        tokenizer = self.sampler.chat.tokenizer
        if tokenizer.files is None:
            self.begin()
        asked = self.sampler.read(self.transcript + Span(Author.USER, words))
        demand_room(self.sampler, asked)
        self.turn += 1
        stop = (*self.sampling.stop, *(self.toolbox.stop if self.toolbox else ()))
        sampling = replace(self.sampling, seed=seed_of("chat", self.seed, self.turn), stop=stop)
        screen.begin(thinking=thought_in(asked, tokenizer)[1])
        waiting: list[int] = []  # tokens whose text is not whole yet
        moments: list[float] = []  # when each token came
        with interruptions() as interrupted:

            def flush() -> None:
                screen.add(tokenizer.decode(waiting))
                waiting.clear()

            def show(text: str) -> None:
                flush()
                screen.tool(text)

            def hear(_: Author, token: int) -> bool:
                moments.append(time.perf_counter())
                waiting.append(token)
                text = tokenizer.decode(waiting)
                if not text.endswith(HALF) or len(waiting) > 4:
                    waiting.clear()
                    screen.add(text)
                return not interrupted

            spoken = Spoken(self.sampler, hear)
            reply = (
                converse(spoken, Shown(self.session, show), asked, sampling)
                if self.session
                else spoken.extend(asked, sampling)
            )
            self.transcript = wait_for(reply)
        flush()
        screen.end()
        return self._line(len(asked.spans), moments[-1] - moments[0], stopped=bool(interrupted))

    def _line(self, start: int, seconds: float, *, stopped: bool) -> str:
        """Returns a line about the reply: its tokens, how fast all but the first came, and what broke it off."""
        reply = replace(self.transcript, spans=self.transcript.spans[start:])
        written = sum(reply.by(Author.MODEL, Author.FORCED))
        calls = sum(span.author is Author.ENVIRONMENT for span in reply)
        thought = thought_in(self.transcript, self.sampler.chat.tokenizer)[0]
        parts = [counted(written, "token"), *([f"{thought} of them thought"] if thought else [])]
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
    """Collects Ctrl-C in a list while its body runs, instead of raising; the second one raises."""
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
