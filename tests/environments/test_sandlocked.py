"""CPython that the kernel holds: state is kept, faults are told, nothing gets out, and nothing is left."""

import os
import resource
from dataclasses import replace

import pytest

from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.sandbox import sandlock_interpreter as sandlocked
from poziomka.environments.sandbox.interpreter import CALL, Surface
from poziomka.environments.sandbox.landlock_runner import Sandlocked
from poziomka.environments.sandbox.limits import Limits
from poziomka.environments.sandbox.sandlock_interpreter import Sandlock, interpreter, reason
from poziomka.environments.sandbox.test_runner import Exam, Examiner

pytestmark = [pytest.mark.skipif(bool(reason()), reason=f"sandlock cannot be had: {reason()}"), pytest.mark.sandbox]
ROOMY = replace(CALL, seconds=20.0)  # where nothing hangs, a busy machine may take its time
ROOMY_PROGRAMS = Limits(seconds=20.0)
QUICK = replace(CALL, seconds=0.5)


# ------------------------------------------------------------------------------------------------------------- outputs
def test_variables_are_kept_and_the_last_expression_is_shown(console):
    assert console.run("import math\nx = 3") == replace(console.run("x = 3"), seconds=pytest.approx(0, abs=30))
    output = console.run("print('a'); x + 1")
    assert (output.text, output.fault, output.lost) == ("a\n4\n", "", False)
    assert console.run("None").text == ""


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("x = 1\n1 / 0", "ZeroDivisionError: division by zero (line 2)"),
        ("def f():\n    return [][1]\nf()", "IndexError: list index out of range (line 2)"),
        ("a b", "SyntaxError: invalid syntax (line 1)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt (line 1)"),
        ("class E(Exception):\n    def __str__(self):\n        1 / 0\nraise E", "E (line 4)"),
        (
            "class R:\n    def __repr__(self):\n        return 1 / 0\nR()",
            "ZeroDivisionError: division by zero (line 3)",
        ),
        ("held = bytearray(10 ** 9)", "MemoryError (line 1)"),
        ("input()", "EOFError: EOF when reading a line (line 1)"),
        ("'\\ud800'", ""),
        ("import torch", "ModuleNotFoundError: No module named 'torch' (line 1)"),
        ("import sys; sys.stdout = None; print(3)", ""),
    ],
)
def test_a_fault_is_told_with_its_line_and_the_variables_are_kept(console, code, fault):
    console.run("kept = 5")
    output = console.run(code)
    assert (output.fault, output.lost) == (fault, False)
    assert console.run("assert kept == 5").fault == ""


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import os; os._exit(3)", "the process ended with status 3"),
        ("exit('no')", "SystemExit: no (line 1)"),
        ("import ctypes; ctypes.string_at(0)", "the process was ended by signal 11"),
        ("import os; os.write(11, b'nonsense')", "the process answered what is no answer"),
        ("import os; os.close(11)", "the process ended with status 1"),
    ],
)
def test_what_ends_the_process_is_told_and_the_next_call_begins_anew(console, code, fault):
    console.run("kept = 5")
    output = console.run(code)
    assert (output.fault, output.lost) == (fault, True)
    assert "NameError" in console.run("kept").fault


@pytest.mark.fault("A15")
@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(10**6)", "9 ** 9 ** 9 ** 9"])
def test_code_that_hangs_is_ended_at_its_limit(code):
    console = Sandlock(QUICK).open()
    try:
        output = console.run(code)
        ended = (output.fault, output.lost)
    except EnvironmentFailure as busy:  # it was ended, and whose fault it was is not known
        ended = ("ran longer than 0.5 s", True) if "too busy" in str(busy) else str(busy)
    assert ended == ("ran longer than 0.5 s", True)
    console.close()


def test_output_of_every_kind_is_captured_in_its_order(console):
    output = console.run(
        "import ctypes, os, sys\nprint('a')\nos.write(1, b'b\\n')\nsys.stderr.write('c\\n')\n"
        "libc = ctypes.CDLL(None)\nlibc.puts(b'd'); libc.fflush(None)\nos.write(2, b'e\\n'); None"
    )
    assert output.text == "a\nb\nc\nd\ne\n"


