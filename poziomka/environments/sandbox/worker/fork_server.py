"""The code of a sandboxed interpreter that forks a process for each program (`fork_client` is the side that asks).

A request is the names of roles (`worker_roles`), one for each process. It is answered by the numbers of the processes,
and then, for each that has ended, by its exit status and its bytes at its largest. A process opens three pipes that lie
in the interpreter's folder (PIPES, with its place in the request before the name), enters its own sandbox, sends the
frame b"ready" and takes its role. It shares no descriptor with the interpreter and can send it no signal, so it cannot
answer for it or end it. Tests also open the pipes of the process before them.
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

PIPES = ("in", "out", "err")  # to the process, from it, and its standard error


def nest(asked: dict[str, str], limits: Mapping[str, int], fence: int, ends: tuple[int, int, int]) -> None:
    """Forks processes, until the other side closes.

    Args:
        asked: words that `worker` was given.
        limits: the numbers among them: the limits of each process.
        fence: rules of Landlock for each process.
        ends: descriptors: asked on, answered on, written to.
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
    """Forks a process that does something and ends; returns its number."""
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
    """Takes a role; returns the exit status.

    The streams of a whole program are its own: it reads what follows the request, and what it writes follows the answer
    to it.
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
        nowhere = os.open(os.devnull, os.O_WRONLY)  # what it prints is read by no one
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
    except BaseException as error:  # noqa: BLE001 whatever it is, nothing may run
        tell(writing, f"{type(error).__name__}: {error}".encode())
        return 1
    tell(writing, b"ready")
    return ROLES[role](*channels)


def _opened(place: int) -> list[int]:
    """Opens the pipes of the process at a place."""
    flags = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)
    return [os.open(f"{place}.{name}", flag) for name, flag in zip(PIPES, flags, strict=True)]


def _called(place: int) -> tuple[int, int]:
    """Opens the other ends of the pipes of the process at a place: to read from it, and to write to it."""
    return os.open(f"{place}.out", os.O_RDONLY), os.open(f"{place}.in", os.O_WRONLY)
