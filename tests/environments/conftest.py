"""Consoles that the kernel holds, and a kernel that cannot: a filter makes calls fail as where there are none."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from poziomka.environments.sandbox.interpreter import CALL
from poziomka.environments.sandbox.sandlock_interpreter import Sandlock

DENY = """
import ctypes, sys
calls, error = {calls}, {error}
libc = ctypes.CDLL(None, use_errno=True)
lines = [(0x20, 0, 0, 0)]
for number in calls:
    lines += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | error)]
lines.append((0x06, 0, 0, 0x7FFF0000))
program = (ctypes.c_uint64 * len(lines))(*(c | t << 16 | f << 24 | v << 32 for c, t, f, v in lines))
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_void_p))
held = Program(len(lines), ctypes.cast(program, ctypes.c_void_p))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(held), 0, 0) == 0
"""


@pytest.fixture
def denied():
    """Runs a script where some system calls fail; returns what it printed."""

    def run(script, calls, error):
        code = DENY.format(calls=calls, error=error) + script
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert ran.stderr == ""
        return ran.stdout

    return run


@pytest.fixture(scope="module")
def held():
    """The interpreter, with time for a busy machine: where it is asked nothing hangs."""
    interpreter = Sandlock(replace(CALL, seconds=20.0))
    yield interpreter
    interpreter.close()


@pytest.fixture
def console(held):
    console = held.open()
    yield console
    console.close()


def _alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.fixture
def alive():
    """Whether a process runs."""
    return _alive


@pytest.fixture
def gone():
    """Waits until a process has ended."""

    def ended(process):
        while _alive(process):
            time.sleep(0.01)
        return True

    return ended


@pytest.fixture
def away():
    """Waits until a folder is gone: what takes long is removed in the background."""

    def removed(path):
        while Path(path).exists():
            time.sleep(0.05)
        return True

    return removed
