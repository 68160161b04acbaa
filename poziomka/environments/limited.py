"""Running programs that nobody has read, in limited processes: bounded and ended whole, and no sandbox.

A program runs in a process of its own, forked from an interpreter that never held anything of ours, with bounds on
time, memory, output and processes, an empty environment, and an empty folder that is removed. When its time is over,
or once it has answered, it and all that descends from it are killed. What it returns arrives as plain data and is
compared outside, so it cannot say that it passed. NOT_PROTECTED is what it can do nevertheless.

Where this process runs as root, a program runs as a user of its own: it cannot send signals to our processes, look
into their memory, or read what is closed to others. Elsewhere it is the same user, and can.
"""

import os
import select
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol, Self

from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.environments.plain import Channel, NotPlainError, Pipes, receive, send
from poziomka.environments.zygote import Ended, Zygote, Zygotes

NOT_PROTECTED: tuple[str, ...] = (
    "Programs run in a limited process, which is no sandbox.",
    "A program can use the network.",
    "A program can read what its user can read, the file with the tests too if it finds it.",
    "Unless Poziomka runs as root, a program is the same user: it can delete files and end processes of ours.",
    "Unless Poziomka runs as root, it can look into the memory of our processes where the system lets it.",
    "Memory is bounded for each process of a program, not for all of them together.",
    "A program can leave empty files where anybody may write, and words to a later one in their names.",
)
SAID = 2000  # bytes of what a program writes to its standard error that are kept


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run of a program may take.

    Attributes:
        seconds: by the clock, all calls or all inputs of one check together.
        memory: bytes of address space of a process.
        output: bytes on standard output and standard error together.
        file: bytes of a file; 0: it can write none, and its folder is closed to it.
        files: open files of a process.
        processes: processes and threads.

    Raises:
        SettingsError: a limit is not positive.
    """

    seconds: float = 3.0
    memory: int = 512 * 2**20
    output: int = 1_000_000
    file: int = 0
    files: int = 32
    processes: int = 16

    def __post_init__(self) -> None:
        """Refuses limits under which nothing runs."""
        if min(self.seconds, self.memory, self.output, self.files, self.processes) <= 0 or self.file < 0:
            message = f"a program's limits are positive, and the bytes of a file 0 or more: received {self}"
            raise SettingsError(message)

    def of_process(self) -> dict[str, int]:
        """Returns what the process itself is bounded by."""
        cpu = int(self.seconds) + 2  # the clock ends it first, unless it is we who are late
        return {
            "cpu": cpu,
            "memory": self.memory,
            "file": self.file,
            "files": self.files,
            "processes": self.processes,
        }


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of running a whole program.

    Attributes:
        output: what it wrote to standard output.
        fault: why it cannot be right whatever it wrote, in a line; "" where it ended in good order.
        seconds: how long it ran.
        memory: bytes of its process at its largest; 0 where it did not end by itself.
        read: whether the program is Python at all.
    """

    output: bytes
    fault: str
    seconds: float
    memory: int = 0
    read: bool = True


@dataclass(slots=True)
class Running:
    """A program whose functions can be called.

    Attributes:
        channel: its first frame says how the program began; every call sends a frame and receives one (`roles`).
        ended: how it ended, once it is over.
    """

    channel: socket.socket | Pipes
    ended: Ended = field(default_factory=Ended)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The channel's: one of a socket, or the pipe to read from and the one to write to."""
        if isinstance(self.channel, Pipes):
            return self.channel.reading, self.channel.writing
        return (self.channel.fileno(),)


class Place(Protocol):
    """Where programs run. What a program does is its own fault; EnvironmentFailure is raised for what we failed at."""

    @property
    def not_protected(self) -> tuple[str, ...]:
        """Sentences: what a program can do nevertheless."""

    @property
    def limits(self) -> Limits:
        """What a program may take."""

    @contextmanager
    def functions(self, source: str, names: Sequence[str], given: str = "") -> Iterator[Running]:
        """Runs a program so that its functions can be called; ends it with all that it left behind.

        Args:
            source: the program.
            names: of the functions.
            given: code that runs before it; functions in it that have one of the names are left out.
        """

    def whole(self, source: str, text: bytes = b"", seconds: float | None = None) -> Ran:
        """Runs a program from its start to its end.

        Args:
            source: the program.
            text: what it reads from standard input.
            seconds: that are left to it; None: the limit.
        """


Places = Callable[[Limits, int], Place]  # makes a place of limits and a seed: Limited, or held_programs.Sandlocked


