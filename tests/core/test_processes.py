"""Processes are found and ended with all that they started, whatever their names are."""

import os
import subprocess
import sys

import pytest

from poziomka.core.safety.processes import descendants

RENAMED = "import ctypes; ctypes.CDLL(None).prctl(15, b'gr\\xc3', 0, 0, 0); print('ready', flush=True); input()"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
@pytest.mark.fault("E15")
def test_a_process_whose_name_is_cut_within_a_letter_is_found():
    with subprocess.Popen([sys.executable, "-c", RENAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        assert child.pid in descendants(os.getpid())
        child.kill()
