"""Runs untrusted programs in the sandbox, so that their tests stay out of reach.

The process of a program is forked from a sandboxed interpreter that never ran untrusted code (`fork_client`) and then
gets rules of its own: it cannot change a file, reach another process, not even that interpreter, or start one. It
communicates through pipes that no other program has.
"""

import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.environments.sandbox import sandlock_interpreter as sandlocked
from poziomka.environments.sandbox.fork_client import Nest
from poziomka.environments.sandbox.limits import Ended, Limits, busy
from poziomka.environments.sandbox.streams import Streams
from poziomka.environments.sandbox.worker.wire_format import Channel, NotPlainError, Pipes, receive, send

NOT_PROTECTED: tuple[str, ...] = (
    "Programs run in a process that the kernel holds: Landlock for files and signals, seccomp for system calls.",
    "A program can learn whether a file exists, its size and its times, and nothing of what is in it.",
    "A program can learn the names of packages that lie within Python's own library, and read none of them but numpy.",
    "Programs that run at the same time can signal to each other: by load, and by the page cache.",
    "It shares a kernel with us: a fault in the kernel can let it out.",
)
PROGRAMS = Limits()


@dataclass(frozen=True, slots=True)
class Ran:
    """The result of running a whole program.

    Attributes:
        output: standard output of the program.
        fault: error in one line, because of which no output is correct; "" if the program ended normally.
        seconds: wall-clock seconds of the run.
        memory: peak memory of the process in bytes; 0 if it did not end by itself.
        read: whether the program is valid Python.
    """

    output: bytes
    fault: str
    seconds: float
    memory: int = 0
    read: bool = True


class Sandlocked:
    """Runs programs in sandboxed processes that cannot write files.

    Args:
        limits: limits of each program; `file` must be 0.
        seed: seed of string hashing and of Python's random numbers in every program.

    Attributes:
        not_protected: sentences, each about something that a program can do despite the isolation.

    Raises:
        EnvironmentFailure: programs cannot be sandboxed on this machine; the message has the reason.
        SettingsError: `limits.file` is not 0.
    """

    not_protected: tuple[str, ...] = NOT_PROTECTED

    def __init__(self, limits: Limits = PROGRAMS, seed: int = 0) -> None:
        """Checks the sandbox and the limits; the first program starts a fork server."""
        why = sandlocked.reason()
        if why:
            message = f"programs cannot be sandboxed here: {why}; use a Linux of 6.12 or later with the extra 'sandbox'"
            raise EnvironmentFailure(message)
        if limits.file:
            message = (
                f"a program that the kernel holds writes no files: received a limit of {limits.file} bytes; give 0"
            )
            raise SettingsError(message)
        self.limits = limits
        self.seed = seed
        self._idle: list[Nest] = []  # pop and append are atomic, so there is no lock that a fork could inherit locked
        self._finalizer = weakref.finalize(self, _close, self._idle)

    @contextmanager
    def lent(self) -> Iterator[Nest]:
        """Takes an idle fork server, or starts one, for the body of a `with` statement.

        It is kept for the next program afterwards; if the body raises an exception, it is ended.

        Raises:
            EnvironmentFailure: no fork server can be started.
        """
        nest = None
        while nest is None:
            try:
                nest = self._idle.pop()
            except IndexError:
                nest = Nest(self.limits, self.seed)
            if nest.owner != os.getpid() or nest.held.over(0):  # owned by the parent of a fork, or dead
                nest.close()
                nest = None
        try:
            yield nest
            nest.leave()
        except BaseException:
            nest.close()
            raise
        self._idle.append(nest)

    def whole(self, source: str, text: bytes = b"", seconds: float | None = None) -> Ran:
        """Runs a whole program, as Python runs a file, and returns its result.

        Args:
            source: the program.
            text: bytes for its standard input.
            seconds: timeout in seconds, at most `limits.seconds`; None: `limits.seconds`.

        Raises:
            EnvironmentFailure: the program could not be run, through no fault of its own.
        """
        limit = self.limits.seconds
        seconds = limit if seconds is None else min(seconds, limit)
        with self.lent() as nest:
            (forked,) = nest.start("whole")
            request(forked.channel, {"source": source, "seed": self.seed})
            began = time.monotonic()
            unread = _unread(forked.channel, began + seconds)
            streams = Streams(forked, text, self.limits.output)
            flooded = not unread and streams.read(began + seconds - time.monotonic())
            if not flooded:
                forked.ended(began + seconds - time.monotonic())
            took = time.monotonic() - began
            (ended,) = nest.end()
            flooded = flooded or streams.drain()
        output, said = bytes(streams.output), bytes(streams.said).decode("utf-8", "replace").strip()
        if unread:
            return Ran(b"", unread, took, read=False)
        if flooded:
            return Ran(output, f"wrote more than {self.limits.output} bytes", took)
        if ended.status is None:
            busy(ended, seconds)
            return Ran(output, f"ran longer than {limit:g} s", took)
        return Ran(output, _fault_of(ended, said), took, ended.memory)

    def close(self) -> None:
        """Ends the idle fork servers; the runner can be used again."""
        _close(self._idle)


def _close(idle: list[Nest]) -> None:
    while idle:
        idle.pop().close()


def _unread(channel: Pipes, until: float) -> str:
    """Returns the error if a program is not valid Python; "" if it is, or has ended already."""
    with suppress(EOFError, OSError, NotPlainError):
        match receive(channel, until):
            case ["unread", str(why)]:
                return why
    return ""


def request(channel: Channel, asked: dict[str, object]) -> None:
    """Sends a request to a forked process, with plain values (see wire_format.encode).

    If the process has ended, nothing is raised here: reading the answer then raises the error.

    Args:
        channel: channel to the process.
        asked: fields of the request, by name.
    """
    with suppress(OSError):
        send(channel, asked)


def _fault_of(ended: Ended, said: str) -> str:
    """Returns the exit status of a program and the last line of its standard error; "" if it ended normally."""
    last = said.splitlines()[-1][:300] if said else ""
    if not ended.status:
        return ""
    how = f"ended with status {ended.status}" if ended.status > 0 else f"was ended by signal {-ended.status}"
    return f"{how}: {last}" if last else how
