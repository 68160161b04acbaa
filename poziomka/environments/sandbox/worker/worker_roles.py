"""Worker roles: a program whose functions are called, a whole program, or the tests that call the functions.

Each role reads its request from its channel, in one frame. A program may modify this module: its process has a copy of
its own, and only its answers are used.
"""

import atexit
import builtins
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType, ModuleType
from typing import NoReturn, cast

from poziomka.environments.sandbox.worker.wire_format import (
    Channel,
    NotPlainError,
    TooLargeError,
    encode,
    receive,
    send,
)

GONE, STRANGE = "the program ended by itself", "the program answered what was not asked"
SHOWN = 300  # maximum characters of an error message
UNREADABLE = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)  # exceptions of compile()


def _asked(channel: Channel) -> Mapping[str, object]:
    """Receives the request of a role and returns its fields, by name."""
    return cast("dict[str, object]", receive(channel))


def _start(name: str, request: Mapping[str, object]) -> ModuleType:
    """Returns a new module in which a program is to run; seeds random numbers with the seed of the request."""
    random.seed(cast("int", request["seed"]))
    module = ModuleType(name)
    sys.modules[name] = module
    sys.argv[:] = [f"{name}.py"]
    builtins.__dict__.update(exit=sys.exit, quit=sys.exit)  # normally set by `site`, which is missing
    return module


def _words(error: BaseException) -> str:
    """Formats an error as "ValueError: message", even if its own methods raise."""
    try:
        said = str(error)[:SHOWN]
    except BaseException:  # noqa: BLE001 an exception of the program: its text is code
        said = ""
    return f"{type(error).__name__[:60]}: {said}" if said else type(error).__name__[:60]


# ---------------------------------------------------------------------------------------------------------- functions
def functions(channel: Channel) -> int:
    """Runs a program, then calls its functions on request (role "functions").

    Args:
        channel: channel of the request, the calls and the answers.

    Returns:
        exit status 0 if the program is not valid Python or raises; otherwise calls are served until the channel closes.

    Raises:
        EOFError: the other side closed the channel.
    """
    request = _asked(channel)
    space = _start("program", request).__dict__
    names = cast("list[str]", request["names"])
    try:
        exec(compile(cast("str", request["given"]), "<given>", "exec"), space)  # noqa: S102 running programs is its purpose
        for name in names:
            space.pop(name, None)
        code = compile(cast("str", request["source"]), "<program>", "exec", dont_inherit=True)
    except UNREADABLE as error:
        send(channel, [0, "unread", _words(error)])
        return 0
    try:
        exec(code, space)  # noqa: S102 as above
    except BaseException as error:  # noqa: BLE001 whatever a program raises is its answer
        send(channel, [0, "raised", type(error).__name__, _words(error)])
        return 0
    missing = [name for name in names if not callable(space.get(name))]
    send(channel, [0, "missing", missing] if missing else [0, "loaded"])
    while True:
        number, name, arguments, named = cast("tuple[int, str, tuple[object], dict[str, object]]", receive(channel))
        send(channel, [number, *_called(space[name], arguments, named)])


def _called(function: Callable[..., object], arguments: tuple[object, ...], named: dict[str, object]) -> list[object]:
    try:
        value = function(*arguments, **named)
    except BaseException as error:  # noqa: BLE001 whatever a program raises is its answer
        return ["raised", type(error).__name__, _words(error)]
    try:
        encode(value)
    except NotPlainError as error:
        return ["unplain", str(error)]
    return ["value", value]


# ------------------------------------------------------------------------------------------------------ whole programs
def whole(channel: Channel) -> int:
    """Runs a program as Python runs a file; returns its exit status, 0 to 255 (role "whole").

    Before the program runs, a message on the channel reports whether it is valid Python.

    Args:
        channel: channel of the request and of this message.
    """
    request = _asked(channel)
    space = _start("__main__", request).__dict__
    try:
        code = compile(cast("str", request["source"]), "<program>", "exec", dont_inherit=True)
    except UNREADABLE as error:
        send(channel, ["unread", _words(error)])
        return 1
    send(channel, ["read"])
    status = 0
    try:
        exec(code, space)  # noqa: S102 as above
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:  # noqa: BLE001 as Python does: prints the error and exits with status 1
        sys.stderr.write(_words(error))
        status = 1
    if threading.active_count() > 1:
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
    atexit._run_exitfuncs()  # noqa: SLF001 Python does this at exit, but os._exit skips it
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    return status & 0xFF


# -------------------------------------------------------------------------------------------------------------- tests
class _FaultError(BaseException):
    """Raised if the program cannot continue; a BaseException, so that no `except Exception` of a test catches it."""


class _OvertimeError(BaseException):
    """Raised in the tests' process when the time limit is reached."""


class _RaisedError(Exception):
    """Raised in a test whose call raised an exception that is not passed on under its own type."""


ITERATION = (StopIteration, StopAsyncIteration)  # raised in the tests' process, they would end a loop of the tests


def _exception(kind: str, words: str) -> Exception:
    """Returns Python's built-in exception of a name, so that a test can expect it; _RaisedError for any other name.

    Control-flow exceptions (StopIteration, and those that are no Exception: SystemExit, KeyboardInterrupt,
    GeneratorExit) become a _RaisedError as well: no test expects them, and raised here they would end an iteration, or
    all tests, without a failure.
    """
    found = getattr(builtins, kind, None)
    if isinstance(found, type) and issubclass(found, Exception) and not issubclass(found, ITERATION):
        for base in found.__mro__[: found.__mro__.index(Exception) + 1]:  # some take more than a message
            with suppress(TypeError):
                return cast("Exception", base(words))
    return _RaisedError(words)


