"""Running programs that nobody has read in processes that the kernel holds, so that their tests stay out of reach.

A program plays the same roles as in `limited`; what it could reach there is closed to it here. It is forked from an
interpreter that is held and never ran what nobody has read (`nested`), into rules of its own, by which it changes
no file, reaches no process, not even that interpreter, and starts none. It speaks through pipes that only it has.
"""

import os
import select
import signal
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.environments import inner, nested, plain, roles, sandlocked
from poziomka.environments.held import HeldProcess, coded, spent
from poziomka.environments.limited import Limits, Ran, Running, Streams, busy, fault_of, tell
from poziomka.environments.pipes import hear, started
from poziomka.environments.plain import NotPlainError, Pipes, receive
from poziomka.environments.zygote import Ended

NOT_PROTECTED: tuple[str, ...] = (
    "Programs run in a process that the kernel holds: Landlock for files and signals, seccomp for system calls.",
    "A program can learn whether a file exists, its size and its times, and nothing of what is in it.",
    "A program can learn the names of packages that lie within Python's own library, and read none of them but numpy.",
    "It shares a kernel with us: a fault in the kernel can let it out.",
)
MODULES = {f"module.{module.__name__}": module for module in (plain, roles, nested)}  # each needs those before it


PROGRAMS = Limits()
PIPES = ("in", "out", "err")
PATIENCE = 8.0  # seconds within which a process must be forked, or be gone; a busy machine takes one


class Nest:
    """An interpreter that is held, and runs one program at a time.

    Args:
        limits: of each program.
        seed: of the order of sets of texts, and of Python's random numbers.

    Raises:
        EnvironmentFailure: it cannot be started.
    """

    def __init__(self, limits: Limits, seed: int) -> None:
        """Starts it."""
        self.owner = os.getpid()
        numbers = [f"{name}={value}" for name, value in limits.of_process().items()]
        modules = [f"{name}={coded(module)}" for name, module in MODULES.items()]
        own = replace(limits, file=1, processes=2)  # it makes no file: it opens the pipes of its folder
        self.held = HeldProcess(own, seed, ["role=zygote", *numbers, *modules])
        started(self.held)
        self._folder = self.held.scratch.path
        self.process = -1  # a descriptor of the program's process
        self.reading = self.writing = self.errors = -1  # descriptors: from it, to it, and its standard error
        self.pid = 0

    def start(self, role: str) -> None:
        """Forks a process, which waits for the program.

        Raises:
            EnvironmentFailure: it cannot be forked, or not be shut in.
        """
        paths = [f"{self._folder}/{name}" for name in PIPES]
        for path in paths:
            os.mkfifo(path, 0o600)
        both = os.open(paths[0], os.O_RDWR)  # so that neither side waits for the other to open it
        self.reading, self.errors = (os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in paths[1:])
        self.writing = -1
        try:
            inner.tell(self.held.asking, role.encode())
            self.pid = int(self._hear())
            self.process = os.pidfd_open(self.pid)
            said = hear(self.reading, time.monotonic() + PATIENCE)
            if said != b"ready":
                message = f"a program cannot be started: {said.decode(errors='replace') or 'its process ended'}"
                raise EnvironmentFailure(message)
            self.writing = os.open(paths[0], os.O_WRONLY)
        except OSError as error:
            message = f"a program cannot be started: {error}"
            raise EnvironmentFailure(message) from error
        finally:
            os.close(both)
            for path in paths:
                os.unlink(path)  # noqa: PTH108 a Path would do no better
        for descriptor in (self.reading, self.errors):
            os.set_blocking(descriptor, True)

    def ended(self, seconds: float) -> bool:
        """Waits until the program ended by itself; returns whether it has."""
        return bool(select.select([self.process], [], [], max(seconds, 0))[0])

    def end(self) -> Ended:
        """Ends the program; returns how it had ended. What it wrote can still be read.

        Raises:
            EnvironmentFailure: it cannot be ended.
        """
        alone = self.ended(0)
        used, waited = spent(self.pid)
        if not alone:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.process, signal.SIGKILL)
        status, memory = self._hear().split()
        self._forget()
        return Ended(int(status) if alone else None, 0.0, int(memory) if alone else 0, used, waited)

    def leave(self) -> None:
        """Closes the pipes of a program that has ended."""
        for descriptor in (self.reading, self.writing, self.errors):
            if descriptor >= 0:
                os.close(descriptor)
        self.reading = self.writing = self.errors = -1

    def close(self) -> None:
        """Ends the interpreter, with its program."""
        self.held.end()
        self.held.free()
        self._forget()
        self.leave()

    def _forget(self) -> None:
        if self.process >= 0:
            os.close(self.process)
            self.process = -1

    def _hear(self) -> bytes:
        said = hear(self.held.answering, time.monotonic() + PATIENCE)
        if not said:
            message = "the process that runs programs ended, or does not answer"
            raise EnvironmentFailure(message)
        return said


