"""A kernel without the features that hold code: a filter makes the calls fail as they fail where there are none."""

import subprocess
import sys

import pytest

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
