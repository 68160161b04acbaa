"""Client of a fork server: starts a sandboxed interpreter (`fork_server`) that forks a process for each program."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.sandbox.console_ipc import hear, started
from poziomka.environments.sandbox.landlock_process import HeldProcess, coded, spent
from poziomka.environments.sandbox.limits import Ended, Limits
from poziomka.environments.sandbox.worker import fork_server, wire_format, worker, worker_roles
from poziomka.environments.sandbox.worker.seccomp import filter_words
from poziomka.environments.sandbox.worker.wire_format import Pipes, is_readable

MODULES = {  # in import order
    f"module.{module.__name__}": module for module in (wire_format, worker_roles, fork_server)
}
PATIENCE = 8.0  # seconds; timeout for forking or ending a process, which takes one second on a busy machine


@dataclass(slots=True)
class Forked:
    """A process forked by the fork server, and the client's ends of its pipes.

    Attributes:
        pid: process ID.
        process: pidfd (file descriptor) of the process, readable once it has ended; -1 if closed.
        reading: file descriptor of the pipe from the process; -1 if closed.
        writing: file descriptor of the pipe to the process; -1 if closed.
        errors: file descriptor of the pipe from its standard error; -1 if closed.
    """

    pid: int = 0
    process: int = -1
    reading: int = -1
    writing: int = -1
    errors: int = -1

    @property
    def channel(self) -> Pipes:
        """The pipes from and to the process, as one channel."""
        return Pipes(self.reading, self.writing)

    def ended(self, seconds: float) -> bool:
        """Waits up to `seconds` for the process to exit; returns whether it has."""
        return is_readable(self.process, seconds)

    def close(self, *names: str) -> None:
        """Closes some of the process's descriptors that are open, or all of them if no name is given.

        Args:
            names: attributes: "process", "reading", "writing", "errors".
        """
        for name in names or ("process", "reading", "writing", "errors"):
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)


class Nest:
    """Starts a sandboxed fork server and forks processes from it: a program, or a program and its tests.

    It runs one program at a time.

    Args:
        limits: limits of each forked process.
        seed: seed of string hashing and of Python's random numbers.

    Raises:
        EnvironmentFailure: the server cannot be started.
    """

    def __init__(self, limits: Limits, seed: int) -> None:
        """Starts the server and waits until it is set up."""
        self.owner = os.getpid()
        numbers = [f"{name}={value}" for name, value in limits.of_process().items()]
        modules = [f"{name}={coded(module)}" for name, module in MODULES.items()]
        words = filter_words(processes=False, threads=limits.processes > 1)
        own = replace(limits, file=1, processes=3)  # the server writes no files: it only opens the pipes in its folder
        self.held = HeldProcess(own, seed, ["role=nest", *numbers, *words, *modules])
        started(self.held)
        self._forked: list[Forked] = []

    def start(self, *names: str) -> list[Forked]:
        """Forks and sandboxes a process for each role and returns them; each process waits for its request.

        Args:
            names: roles, keys of worker_roles.ROLES: "functions", "whole" or "tests". A process with the role "tests"
                calls the functions of the process before it.

        Raises:
            EnvironmentFailure: a process cannot be forked, or not be sandboxed.
        """
        paths = [[f"{self.held.scratch.path}/{n}.{end}" for end in fork_server.PIPES] for n in range(len(names))]
        made = [path for of_one in paths for path in of_one]
        both: list[int] = []
        try:
            for path in made:
                os.mkfifo(path, 0o600)
            for to, *others in paths:
                both.append(os.open(to, os.O_RDWR))  # opening a FIFO for one direction would block until both are open
                reading, errors = (os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in others)
                self._forked.append(Forked(reading=reading, errors=errors))
            worker.tell(self.held.asking, " ".join(names).encode())
            for forked, number in zip(self._forked, self._hear().split(), strict=True):
                forked.pid = int(number)
                forked.process = os.pidfd_open(forked.pid)
            for forked, (to, *_) in zip(self._forked, paths, strict=True):
                self._ready(forked)
                forked.writing = os.open(to, os.O_WRONLY)
        except OSError as error:
            message = f"a program cannot be started: {error}"
            raise EnvironmentFailure(message) from error
        finally:
            for descriptor in both:
                os.close(descriptor)
            for path in made:
                with suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108 a Path would do no better
        return self._forked

    @staticmethod
    def _ready(forked: Forked) -> None:
        """Waits until a forked process is sandboxed.

        Raises:
            EnvironmentFailure: the process could not be sandboxed, or did not answer in time.
        """
        said = hear(forked.reading, time.monotonic() + PATIENCE)
        if said != b"ready":
            message = f"a program cannot be started: {said.decode(errors='replace') or 'its process ended'}"
            raise EnvironmentFailure(message)
        for descriptor in (forked.reading, forked.errors):
            os.set_blocking(descriptor, True)

    def end(self) -> list[Ended]:
        """Kills the forked processes that still run; returns the exit status and resource use of each process.

        The output of the processes can still be read until `leave`.

        Raises:
            EnvironmentFailure: the server does not answer.
        """
        found = [(forked.ended(0), *spent(forked.pid)) for forked in self._forked]
        for forked, (alone, *_) in zip(self._forked, found, strict=True):
            if not alone:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(forked.process, signal.SIGKILL)
        ended = []
        for alone, used, waited in found:
            status, memory = self._hear().split()
            ended.append(Ended(int(status) if alone else None, int(memory) if alone else 0, used, waited))
        return ended

    def leave(self) -> None:
        """Closes the pipes to the forked processes, after `end`; the server can then fork new ones."""
        for forked in self._forked:
            forked.close()
        self._forked = []

    def close(self) -> None:
        """Kills the fork server with all processes that it forked, and closes all pipes."""
        self.held.end()
        self.held.free()
        self.leave()

    def _hear(self) -> bytes:
        said = hear(self.held.answering, time.monotonic() + PATIENCE)
        if not said:
            message = "the process that runs programs ended, or does not answer"
            raise EnvironmentFailure(message)
        return said