def test_output_is_cut_and_whoever_writes_on_is_ended(console):
    output = console.run("print('é' * 100_000)")
    assert (output.text, output.fault, output.lost) == (
        "é" * CALL.output,
        f"wrote more than {CALL.output} characters",
        False,
    )
    output = console.run("while True: print('x' * 10 ** 6)")
    assert output.lost
    assert output.fault.startswith("wrote more than")
    assert len(output.text) == CALL.output


def test_numpy_is_there_and_nothing_else_of_ours(console):
    assert console.run("import numpy as np\nfloat(np.linalg.inv(2 * np.eye(3))[0, 0])").text == "0.5\n"
    assert console.run("import os; sorted(os.environ), os.listdir('.')").text == (
        "(['LANG', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'], [])\n"
    )


def test_what_is_random_is_so_by_the_seed():
    code = "import random, secrets, numpy\nrandom.random(), secrets.token_hex(4), hash('a'), float(numpy.random.rand())"
    texts = []
    for seed in (0, 0, 1):
        console = Sandlock(ROOMY, seed).open()
        texts.append(console.run(code).text)
        console.close()
    assert texts[0] == texts[1] != texts[2]


# --------------------------------------------------------------------------------------------------------------- forks
def test_a_fork_has_the_variables_and_neither_sees_the_other(console):
    console.run("import random\nx = [random.random()]\nobject()")
    before = console.run("x").text
    fork = console.fork()
    fork.run("x.append(1)")
    again = fork.fork()
    assert console.run("x").text == before
    assert fork.run("len(x)").text == again.run("len(x)").text == "2\n"
    fork.close()
    assert again.run("len(x)").text == "2\n"
    again.close()


def test_a_fork_of_what_does_not_repeat_is_refused(console):
    console.run("import time; time.time_ns()")
    fork = console.fork()
    with pytest.raises(EnvironmentFailure, match="cannot be forked: call 1 of 1 said '"):
        fork.run("1")


def test_a_fork_does_not_inherit_what_was_lost(console):
    console.run("x = 1")
    console.run("exit()")
    console.run("y = 2")
    fork = console.fork()
    assert fork.run("y").text == "2\n"
    assert "NameError" in fork.run("x").fault
    fork.close()


