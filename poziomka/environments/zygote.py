"""A warm interpreter outside this process, from which programs are forked: the side that asks (`inside` answers)."""

import fcntl
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.plain import NotPlainError, receive, send

PATIENCE = 8.0  # seconds within which it must answer; a busy machine starts an interpreter in one
MARK = "POZIOMKA_ZYGOTE"  # the variable by which processes are found that outlived it
BEGIN = """
import sys, types
for name, folder in (("poziomka", sys.argv[1]), ("poziomka.environments", sys.argv[1] + "/environments")):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]  # no more of the package is run than the modules that are named here
from poziomka.environments.inside import main
main(separate=sys.argv[2] == "separate", folders=sys.argv[3])
"""
PACKAGE = str(Path(__file__).resolve().parent.parent)
LOST = "the process that watches programs ended; one that runs as the same user can end it"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    Attributes:
        status: exit status, negative for a signal; None where it did not end by itself.
        seconds: how long it ran; 0 where it did not end by itself.
        memory: bytes at its largest; 0 where it did not end by itself.
        used: CPU seconds of its main thread.
        waited: seconds in which that thread could run and had no processor, though the program had no other.
    """

    status: int | None = None
    seconds: float = 0.0
    memory: int = 0
    used: float = 0.0
    waited: float = 0.0

    def starved(self, seconds: float) -> bool:
        """Whether it was the machine that took so many seconds, as the program had to wait and was hardly run."""
        return self.waited > seconds / 2 and self.used < seconds / 10


class Zygote:
    """One interpreter that waits; it runs one child at a time.

    Args:
        separate: programs run as a user of their own, where this process may arrange that (it runs as root).
        seed: of the order of sets of texts.

    Raises:
        EnvironmentFailure: the interpreter does not start.
    """

    def __init__(self, *, separate: bool, seed: int) -> None:
        """Starts it; `wait` says when it is ready."""
        self.owner = os.getpid()
        name, value = MARK, uuid4().hex
        self.mark = f"{name}={value}"
        self.folders = f"{tempfile.gettempdir()}/poziomka-{value[:12]}-"
        self.control, theirs = socket.socketpair()
        high = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 16)  # never the number that it is to have there
        theirs.close()
        nothing = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
        flags = ["-s", "-S", "-P", "-B", "-X", "utf8"]  # as -I, but for the seed
        how = "separate" if separate else "same"
        try:
            self.process = os.posix_spawn(
                sys.executable,
                [sys.executable, *flags, "-c", BEGIN, PACKAGE, how, self.folders],
                {"PYTHONHASHSEED": str(seed), name: value},
                file_actions=[*nothing, (os.POSIX_SPAWN_DUP2, high, 3)],
            )
        except OSError as error:
            self.control.close()
            message = f"cannot start an interpreter, {sys.executable!r}, to run programs in: {error}"
            raise EnvironmentFailure(message) from error
        finally:
            os.close(high)
        self.ready = False

    def start(self, role: str, limits: Mapping[str, int], descriptors: Mapping[int, int]) -> None:
        """Starts a child.

        Args:
            role: what it is to be (`roles`).
            limits: of the process.
            descriptors: its descriptors, by the number that they have there; they stay open here.

        Raises:
            EnvironmentFailure: it cannot be started.
        """
        try:
            socket.send_fds(self.control, [b"\0"], list(descriptors.values()))
            send(self.control, (role, dict(limits), list(descriptors)))
        except OSError as error:
            raise EnvironmentFailure(LOST) from error

    def started(self) -> None:
        """Waits until the child runs.

        Raises:
            EnvironmentFailure: it does not.
        """
        answer = self._hear()
        if answer != ["started"]:
            message = f"a program cannot be started: {answer[-1]}"
            raise EnvironmentFailure(message)

    def end(self) -> Ended:
        """Ends the child and all that it left behind; returns how it had ended.

        Raises:
            EnvironmentFailure: it could not be started, or not all could be ended.
        """
        try:
            send(self.control, "end")
        except OSError as error:
            raise EnvironmentFailure(LOST) from error
        ended = Ended()
        while True:
            match self._hear():
                case ["started"]:
                    pass
                case ["ended", int(status), float(seconds), int(memory)]:
                    ended = Ended(status, seconds, memory)
                case ["over", 0, float(used), float(waited)]:
                    return replace(ended, used=used, waited=waited)
                case ["failed", why]:
                    message = f"a program cannot be started: {why}"
                    raise EnvironmentFailure(message)
                case other:
                    message = f"a program could not be ended: {other}"
                    raise EnvironmentFailure(message)

    def _hear(self) -> list[object]:
        until = time.monotonic() + PATIENCE
        try:
            if not self.ready:
                receive(self.control, until)
                self.ready = True
            answer = receive(self.control, until)
        except (EOFError, NotPlainError, OSError) as error:
            late = isinstance(error, TimeoutError)
            raise EnvironmentFailure(f"it did not answer within {PATIENCE:g} s" if late else LOST) from error
        assert isinstance(answer, list)
        return answer

    def close(self) -> None:
        """Ends the interpreter with its child; may be called twice, and in a fork of the process that started it."""
        if self.owner != os.getpid() or self.process == 0:
            self.control.close()
            return
        with suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)  # it notices though a fork of ours still holds a copy
        self.control.close()
        process, self.process = self.process, 0
        if not _left(process, 2.0):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(process, 0)
            sweep(self.mark)
            for folder in Path(self.folders).parent.glob(f"{Path(self.folders).name}*"):
                with suppress(OSError, RecursionError):
                    shutil.rmtree(folder)


def _left(process: int, seconds: float) -> bool:
    """Whether a child of ours ends of its own, and in good order, within some seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            found, status = os.waitpid(process, os.WNOHANG)
        except ChildProcessError:
            return False
        if found:
            return status == 0
        time.sleep(0.0005)
    return False


def sweep(mark: str) -> int:
    """Kills the processes whose environment began with a mark; returns how many there were.

    It is for what outlives an interpreter that was killed: as long as it lives, it ends what descends from it.
    """
    found = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
                found += 1
    return found


class Zygotes:
    """Interpreters of one kind, one for each thread that asks at a time; they stay warm until this process ends.

    A fork of this process starts its own. Closing twice is allowed, and so is use after it.

    Args:
        separate: as for `Zygote`.
        seed: as for `Zygote`.
    """

    def __init__(self, *, separate: bool, seed: int = 0) -> None:
        """Starts none."""
        self.separate = separate
        self.seed = seed
        self._idle: list[Zygote] = []  # popping and appending are atomic, so there is no lock that a fork could hold
        self._finalizer = weakref.finalize(self, _close, self._idle)

    @contextmanager
    def lent(self) -> Iterator[Zygote]:
        """Lends one; it comes back unless something was raised."""
        zygote = None
        while zygote is None:
            try:
                zygote = self._idle.pop()
            except IndexError:
                zygote = Zygote(separate=self.separate, seed=self.seed)
            if zygote.owner != os.getpid():  # of the process that we were forked from
                zygote.close()
                zygote = None
        try:
            yield zygote
        except BaseException:
            zygote.close()
            raise
        self._idle.append(zygote)

    def close(self) -> None:
        """Ends those that nobody uses."""
        _close(self._idle)


def _close(idle: list[Zygote]) -> None:
    while idle:
        idle.pop().close()
