"""Fork server in a sandboxed interpreter: forks a process for each program (`fork_client` is the client).

A request consists of role names (`worker_roles`), one for each process. The server answers with the process IDs, and
then, for each process that has ended, with its exit status and its peak memory in bytes. A process opens three pipes in
the server's folder (PIPES, with its index in the request before the name), enters its own sandbox, sends the frame
b"ready" and starts its role. It shares no descriptor with the server and cannot send it a signal, so it can neither
answer in the server's place nor end it. Tests also open the pipes of the process before them.
"""

import gc
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from poziomka.environments.sandbox.worker.wire_format import Pipes
from poziomka.environments.sandbox.worker.worker import LIBC, SET_DEATH_SIGNAL, bound, enclose, frame, sieve, tell
from poziomka.environments.sandbox.worker.worker_roles import ROLES

PIPES = ("in", "out", "err")  # to the process, from it, and from its standard error


def nest(asked: dict[str, str], limits: Mapping[str, int], fence: int, ends: tuple[int, int, int]) -> None:
    """Forks processes on request, until the client closes the pipe.

    Args:
        asked: command-line arguments of `worker.py`, by name.
        limits: limits of each process: the numeric ones among the arguments, by name.
        fence: file descriptor of the Landlock ruleset for each process.
        ends: file descriptors of the pipes to the client: for requests, answers and output.
    """
    asking, answering, _ = ends
    gc.collect()
    gc.freeze()
    tell(answering, b"ready")
    while True:
        names = frame(asking).decode().split()
        children = [_fork(ends, partial(program, names, place, asked, limits, fence)) for place in range(len(names))]
        tell(answering, b" ".join(b"%d" % child for child in children))
        for child in children:
            _, code, usage = os.wait4(child, 0)
            tell(answering, b"%d %d" % (os.waitstatus_to_exitcode(code), usage.ru_maxrss * 1024))


def _fork(ends: tuple[int, int, int], run: Callable[[], int]) -> int:
    """Forks a process that calls `run` and exits with the returned status; returns its process ID."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for descriptor in ends:
            os.close(descriptor)
        code = run()
    finally:
        os._exit(code)


def program(names: Sequence[str], place: int, asked: dict[str, str], limits: Mapping[str, int], fence: int) -> int:
    """Sandboxes this forked process and runs its role; returns the exit status.

    A whole program uses the pipes as its standard streams: its input follows the request, and its output follows the
    answer to the request.

    Args:
        names: roles of all processes of the request.
        place: index of this process among them.
        asked: command-line arguments of `worker.py`, by name.
        limits: limits of the process, by name (see worker.bound).
        fence: file descriptor of its Landlock ruleset.
    """
    LIBC.prctl(SET_DEATH_SIGNAL, 9, 0, 0, 0)
    role = names[place]
    reading, writing, errors = _opened(place)
    os.dup2(errors, 2)
    os.close(errors)
    if role == "whole":
        os.dup2(reading, 0)
        os.dup2(writing, 1)
        os.close(reading)
        os.close(writing)
        reading, writing = 0, 1
        assert isinstance(sys.stdout, io.TextIOWrapper)
        sys.stdout.reconfigure(line_buffering=False)
    else:
        nowhere = os.open(os.devnull, os.O_WRONLY)  # printed output is discarded
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.close(nowhere)
    channels = [Pipes(reading, writing)]
    try:
        if role == "tests":
            channels.append(Pipes(*_called(place - 1)))
        enclose(fence)
        sieve(asked)
        bound(dict(limits))
    except BaseException as error:  # noqa: BLE001 after any error, no program may run
        tell(writing, f"{type(error).__name__}: {error}".encode())
        return 1
    tell(writing, b"ready")
    return ROLES[role](*channels)


def _opened(place: int) -> list[int]:
    """Opens the pipes of the process at an index: to read from, to write to, and for its standard error."""
    flags = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)
    return [os.open(f"{place}.{name}", flag) for name, flag in zip(PIPES, flags, strict=True)]


def _called(place: int) -> tuple[int, int]:
    """Opens the other ends of the pipes of the process at an index: to read from it, and to write to it."""
    return os.open(f"{place}.out", os.O_RDONLY), os.open(f"{place}.in", os.O_WRONLY)
