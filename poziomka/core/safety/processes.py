"""Killing of process trees, and a message connection whose every send and receive has a deadline."""

import ctypes
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of <sys/prctl.h>
ROUNDS = 50  # scans for processes that were started while others were killed
LENGTH = 8  # bytes of the length prefix of a message


def keep_orphans() -> None:
    """Makes this process the parent of its children's orphans, so that `end_tree` finds them (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def end_tree(process: int) -> None:
    """Kills a child process and all its descendants with SIGKILL; the caller waits for the child itself.

    Without /proc, descendants outside the child's process group survive.

    Raises:
        OSError: no file descriptor is free, so that descendants cannot be listed; only the child itself is killed.
    """
    signalled(process, signal.SIGSTOP)  # so that it starts no more processes and stays the parent of its orphans
    try:
        for _ in range(ROUNDS):
            living = [pid for pid in descendants(process) if signalled(pid, signal.SIGSTOP)]
            for pid in living:
                signalled(pid, signal.SIGKILL)
            if not living:
                break
            time.sleep(0.001)
    finally:  # the caller would wait forever for a process that stays stopped
        signalled(process, signal.SIGKILL)


def is_child(process: int) -> bool:
    """Returns whether a process id still belongs to a child of this process, running or ended but not waited for.

    Once a child was waited for, the kernel may give its id to another process. Without `os.waitid`, always True.
    """
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return True
    try:
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def state_of(process: int) -> tuple[str, int]:
    """Returns (state letter, parent's process id) of a process from /proc/PID/stat; R is running, S sleeping, Z zombie.

    Raises:
        OSError: the process has ended, or there is no /proc.
        ValueError: the process ended while its entry was read.
    """
    state, parent = Path(f"/proc/{process}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[:2]
    return state, int(parent)


def descendants(process: int) -> list[int]:
    """Returns the ids of all living descendants of a process; [] without /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):  # the process ended meanwhile
            state, parent = state_of(int(entry.name))
            if state not in "ZX":
                parents[int(entry.name)] = parent
    found: list[int] = []
    sought = {process}
    while sought:
        sought = {pid for pid, parent in parents.items() if parent in sought}
        found += sought
    return found


def signalled(process: int, number: signal.Signals) -> bool:
    """Sends a signal to a process; returns False if it does not exist or may not be signalled."""
    try:
        os.kill(process, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Line:
    """One end of a socket pair that carries length-prefixed messages, each with a deadline in `time.monotonic` seconds.

    A pipe of `multiprocessing` has no deadline: it waits forever for a reader that hangs or for the rest of a message.

    Args:
        end: one socket of the pair.
    """

    def __init__(self, end: socket.socket) -> None:
        """Wraps one end of a socket pair; `close` closes it."""
        self.end = end

    @classmethod
    def pair(cls) -> "tuple[Line, Line]":
        """Returns the two ends of a new connection."""
        ours, theirs = socket.socketpair()
        return cls(ours), cls(theirs)

    def send(self, message: bytes, deadline: float | None = None) -> None:
        """Sends a message.

        Args:
            message: bytes of the message.
            deadline: time by `time.monotonic` at which the call gives up; None waits forever.

        Raises:
            TimeoutError: the deadline passed.
            OSError: the other end is closed.
        """
        self._hurry(deadline)
        self.end.sendall(len(message).to_bytes(LENGTH, "little"))
        self.end.sendall(message)

    def receive(self, deadline: float | None = None) -> bytes:
        """Returns the next message.

        Args:
            deadline: time by `time.monotonic` at which the call gives up; None waits forever.

        Raises:
            TimeoutError: the deadline passed.
            EOFError: the other end is closed.
            OSError: the connection broke.
        """
        length = int.from_bytes(self._read(LENGTH, deadline), "little")
        return bytes(self._read(length, deadline))

    def close(self) -> None:
        """Closes this end of the connection."""
        self.end.close()

    def _read(self, count: int, deadline: float | None) -> bytearray:
        read = bytearray()
        while len(read) < count:
            self._hurry(deadline)
            part = self.end.recv(min(count - len(read), 1 << 20))
            if not part:
                raise EOFError
            read += part
        return read

    def _hurry(self, deadline: float | None) -> None:
        """Sets the socket's timeout to the seconds left before the deadline.

        Raises:
            TimeoutError: the deadline has passed.
        """
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self.end.settimeout(left)
