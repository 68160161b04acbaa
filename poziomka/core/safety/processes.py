"""Ending a process with everything that it started; and a pipe whose every byte has a deadline."""

import ctypes
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of <sys/prctl.h>
ROUNDS = 50  # of looking for processes that were started while others were ended
LENGTH = 8  # bytes that say how long a message is


def keep_orphans() -> None:
    """Makes this process the parent of whatever its children leave behind, so that `end_tree` finds it (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def end_tree(process: int) -> None:
    """Kills a child process and everything that it started, at once; the caller waits for the child itself.

    Where there is no /proc, what the child started and did not keep in its process group goes on.

    Raises:
        OSError: the processes cannot be listed, for want of a free descriptor; the child itself is killed.
    """
    signalled(process, signal.SIGSTOP)  # so that it starts nothing more and goes on owning its orphans
    try:
        for _ in range(ROUNDS):
            living = [pid for pid in descendants(process) if signalled(pid, signal.SIGSTOP)]
            for pid in living:
                signalled(pid, signal.SIGKILL)
            if not living:
                break
            time.sleep(0.001)
    finally:  # a process that stays stopped would be waited for without end
        signalled(process, signal.SIGKILL)


def is_child(process: int) -> bool:
    """Whether a number is still that of a child of this process, dead or alive: once collected, it may be another's."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return True
    try:
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def state_of(process: int) -> tuple[str, int]:
    """Returns the kernel's letter for the state of a process (R runs, S sleeps, Z is dead …), and its parent.

    Raises:
        OSError: it has ended, or there is no /proc.
        ValueError: it ended while it was looked at.
    """
    state, parent = Path(f"/proc/{process}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[:2]
    return state, int(parent)


def descendants(process: int) -> list[int]:
    """Returns the processes that `process` started, and those that they started; the dead are left out."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):  # it ended meanwhile
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
    """Sends a signal; returns whether there was somebody to receive it."""
    try:
        os.kill(process, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Line:
    """One end of a connection over which whole messages go, each before a deadline of `time.monotonic`.

    A pipe of `multiprocessing` waits without end for a reader that hangs, or for the rest of a message.
    """

    def __init__(self, end: socket.socket) -> None:
        """Takes over one end of a socket pair."""
        self.end = end

    @classmethod
    def pair(cls) -> "tuple[Line, Line]":
        """Returns two connected ends."""
        ours, theirs = socket.socketpair()
        return cls(ours), cls(theirs)

    def send(self, message: bytes, deadline: float | None = None) -> None:
        """Sends a message.

        Raises:
            TimeoutError: the deadline passed.
            OSError: nobody is there to read.
        """
        self._hurry(deadline)
        self.end.sendall(len(message).to_bytes(LENGTH, "little"))
        self.end.sendall(message)

    def receive(self, deadline: float | None = None) -> bytes:
        """Returns the next message.

        Raises:
            TimeoutError: the deadline passed.
            EOFError: the other end is closed.
            OSError: the connection broke.
        """
        length = int.from_bytes(self._read(LENGTH, deadline), "little")
        return bytes(self._read(length, deadline))

    def close(self) -> None:
        """Ends the connection."""
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
        """Lets the next call wait until the deadline and no longer."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self.end.settimeout(left)
