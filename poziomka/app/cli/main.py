"""Entry point of the command line. Commands import their packages when they run, so that `poziomka --help` is fast.

Exit status: 0 done · 2 an error of the user's, reported in one sentence · 130 stopped by Ctrl-C, everything saved ·
141 the output pipe is closed · 1 a bug of this package, with its traceback.
"""

import os
import re
import sys
import traceback
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, TextIO, cast

from poziomka.app.cli.commands import COMMANDS, say
from poziomka.app.cli.shell.arguments import STOPPED, WRONG
from poziomka.core.errors import PoziomkaError, SettingsError, nearest
from poziomka.core.safety.terminal import CleanStream

UNREAD, FAULT = 141, 1  # further exit statuses
OUT_OF_MEMORY = "can't allocate memory"  # torch raises RuntimeError where Python raises MemoryError


class Parser(ArgumentParser):
    """Argument parser that raises SettingsError on wrong arguments, instead of printing the usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raises SettingsError with argparse's message."""
        sentence = f"{message}; `{self.prog} --help` says what there is"
        raise SettingsError(sentence)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command of `poziomka`.

    Args:
        arguments: command-line arguments without the program's name; None for those of the process.

    Returns:
        The exit status.
    """
    with _clean_streams():
        return _guarded(list(sys.argv[1:] if arguments is None else arguments))


@contextmanager
def _clean_streams() -> Iterator[None]:
    """Within the context, replaces control characters in text written to stdout and stderr.

    Standard streams that are closed are replaced by /dev/null.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in the order of their file descriptors
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 open until the process ends
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")  # commands refuse bytes that are not UTF-8
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without "…" shows "?" rather than nothing
    out, err = CleanStream(before[0]), CleanStream(before[1], returns=True)
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _guarded(arguments: list[str]) -> int:
    """Runs one command and prints a sentence about any error; returns the exit status."""
    try:
        status = _run(arguments)
        sys.stdout.flush()  # so that a full disk or a closed pipe raises here
    except PoziomkaError as error:
        say(error)
        return WRONG
    except KeyboardInterrupt:
        say("stopped by Ctrl-C; what was saved before is intact")
        return STOPPED
    except BrokenPipeError:
        _forget_output()
        return UNREAD
    except SystemExit as error:  # rich raises it on a BrokenPipeError
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return UNREAD
    except OSError as error:
        _forget_output()
        where = f" ({error.filename})" if error.filename else ""
        say(f"the system refused: {(error.strerror or str(error)).lower()}{where}")
        return WRONG
    except Exception as error:  # noqa: BLE001 the outermost boundary
        if sentence := _lacking(error):
            say(sentence)
            return WRONG
        traceback.print_exc()
        say("this is a fault in Poziomka, not yours: please report the lines above with the command you gave")
        return FAULT
    return status


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        return _without_command(arguments)
    name, *rest = arguments
    if name not in COMMANDS:
        message = f"unknown command {name!r}{nearest(name, COMMANDS)}"
        raise SettingsError(message)
    command = COMMANDS[name]
    parser = Parser(
        prog=f"poziomka {name}", description=f"{command.about[0].upper()}{command.about[1:]}.", allow_abbrev=False
    )
    command.options(parser)
    _demand_known(rest, parser)
    try:
        given = parser.parse_intermixed_args(rest)  # names may come before, between and after options
    except SystemExit:  # --help was printed
        return 0
    return command.act(given)


def _without_command(arguments: list[str]) -> int:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {command.about}" for name, command in COMMANDS.items())
    parser = Parser(
        prog="poziomka",
        usage="poziomka COMMAND …",
        description="Reinforcement learning, test-time thinking and tools for reasoning models, on CPUs.",
        epilog=f"commands:\n{listed}\n\n`poziomka COMMAND --help` lists the options of a command.",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    _demand_known(arguments, parser)
    try:
        given = parser.parse_args(arguments)
    except SystemExit:
        return 0
    if given.version:
        from importlib import metadata

        print(f"poziomka {metadata.version('poziomka')}")
        return 0
    parser.print_help(sys.stderr)
    return WRONG


def _demand_known(arguments: Sequence[str], parser: ArgumentParser) -> None:
    """Raises SettingsError for an unknown option, with the nearest known one."""
    known = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001 no public list
    for argument in arguments:
        name = argument.partition("=")[0]
        if argument == "--":
            return
        if re.match(r"-{1,2}[A-Za-z]", name) and name not in known:
            message = f"unknown option {name!r} of {parser.prog}{nearest(name, known)}"
            raise SettingsError(message)


def _lacking(error: Exception) -> str | None:
    """Returns a sentence for an exception about missing memory or a missing package; None for any other one."""
    if isinstance(error, MemoryError) or OUT_OF_MEMORY in str(error):
        return "there is not enough memory: ask for a smaller model, fewer problems or fewer attempts"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("poziomka"):
        return f"the package {error.name!r} is not installed: `pip install poziomka` brings all that it needs"
    return None


def _forget_output() -> None:
    """Redirects stdout to /dev/null, so that Python's last flush does not fail again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
