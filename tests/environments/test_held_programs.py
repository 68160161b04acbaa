"""Programs that the kernel holds play their roles, reach neither the tests nor what forked them, and leave nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.environments.sandbox.landlock_runner import NOT_PROTECTED, Sandlocked
from poziomka.environments.sandbox.limits import Limits
from poziomka.environments.sandbox.sandlock_interpreter import reason
from poziomka.environments.sandbox.test_runner import Exam, Examiner

pytestmark = [pytest.mark.skipif(bool(reason()), reason=f"sandlock cannot be had: {reason()}"), pytest.mark.sandbox]
RIGHT = "def f(x):\n    return x + 1\n"
CHECKS = ("assert f(1) == 2", "assert candidate(5) == 6")
ROOMY = Limits(seconds=20.0)  # where nothing hangs, a busy machine may take its time


@pytest.fixture(scope="module")
def place():
    place = Sandlocked(ROOMY)
    yield place
    place.close()


@pytest.fixture(scope="module")
def quick():
    place = Sandlocked(Limits(seconds=0.6))
    yield place
    place.close()


def why(place, source, *checks):
    examiner = Examiner(place)
    outcome = examiner.outcome(source, Exam(("f",), checks or CHECKS))
    assert outcome.passed == (outcome.why == "")
    return outcome.why


def said(place, source, text=b""):
    ran = place.whole(source, text)
    assert ran.fault == ""
    return ran.output.decode().strip()


# ------------------------------------------------------------------------------------------------------ whole programs
def test_a_program_reads_its_input_and_its_output_is_read(place):
    assert said(place, "print(sum(map(int, input().split())))", b"3 4\n") == "7"
    assert said(place, "import sys; print(len(sys.stdin.buffer.read()))", b"x" * 2_000_000) == "2000000"
    assert said(place, "print('does not read')", b"x" * 2_000_000) == "does not read"
    assert said(place, "import sys; sys.stdout.write('no end of line'); sys.stderr.write('x')") == "no end of line"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("1 / 0", "ended with status 1: ZeroDivisionError: division by zero"),
        ("import os; os._exit(3)", "ended with status 3"),
        ("exit(4)", "ended with status 4"),
        ("exit()", ""),
        ("raise SystemExit('no')", "ended with status 1"),
        ("class E(Exception):\n    def __str__(self): raise self\nraise E", "ended with status 1: E"),
        ("import ctypes; ctypes.string_at(0)", "was ended by signal 11"),
        ("import os; os.killpg(0, 9)", "was ended by signal 9"),
        ("held = bytearray(10 ** 9)", "ended with status 1: MemoryError"),
        ("open('x', 'w')", "ended with status 1: PermissionError: [Errno 13] Permission denied: 'x'"),
        ("import os; os.fork()", "ended with status 1: PermissionError: [Errno 1] Operation not permitted"),
        ("import socket; socket.socket()", "ended with status 1: PermissionError: [Errno 1] Operation not permitted"),
    ],
)
def test_how_a_program_ends_is_told(place, source, fault):
    assert place.whole(source).fault == fault


def test_what_is_no_python_is_told_apart_and_cannot_be_feigned(place):
    ran = place.whole("a b")
    assert (ran.read, ran.fault) == (False, "SyntaxError: invalid syntax (<program>, line 1)")
    ran = place.whole("import sys; sys.stdout.buffer.write(b'\\0\\0\\0\\x0cl\\0\\0\\0\\2s\\0\\0\\0\\6unread')")
    assert ran.read


@pytest.mark.fault("A15")
@pytest.mark.parametrize("source", ["while True: pass", "import time, os; os.close(1); os.close(2); time.sleep(10**6)"])
def test_a_program_that_hangs_or_sleeps_is_ended_at_its_limit(quick, source):
    try:
        fault = quick.whole(source).fault
    except EnvironmentFailure as busy:  # it was ended, and whose fault it was is not known
        fault = "ran longer than 0.6 s" if "too busy" in str(busy) else str(busy)
    assert fault == "ran longer than 0.6 s"


def test_output_without_end_is_cut(place):
    for stream in ("out", "err"):
        ran = place.whole(f"import sys\nwhile True: sys.std{stream}.write('x' * 10 ** 6)")
        assert ran.fault == "wrote more than 1000000 bytes"
        assert len(ran.output) <= 1_200_000


def test_a_program_may_use_threads_but_no_more_memory_for_them(place):
    script = """
import sys, threading
sys.setrecursionlimit(10 ** 6)
threading.stack_size(64 * 2 ** 20)
def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
threading.Thread(target=lambda: print(depth(20_000))).start()
"""
    assert said(place, script) == "20000"
    script = "from threading import *\nfor _ in range(9999): Thread(target=Event().wait, daemon=True).start()"
    assert "can't start new thread" in place.whole(script).fault


SPINNING = """
import hashlib, threading
data = bytes(10 ** 7)
threading.stack_size(2 ** 18)
def spin():
    while True: hashlib.sha256(data)
for _ in range(14): threading.Thread(target=spin, daemon=True).start()
spin()
"""


def test_threads_that_wait_for_each_other_are_no_busy_machine():
    script = f"""
import os
from poziomka.environments.sandbox.landlock_runner import Sandlocked
from poziomka.environments.sandbox.limits import Limits
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
place = Sandlocked(Limits(seconds=2.0))
print(place.whole({SPINNING!r}).fault)
place.close()
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("ran longer than 2 s\n", "")


def test_a_program_can_import_what_comes_with_python_and_nothing_of_ours(place):
    assert said(place, "import cmath, json.tool, decimal, asyncio; print(decimal.Decimal('0.1') * 3)") == "0.3"
    for module in ("poziomka.core", "poziomka.tasks", "pip"):
        assert "ModuleNotFoundError" in place.whole(f"import {module}").fault