# ------------------------------------------------------------------------------------------------------ where it cannot
ASKED = """
from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.sandbox.registry import interpreter_named
try:
    interpreter_named("sandlock")
except EnvironmentFailure as error:
    print(error)
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of system calls below are of x86-64")
@pytest.mark.parametrize(
    ("calls", "error", "why"),
    [
        ((444, 445, 446), 38, "the kernel has no Landlock, and sandlock needs ABI 6"),
        ((446,), 1, "sandlock cannot start a process"),  # landlock_restrict_self
        ((317,), 22, "sandlock cannot start a process"),  # seccomp
    ],
)
def test_where_the_kernel_cannot_hold_it_is_refused_with_the_reason_and_the_others(denied, calls, error, why):
    said = denied(ASKED, calls, error)
    assert said.startswith(f"code cannot run in 'sandlock' here: {why}")
    assert "name monty instead" in said


def test_a_machine_that_is_too_busy_now_is_asked_again(monkeypatch):
    def busy(*arguments):
        message = "the machine is too busy"
        raise EnvironmentFailure(message)

    sandlocked._reason.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(sandlocked, "ask", busy)
        assert reason() == "the machine is too busy"
    assert reason() == ""


@pytest.fixture
def crowded():
    """Takes the descriptors up to a number that select() does not take, as some hundred consoles do."""
    limits, taken = resource.getrlimit(resource.RLIMIT_NOFILE), [0]
    if limits[1] < 4096:
        pytest.skip("this machine allows a process few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, limits[1]))
    while taken[-1] < 1024:
        taken.append(os.dup(0))
    yield
    for number in taken[1:]:
        os.close(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("crowded")
def test_consoles_and_programs_run_beside_hundreds_of_others():
    interpreter = Sandlock(ROOMY, spare=0)
    console = interpreter.open()
    assert console.run("6 * 7").text == "42\n"
    console.close()
    place = Sandlocked(ROOMY_PROGRAMS)
    assert place.whole("print(6 * 7)").output == b"42\n"
    assert Examiner(place).outcome("def f(x):\n    return 42", Exam(("f",), ("assert f(1) == 42",))).passed
    place.close()


def test_it_has_no_kinds():
    assert reason("x") == "it has no kinds, and 'x' was named"


def test_every_surface_is_held_by_something():
    isolation = interpreter().isolation()
    assert set(isolation.held) == set(Surface)
    assert all(isolation.held.values())
    assert isolation.not_protected


# ------------------------------------------------------------------------------------------------ between two consoles
SHARED = "import fcntl, os, errno\nfile = open(os.__file__)\n"


@pytest.fixture
def other(held):
    console = held.open()
    yield console
    console.close()


@pytest.mark.fault("E10")
@pytest.mark.parametrize(
    ("lock", "look"),
    [
        ("fcntl.flock(file, fcntl.LOCK_EX)", "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)"),
        (
            "fcntl.lockf(file, fcntl.LOCK_SH)",
            "fcntl.fcntl(file, fcntl.F_GETLK, struct.pack('hhqqi', 1, 0, 0, 0, 0))[:2]",
        ),
        (
            "fcntl.fcntl(file, 37, struct.pack('hhqqi', 0, 0, 0, 0, 0))",
            "fcntl.fcntl(file, 36, struct.pack('hhqqi', 1, 0, 0, 0, 0))[:2]",
        ),
    ],
)
def test_a_lock_on_a_file_of_the_library_is_not_seen_by_another_console(console, other, lock, look):
    for one in (console, other):
        assert one.run(f"import struct\n{SHARED}").fault == ""
    before = other.run(look)
    assert console.run(f"_ = {lock}").fault == ""
    after = other.run(look)
    assert (after.text, after.fault) == (before.text, before.fault)


@pytest.mark.fault("E10")
def test_a_database_in_the_folder_of_a_console_works_without_locks(console):
    script = "import sqlite3\nbase = sqlite3.connect('x.db')\nbase.execute('create table t (a)')\n"
    script += "base.execute('insert into t values (6)')\nbase.commit()\nbase.close()\n"
    output = console.run(script + "sqlite3.connect('x.db').execute('select * from t').fetchall()")
    assert (output.text, output.fault) == ("[(6,)]\n", "")


@pytest.mark.fault("E10")
@pytest.mark.parametrize(
    "ask",
    [
        "os.sched_getaffinity({})",
        "os.kill({}, 0)",
        "os.getpgid({})",
        "os.getsid({})",
        "os.getpriority(os.PRIO_PROCESS, {})",
        "os.sched_getscheduler({})",
        "os.sched_getparam({})",
        "os.sched_rr_get_interval({})",
        "time.clock_gettime(~{} << 3 | 2)",
        "fcntl.fcntl(file, fcntl.F_SETOWN, {})",
        "resource.prlimit({}, resource.RLIMIT_CPU)",
    ],
)
def test_a_process_of_ours_and_a_number_without_a_process_look_alike(console, ask):
    assert console.run(f"import resource, time\n{SHARED}").fault == ""
    here, nowhere = (console.run(ask.format(number)) for number in (os.getpid(), 2**22 + 1))
    assert here.fault
    assert (here.text, here.fault) == (nowhere.text, nowhere.fault)


@pytest.mark.fault("E10")
def test_a_console_still_learns_about_itself(console):
    console.run("import os, signal, time")
    output = console.run("len(os.sched_getaffinity(0)) > 0, os.getpgid(0) > 0, time.thread_time() >= 0")
    assert (output.text, output.fault) == ("(True, True, True)\n", "")
    assert console.run("os.kill(os.getpid(), 0); os.kill(0, 0); signal.raise_signal(signal.SIGURG)").fault == ""
    assert (
        console.run("time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID) > 0, time.sleep(0.001)").text == "(True, None)\n"
    )


@pytest.mark.fault("E10")
@pytest.mark.parametrize("hold", ["F_SETLEASE, fcntl.F_RDLCK", "F_NOTIFY, fcntl.DN_ACCESS"])
def test_a_file_of_the_library_can_be_neither_leased_nor_watched(console, hold):
    console.run(SHARED)
    assert "PermissionError" in console.run(f"fcntl.fcntl(file, fcntl.{hold})").fault


@pytest.mark.fault("E10")
def test_what_two_consoles_can_still_tell_each_other_is_declared(held):
    told = held.isolation().not_protected
    assert [sentence for sentence in told if "page cache" in sentence]