class Limited:
    """Runs programs in limited processes (a Place).

    Args:
        limits: of each program.
        seed: of the order of sets of texts, and of Python's random numbers, in every program.
    """

    not_protected: tuple[str, ...] = NOT_PROTECTED

    def __init__(self, limits: Limits = Limits(), seed: int = 0) -> None:
        """Starts nothing until the first program."""
        self.limits = limits
        self.seed = seed
        self.zygotes = Zygotes(separate=True, seed=seed)

    @contextmanager
    def functions(self, source: str, names: Sequence[str], given: str = "") -> Iterator[Running]:
        """Runs a program so that its functions can be called; see Place."""
        ours, theirs = socket.socketpair()
        with ours, self.zygotes.lent() as zygote:
            with theirs:
                zygote.start("functions", self.limits.of_process(), {3: theirs.fileno()})
            tell(ours, {"source": source, "names": list(names), "given": given, "seed": self.seed})
            running = Running(ours)
            yield running
            running.ended = zygote.end()

    def whole(self, source: str, text: bytes = b"", seconds: float | None = None) -> Ran:
        """Runs a program from its start to its end; see Place."""
        limit = self.limits.seconds
        seconds = limit if seconds is None else min(seconds, limit)
        with _Pipes(text) as pipes, self.zygotes.lent() as zygote:
            zygote.start("whole", self.limits.of_process(), pipes.theirs)
            pipes.leave()
            zygote.started()
            tell(pipes.channel, {"source": source, "seed": self.seed})
            began = time.monotonic()
            flooded = pipes.read(zygote, began + seconds, self.limits.output)
            took = time.monotonic() - began
            ended = zygote.end()
            unread = pipes.unread()
            if unread:
                return Ran(b"", unread, took, read=False)
            if not flooded:
                flooded = pipes.drain(self.limits.output)
        output, said = bytes(pipes.output), bytes(pipes.said[-SAID:]).decode("utf-8", "replace").strip()
        if flooded:
            return Ran(output, f"wrote more than {self.limits.output} bytes", took)
        if ended.status is None or ended.seconds > seconds:
            busy(ended, seconds)
            return Ran(output, f"ran longer than {limit:g} s", took)
        return Ran(output, fault_of(ended, said), ended.seconds, ended.memory)


def busy(ended: Ended, seconds: float) -> None:
    """Says whose fault it is that a program ran longer than it may.

    Raises:
        EnvironmentFailure: the machine's: for more than half of the time the program waited for a processor, and it
            was given less than a tenth of it.
    """
    if ended.starved(seconds):
        message = (
            f"the machine is too busy to judge a program: in {seconds:g} s it was given {ended.used:.1f} s of a "
            f"processor and waited {ended.waited:.1f} s for one; run less beside it"
        )
        raise EnvironmentFailure(message)


def tell(channel: Channel, request: dict[str, object]) -> None:
    """Sends a program to the process that is to run it; where that is gone already, whoever listens will find out."""
    with suppress(OSError):
        send(channel, request)


def fault_of(ended: Ended, said: str) -> str:
    """Returns how a whole program ended, and the last line that it wrote; "" where it ended in good order."""
    last = said.splitlines()[-1][:300] if said else ""
    if not ended.status:
        return ""
    how = f"ended with status {ended.status}" if ended.status > 0 else f"was ended by signal {-ended.status}"
    return f"{how}: {last}" if last else how


class Streams:
    """The standard streams of a whole program, read within bounds.

    Args:
        out: the descriptor of its standard output.
        err: the descriptor of its standard error, of which the end is kept.
    """

    def __init__(self, out: int, err: int) -> None:
        """Begins empty."""
        self.output, self.said = bytearray(), bytearray()
        self._seen = 0
        self._open = {out: self.output, err: self.said}

    def drain(self, most: int) -> bool:
        """Reads what is left once every writer is gone; returns whether it was more than it may be."""
        for descriptor in self._open:
            while self._seen <= most and self._take(descriptor):
                pass
        return self._seen > most

    def _take(self, descriptor: int) -> bool:
        part = os.read(descriptor, 65536)
        kept = self._open[descriptor]
        kept += part
        self._seen += len(part)
        if kept is self.said:
            del self.said[:-SAID]
        return bool(part)


class _Pipes(Streams):
    """The streams of a limited process, with their pipes."""

    def __init__(self, text: bytes) -> None:
        """Makes them; the input is a file without a name, so that nobody has to feed it."""
        self.channel, channel = socket.socketpair()
        with tempfile.TemporaryFile() as file:
            file.write(text)
            file.flush()
            reading = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY)
        self._out, out = os.pipe()
        self._err, err = os.pipe()
        self.theirs = {3: channel.detach(), 0: reading, 1: out, 2: err}
        super().__init__(self._out, self._err)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.leave()
        self.channel.close()
        for descriptor in (self._out, self._err):
            os.close(descriptor)

    def leave(self) -> None:
        """Closes the other side's ends here."""
        for descriptor in self.theirs.values():
            os.close(descriptor)
        self.theirs = {}

    def read(self, zygote: Zygote, until: float, most: int) -> bool:
        """Reads until the program ended or its time is over; returns whether it wrote more than it may."""
        poll = select.poll()
        for descriptor in (zygote.control.fileno(), *self._open):
            poll.register(descriptor, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(max(left * 1000, 1)):
                if descriptor not in self._open:
                    return False
                if not self._take(descriptor):
                    poll.unregister(descriptor)
                if self._seen > most:
                    return True
        return False

    def unread(self) -> str:
        """Returns why the program is not Python; "" where it is. It is told before anything of the program runs."""
        with suppress(EOFError, OSError, NotPlainError):
            match receive(self.channel, time.monotonic()):
                case ["unread", str(why)]:
                    return why
        return ""