class Sandlocked:
    """Runs programs in processes that the kernel holds (a Place). They write no files.

    Args:
        limits: of each program.
        seed: of the order of sets of texts, and of Python's random numbers, in every program.

    Raises:
        EnvironmentFailure: the kernel cannot hold them here, and why.
        SettingsError: the limits allow files.
    """

    not_protected: tuple[str, ...] = NOT_PROTECTED

    def __init__(self, limits: Limits = PROGRAMS, seed: int = 0) -> None:
        """Starts nothing until the first program."""
        why = sandlocked.reason()
        if why:
            message = (
                f"programs cannot be held by the kernel here: {why}; to run them in a limited process, which is no "
                "sandbox, put 'limited_' before the task's name, or pass place=Limited in Python"
            )
            raise EnvironmentFailure(message)
        if limits.file:
            message = (
                f"a program that the kernel holds writes no files: received a limit of {limits.file} bytes; give 0"
            )
            raise SettingsError(message)
        self.limits = limits
        self.seed = seed
        self._idle: list[Nest] = []  # popping and appending are atomic, so there is no lock that a fork could hold
        self._finalizer = weakref.finalize(self, _close, self._idle)

    @contextmanager
    def _lent(self, role: str) -> Iterator[Nest]:
        """Lends an interpreter with a process in a role; it comes back unless something was raised."""
        nest = None
        while nest is None:
            try:
                nest = self._idle.pop()
            except IndexError:
                nest = Nest(self.limits, self.seed)
            if nest.owner != os.getpid() or nest.held.over(0):  # of the process that we were forked from; or dead
                nest.close()
                nest = None
        try:
            nest.start(role)
            yield nest
            nest.leave()
        except BaseException:
            nest.close()
            raise
        self._idle.append(nest)

    @contextmanager
    def functions(self, source: str, names: Sequence[str], given: str = "") -> Iterator[Running]:
        """Runs a program so that its functions can be called; see Place."""
        with self._lent("functions") as nest:
            running = Running(Pipes(nest.reading, nest.writing))
            tell(running.channel, {"source": source, "names": list(names), "given": given, "seed": self.seed})
            yield running
            running.ended = nest.end()

    def whole(self, source: str, text: bytes = b"", seconds: float | None = None) -> Ran:
        """Runs a program from its start to its end; see Place."""
        limit = self.limits.seconds
        seconds = limit if seconds is None else min(seconds, limit)
        with self._lent("whole") as nest:
            channel = Pipes(nest.reading, nest.writing)
            tell(channel, {"source": source, "seed": self.seed})
            began = time.monotonic()
            unread = _unread(channel, began + seconds)
            streams = _Streams(nest, text)
            flooded = not unread and streams.read(began + seconds, self.limits.output)
            if not flooded:
                nest.ended(began + seconds - time.monotonic())
            took = time.monotonic() - began
            ended = nest.end()
            flooded = flooded or streams.drain(self.limits.output)
        output, said = bytes(streams.output), bytes(streams.said).decode("utf-8", "replace").strip()
        if unread:
            return Ran(b"", unread, took, read=False)
        if flooded:
            return Ran(output, f"wrote more than {self.limits.output} bytes", took)
        if ended.status is None:
            busy(ended, seconds)
            return Ran(output, f"ran longer than {limit:g} s", took)
        return Ran(output, fault_of(ended, said), took, ended.memory)

    def close(self) -> None:
        """Ends the interpreters that nobody uses; it can be used again."""
        _close(self._idle)


def _close(idle: list[Nest]) -> None:
    while idle:
        idle.pop().close()


def _unread(channel: Pipes, until: float) -> str:
    """Returns why a program is not Python; "" where it is, or has ended already."""
    with suppress(EOFError, OSError, NotPlainError):
        match receive(channel, until):
            case ["unread", str(why)]:
                return why
    return ""


class _Streams(Streams):
    """The streams of a program that is held, which is fed as well."""

    def __init__(self, nest: Nest, text: bytes) -> None:
        """Begins after the first frame."""
        self._nest = nest
        self._text = memoryview(text)
        super().__init__(nest.reading, nest.errors)
        os.set_blocking(nest.writing, False)

    def read(self, until: float, most: int) -> bool:
        """Reads until the program ended or its time is over; returns whether it wrote more than it may."""
        poll = select.poll()
        for descriptor in (self._nest.process, *self._open):
            poll.register(descriptor, select.POLLIN)
        poll.register(self._nest.writing, select.POLLOUT)
        while (left := until - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(max(left * 1000, 1)):
                if descriptor == self._nest.process:
                    return False
                if descriptor == self._nest.writing:
                    if self._fed():
                        poll.unregister(descriptor)
                elif not self._take(descriptor):
                    poll.unregister(descriptor)
                if self._seen > most:
                    return True
        return False

    def _fed(self) -> bool:
        """Writes what the program is to read; returns whether that is all, or it reads no more."""
        try:
            self._text = self._text[os.write(self._nest.writing, self._text[:65536]) :]
        except BlockingIOError:
            return False
        except OSError:
            self._text = self._text[:0]
        if self._text:
            return False
        os.close(self._nest.writing)
        self._nest.writing = -1
        return True