class _Program:
    """Represents the program in the tests' process: makes stand-ins for its functions and counts their calls."""

    def __init__(self, channel: Channel, *, twice: bool) -> None:
        self.channel = channel
        self.twice = twice
        self.calls = 0
        self.fault = ""
        self.over = False
        self.waiting = False
        self.running = True

    def fail(self, why: str) -> NoReturn:
        """Stores the first fault, so that no test can pass after it, and raises it."""
        self.fault = self.fault or why
        raise _FaultError(self.fault)

    def hear(self, number: int) -> list[object]:
        """Receives the answer to the call with a number and returns it without the number."""
        try:
            self.waiting = True
            answer = receive(self.channel)
        except NotPlainError as error:
            self.fail(f"the program answered what cannot pass: {error}")
        except (EOFError, OSError):
            self.fail(GONE)
        finally:
            self.waiting = self.over  # stays set if the time limit was reached during this wait
        if not isinstance(answer, list) or len(answer) < 2 or answer[0] != number:
            self.fail(STRANGE)
        return answer[1:]

    def ask(self, name: str, arguments: tuple[object, ...], named: dict[str, object]) -> list[object]:
        """Calls a function of the program and returns the answer."""
        if self.fault:
            raise _FaultError(self.fault)
        self.calls += 1
        try:
            send(self.channel, (self.calls, name, arguments, named))
        except OSError:
            self.fail(GONE)
        return self.hear(self.calls)

    def function(self, name: str) -> Callable[..., object]:
        """Returns a stand-in for a function of the program."""

        def call(*arguments: object, **named: object) -> object:
            answer = self.ask(name, arguments, named)
            if self.twice and encode(self.ask(name, arguments, named)) != encode(answer):
                self.fail(f"the program answers {name} differently the second time")
            match answer:
                case ["value", value]:
                    return value
                case ["raised", str(kind), str(words)]:
                    raise _exception(kind, words)
                case ["unplain", str(words)]:
                    return self.fail(f"the program returned what cannot pass: {words}")
            return self.fail(STRANGE)

        return call


def tests(channel: Channel, called: Channel) -> int:
    """Runs tests that call a program's functions and sends the verdict; returns exit status 0 (role "tests").

    The verdict is a list of the outcome, the reason in one line and the number of calls. The outcome is "passed",
    "failed", "slow" (the time limit was reached), "unread" (the program is not valid Python) or "broken" (the tests
    themselves cannot run).

    Args:
        channel: channel of the request and of the verdict.
        called: channel to the process of the program.
    """
    request = _asked(channel)
    program = _Program(called, twice=bool(request["twice"]))
    limit = cast("float", request["seconds"])

    def over(_signal: int, _frame: FrameType | None) -> None:
        if not program.running:
            return
        if program.over:  # a test caught the first alarm, and would catch this one
            send(channel, [*_slow(program, limit), program.calls])
            os._exit(0)
        program.over = True
        raise _OvertimeError

    signal.signal(signal.SIGALRM, over)  # this process has one thread, so an alarm is safe
    signal.setitimer(signal.ITIMER_REAL, limit, 0.25)
    try:
        outcome = _tried(request, program)
        program.running = False
    except BaseException as error:  # noqa: BLE001 whatever a test raises, it does not pass
        program.running = False
        outcome = ("failed", f"{_words(error)} at {_line(error, cast('list[str]', request['checks']))}")
    if program.over:
        outcome = _slow(program, limit)
    elif program.fault:
        outcome = ("failed", program.fault)
    send(channel, [*outcome, program.calls])
    return 0


def _slow(program: _Program, limit: float) -> tuple[str, str]:
    slow = "the program ran" if program.waiting else "the tests of what the program returned ran"
    return "slow", f"{slow} longer than {limit:g} s"


def _tried(request: Mapping[str, object], program: _Program) -> tuple[str, str]:
    space = _start("tests", request).__dict__
    match program.hear(0):
        case ["loaded"]:
            pass
        case ["missing", list(names)]:
            return "failed", f"the program does not define {', '.join(map(str, names))[:SHOWN]}"
        case ["unread", str(words)]:
            return "unread", words[:SHOWN]
        case ["raised", _, str(words)]:
            return "failed", f"the program raised {words[:SHOWN]}"
        case _:
            program.fail(STRANGE)
    names, checks = cast("list[str]", request["names"]), cast("list[str]", request["checks"])
    try:
        exec(compile(cast("str", request["given"]), "<given>", "exec", dont_inherit=True), space)  # noqa: S102 as above
        space.update({name: program.function(name) for name in names}, candidate=program.function(names[0]))
        exec(compile(cast("str", request["setup"]), "<setup>", "exec", dont_inherit=True), space)  # noqa: S102 as above
        codes = [compile(check, f"<check {i}>", "exec", dont_inherit=True) for i, check in enumerate(checks)]
    except Exception as error:  # noqa: BLE001 the tests themselves cannot be run
        return "failed" if program.calls else "broken", _words(error)
    try:
        for code in codes:
            exec(code, space)  # noqa: S102 as above
    except TooLargeError:  # possibly an argument made from values that the program returned
        raise
    except NotPlainError as error:  # an argument of the tests' own, since every value from the program is plain
        return "broken", f"a test calls with what cannot pass: {error}"
    return ("passed", "") if program.calls else ("broken", "the tests do not call the program")


def _line(error: BaseException, checks: list[str]) -> str:
    """Returns the source line of the tests at which an error was raised."""
    line = "its start"
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith("<check ") and frame.lineno:
            lines = checks[int(frame.filename[len("<check ") : -1])].splitlines()
            line = lines[min(frame.lineno, len(lines)) - 1].strip()[:SHOWN]
    return repr(line)


ROLES: dict[str, Callable[..., int]] = {"functions": functions, "whole": whole, "tests": tests}
