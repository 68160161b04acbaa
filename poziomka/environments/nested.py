"""What runs inside where programs are judged: a process that is held, and forks another for each program.

A request is the name of a role (`roles`). It is answered by the number of the process, and once that has ended by its
exit status and its bytes at its largest. The process opens three pipes that lie in its folder, "in", "out" and "err",
shuts itself in, sends the frame b"ready" and takes its role. It shares no descriptor with the one that it was forked
from and can send it no signal, so it has no way to speak for it, or to end it.
"""

import gc
import io
import os
import sys
from collections.abc import Mapping

from poziomka.environments.inner import LIBC, SET_DEATH_SIGNAL, bound, enclose, frame, sieve, tell
from poziomka.environments.plain import Pipes
from poziomka.environments.roles import ROLES


def zygote(asked: Mapping[str, int], fence: int, ends: tuple[int, int, int]) -> None:
    """Forks a process for each program, until nobody asks any more.

    Args:
        asked: numbers that `inner` was told: the bounds of each program.
        fence: rules of Landlock for each program.
        ends: descriptors: asked on, answered on, written to.
    """
    asking, answering, writing = ends
    gc.collect()
    gc.freeze()
    tell(answering, b"ready")
    while True:
        role = frame(asking).decode()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for descriptor in (asking, answering, writing):
                    os.close(descriptor)
                code = program(role, asked, fence)
            finally:
                os._exit(code)
        tell(answering, b"%d" % child)
        _, code, usage = os.wait4(child, 0)
        tell(answering, b"%d %d" % (os.waitstatus_to_exitcode(code), usage.ru_maxrss * 1024))


def program(role: str, asked: Mapping[str, int], fence: int) -> int:
    """Runs a program in a role; returns its exit status.

    The streams of a whole program are its own: it reads what follows the request, and what it writes follows the answer
    to it.
    """
    LIBC.prctl(SET_DEATH_SIGNAL, 9, 0, 0, 0)
    reading, writing = os.open("in", os.O_RDONLY), os.open("out", os.O_WRONLY)
    errors = os.open("err", os.O_WRONLY)
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
        nowhere = os.open(os.devnull, os.O_WRONLY)  # what it prints is nobody's to read
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.close(nowhere)
    try:
        enclose(fence)
        sieve(processes=False, threads=asked["processes"] > 1)
        bound(dict(asked))
    except BaseException as error:  # noqa: BLE001 whatever it is, nothing may run
        tell(writing, f"{type(error).__name__}: {error}".encode())
        return 1
    tell(writing, b"ready")
    return ROLES[role](Pipes(reading, writing))
