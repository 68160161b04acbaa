"""`poziomka chat`: a conversation in the terminal that streams tokens and sets thoughts apart."""

import shutil
import sys
import time
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable, Iterator
from contextlib import suppress
from os import environ
from typing import TYPE_CHECKING

from poziomka.core.errors import PoziomkaError, SettingsError
from poziomka.core.safety.untrusted import HALF
from poziomka.core.transcript import Message

if TYPE_CHECKING:
    from poziomka.app.cli.chat.talk import Talk

COMMANDS = "/new begins anew, /help lists commands, /quit or Ctrl-D ends, Ctrl-C stops a reply"
HELP = """/new   begins a new conversation: what was said is forgotten
/help  lists these commands
/quit  ends, as Ctrl-D does
Ctrl-C stops a reply; the conversation goes on from there
`poziomka chat --help` lists the options: --system, --tools, --think, --temperature and more"""


def options(parser: ArgumentParser) -> None:
    """Adds the options of `poziomka chat` to its argument parser."""
    parser.add_argument(
        "model", metavar="MODEL", help="smollm2, a Hugging Face folder or hub name, a GGUF file, or a run's folder"
    )
    parser.add_argument(
        "question", nargs="?", metavar="QUESTION", help="answer one question and exit (default: a conversation)"
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="OpenAI-compatible endpoint that serves MODEL: http://localhost:8000/v1"
    )
    parser.add_argument("--system", metavar="TEXT", help="system message")
    parser.add_argument(
        "--tools",
        metavar="NAMES",
        help="tools of the model: python, python:sandlock, calculator, search:FOLDER; several with +",
    )
    parser.add_argument(
        "--calls",
        metavar="NAME",
        help="format of tool calls: plain, hermes, llama, … (the chat template's own, else plain)",
    )
    parser.add_argument("--temperature", type=float, default=0.7, metavar="T", help="temperature; 0: greedy (0.7)")
    parser.add_argument("--top-p", type=float, default=0.95, metavar="P", help="nucleus sampling (0.95)")
    parser.add_argument("--tokens", type=int, default=512, metavar="N", help="maximum tokens of a reply (512)")
    parser.add_argument("--budget", type=int, metavar="N", help="maximum thinking tokens of a reply (no limit)")
    parser.add_argument(
        "--think",
        action=BooleanOptionalAction,
        help="begin each reply with a thought, or never (default: as the model or run does)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the sampling (default: random)")
    parser.add_argument("--dtype", metavar="NAME", help="precision of the weights (bfloat16; for a run, its own)")


def chat(given: Namespace) -> int:
    """Runs `poziomka chat`: loads the model, answers messages until the input ends, and returns the exit status.

    Args:
        given: parsed options of the command.

    Raises:
        PoziomkaError: the model cannot be loaded, or it cannot answer a message that was piped in or given as QUESTION.
    """
    from poziomka.environments.tools.formats.registry import format_named
    from poziomka.environments.tools.registry import tools_named

    if given.calls and not given.tools:
        message = f"--calls {given.calls} says how tools are called, and there are none: name some with --tools"
        raise SettingsError(message)
    if given.calls:
        format_named(given.calls)
    if given.think is False and given.budget:
        message = f"--no-think asks for no thought, and --budget {given.budget} bounds one: leave one of them out"
        raise SettingsError(message)
    if given.endpoint is not None and given.dtype is not None:
        message = f"--dtype {given.dtype} is the precision of weights, which the endpoint has: leave it out"
        raise SettingsError(message)
    _demand_text(given.system or "", "--system")
    tools = tools_named(given.tools) if given.tools else []  # before the model, which takes longer to load

    from poziomka.app.cli.chat.equipment import MOST, format_of
    from poziomka.app.cli.chat.talk import Talk, open_sampler, sampling_of
    from poziomka.app.tool_formats import calls_of
    from poziomka.environments.tools.toolbox import Toolbox

    sampling = sampling_of(given)
    started = time.perf_counter()
    sampler, notes = open_sampler(given.model, given.dtype, think=given.think, endpoint=given.endpoint)
    opening = [Message("system", given.system)] if given.system else []
    toolbox = Toolbox(tools, given.calls or calls_of(format_of(sampler), tools), MOST) if tools else None
    talk = Talk(sampler, sampling, opening, given.seed, toolbox)
    try:
        _converse(talk, given, started, notes)
    finally:
        talk.close()
        if toolbox is not None:
            toolbox.close()
    return 0


def _converse(talk: "Talk", given: Namespace, started: float, notes: tuple[str, ...]) -> None:
    """Answers the question of the command line, or messages from stdin until its end or /quit."""
    from poziomka.app.cli.chat.talk import Screen

    terminal = sys.stdout.isatty()
    person = given.question is None and sys.stdin.isatty() and terminal
    width = shutil.get_terminal_size().columns if terminal else None
    screen = Screen(colour=terminal and "NO_COLOR" not in environ and environ.get("TERM") != "dumb", width=width)
    if person:
        with suppress(ImportError):  # for line editing and history, if Python was built with it
            import readline  # noqa: F401 the import alone activates it
        screen.aside(f"{given.model}, loaded in {time.perf_counter() - started:.1f} s · {COMMANDS}")
    for note in notes:
        screen.aside(note)
    if given.question is not None:
        _demand_text(given.question, "QUESTION")
        screen.aside(talk.ask(given.question, screen))
        return
    for number, line in enumerate(_typed(screen.aside) if person else sys.stdin, 1):
        words = line.strip()
        if words == "/quit":
            break
        if words == "/new":
            talk.begin()
            screen.aside("a new conversation")
        elif words == "/help":
            screen.aside(HELP)
        elif words.startswith("/") and person:
            screen.aside(f"unknown command {words.split()[0]}: {COMMANDS}")
        elif words:
            try:
                _demand_text(words, f"line {number} of standard input")
                screen.aside(talk.ask(words, screen))
            except PoziomkaError as error:
                if not person:
                    raise
                screen.aside(str(error))  # a person can rephrase the message


def _demand_text(words: str, where: str) -> None:
    """Raises SettingsError for text with a lone surrogate or bytes that are not UTF-8."""
    if HALF.search(words):
        message = f"{where} is no UTF-8 text: received {words[:40]!r}; write it in UTF-8"
        raise SettingsError(message)


def _typed(aside: Callable[[str], None]) -> Iterator[str]:
    """Yields lines typed at the prompt until Ctrl-D; Ctrl-C passes a hint to `aside`."""
    while True:
        try:
            yield input("\nyou › ")
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            aside(COMMANDS)