def test_threads_and_functions_registered_for_the_end_are_waited_for(place):
    script = "import atexit, threading\natexit.register(print, 'end')\nthreading.Thread(target=print, args=['thread'])"
    assert said(place, script + ".start()").split() == ["thread", "end"]


def test_random_numbers_and_the_order_of_sets_follow_the_seed():
    script = "import random; print(random.random(), list({'a', 'b', 'c', 'd'}))"
    places = [Sandlocked(ROOMY, seed) for seed in (0, 0, 1)]
    one, again, other = (said(place, script) for place in places)
    for place in places:
        place.close()
    assert one == again != other


# ------------------------------------------------------------------------------------------------------------ functions
def test_functions_are_called_and_judged(place):
    assert why(place, RIGHT) == ""
    assert (
        why(
            place,
            "import sys\ndef f(x):\n    print('x' * 10 ** 6)\n    sys.stderr.write('x' * 10 ** 6)\n    return x + 1",
        )
        == ""
    )
    assert why(place, "def f(x):\n    return 2 * x") == "AssertionError at 'assert candidate(5) == 6'"


# ------------------------------------------------------------------------------------------------------------- the hold
def test_a_program_reaches_neither_files_nor_whoever_forked_it_nor_the_one_after_it(place):
    script = f"""
import ctypes, os, resource, sys
parent = os.getppid()
def is_open(number):
    try: return bool(os.fstat(number))
    except OSError: return False
libc = ctypes.CDLL(None, use_errno=True)
def asked(result):
    if result < 0: raise OSError(ctypes.get_errno(), "")
for what in (
    lambda: open({__file__!r}), lambda: os.listdir("."), lambda: os.listdir({str(Path(__file__).parent)!r}),
    lambda: open(f"/proc/{{parent}}/mem", "rb"), lambda: open("/proc/self/environ"), lambda: os.kill(parent, 0),
    lambda: os.kill(parent, 19), lambda: resource.prlimit(parent, resource.RLIMIT_CPU),
    lambda: os.setpriority(os.PRIO_PROCESS, parent, 1), lambda: os.sched_setaffinity(parent, [0]), os.setsid,
    lambda: os.mkdir("d"), lambda: os.symlink("a", "b"), lambda: os.chmod(".", 0o777), lambda: os.mkfifo("out"),
    lambda: asked(libc.ptrace(16, parent, 0, 0)), lambda: asked(libc.prctl(1, 0, 0, 0, 0)),
    lambda: asked(libc.syscall(428, -100, b"/", 0)), lambda: asked(libc.process_vm_readv(parent, 0, 0, 0, 0, 0)),
):
    try:
        print("could", what())
    except OSError:
        pass
sys.left = 1
print([number for number in range(100) if is_open(number)])
"""
    assert said(place, script) == "[0, 1, 2]"
    assert said(place, "import sys, os; print(hasattr(sys, 'left'), sorted(os.environ))") == (
        "False ['LANG', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS']"
    )


def test_an_interpreter_that_is_gone_is_replaced(place):
    assert said(place, "print(1)") == "1"
    for nest in place._idle:
        os.kill(nest.held.pid, signal.SIGKILL)
        assert nest.held.over(3)
    assert said(place, "print(2)") == "2"


def test_what_fails_while_a_program_runs_is_our_failure_and_leaves_nothing():
    place, folders = Sandlocked(ROOMY), []

    def broken():
        with place.lent() as nest:
            nest.start("functions")
            folders.append(Path(nest.held.scratch.path))
            os.kill(nest.held.pid, signal.SIGKILL)
            assert nest.held.over(3)
            nest.end()

    with pytest.raises(EnvironmentFailure, match="the process that runs programs ended"):
        broken()
    assert not folders[0].exists()
    assert place._idle == []


def test_a_closed_place_leaves_neither_processes_nor_folders():
    place = Sandlocked(ROOMY)
    assert why(place, RIGHT) == ""
    (nest,) = place._idle
    place.close()
    assert not Path(nest.held.scratch.path).exists()
    assert not Path(f"/proc/{nest.held.pid}").exists()
    assert why(place, RIGHT) == ""
    place.close()


def test_a_fork_of_this_process_has_its_own(place):
    assert said(place, "print(1)") == "1"
    script = """
import os, sys
from poziomka.environments.sandbox.landlock_runner import Sandlocked
place = Sandlocked()
print(place.whole("print(1)").output, flush=True)
if os.fork() == 0:
    print(place.whole("print(2)").output, flush=True)
    sys.exit()
os.wait()
print(place.whole("print(3)").output, flush=True)
"""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (ran.stdout.split(), ran.stderr) == (["b'1\\n'", "b'2\\n'", "b'3\\n'"], "")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of system calls below are of x86-64")
def test_where_programs_cannot_be_sandboxed_the_task_is_refused(denied):
    script = """
from poziomka.core.errors import EnvironmentFailure
from poziomka.tasks import task_named
for name in ("mbpp:sample", "programs:sample"):
    try:
        task_named(name)
    except EnvironmentFailure as error:
        print(error)
"""
    first, second = denied(script, (444, 445, 446), 38).splitlines()
    assert first == second
    assert first.startswith("programs cannot be sandboxed here: the kernel has no Landlock")
    assert "Linux of 6.12" in first


def test_files_are_refused():
    with pytest.raises(SettingsError, match="writes no files: received a limit of 1 bytes"):
        Sandlocked(Limits(file=1))


def test_it_says_by_what_programs_are_held(place):
    assert place.not_protected == NOT_PROTECTED
    assert "Landlock" in NOT_PROTECTED[0]
    assert "seccomp" in NOT_PROTECTED[0]
