"""Consoles of monty: state, faults, limits, forks, parking, crashes, and nothing left behind."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.environments.sandbox.interpreter import CALL, Surface
from poziomka.environments.sandbox.monty import Monty, interpreter, reason

pytestmark = pytest.mark.sandbox

LIMITS = replace(CALL, seconds=0.3, memory=64 * 2**20, output=1000)


@pytest.fixture
def quick():
    """One for code that must be ended."""
    one = Monty(LIMITS, workers=4)
    yield one
    one.close()


@pytest.fixture
def monty():
    """One with time for a busy machine."""
    one = Monty(replace(LIMITS, seconds=20.0), workers=4)
    yield one
    one.close()


def workers():
    return [child for child in psutil.Process().children(recursive=True) if "monty" in child.name()]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("6 * 7", "42\n"),
        ("print('a')\n'b'", "a\n'b'\n"),
        ("x = 1", ""),
        ("None", ""),
        ("", ""),
        ("# nothing", ""),
        ("é = 'ü'\né", "'ü'\n"),
        ("import math\nmath.sqrt(16)", "4.0\n"),
    ],
)
def test_what_is_printed_and_the_last_value_come_back(monty, code, text):
    output = monty.open().run(code)
    assert (output.text, output.fault, output.lost) == (text, "", False)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("1\n1 / 0", "ZeroDivisionError: division by zero (line 2)"),
        ("1 +", "SyntaxError: Expected an expression (line 1)"),
        ("nothing", "NameError: name 'nothing' is not defined (line 1)"),
        ("import socket", "ModuleNotFoundError: No module named 'socket' (line 1)"),
        ("open('/etc/hostname')", "PermissionError: Permission denied: '/etc/hostname' (line 1)"),
    ],
)
def test_a_fault_of_the_code_is_a_line_and_the_variables_stay(monty, code, fault):
    console = monty.open()
    console.run("kept = 5")
    assert console.run(code).fault == fault
    assert console.run("kept").text == "5\n"


def test_what_was_printed_before_a_fault_is_told(monty):
    output = monty.open().run("print('so far')\n1 / 0")
    assert output.text == "so far\n"
    assert output.fault.startswith("ZeroDivisionError")


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("while True: pass", "ran longer than 0.3 s"),
        ("try:\n    while True: pass\nexcept BaseException:\n    'caught'", "ran longer than 0.3 s"),
        ("x = 'a' * 10**9", "MemoryError: memory limit exceeded"),
    ],
)
def test_a_limit_of_time_or_memory_ends_the_console_which_begins_anew(quick, code, fault):
    console = quick.open()
    console.run("kept = 5")
    output = console.run(code)
    assert output.fault.startswith(fault)
    assert output.lost
    assert console.run("kept").fault.startswith("NameError")


@pytest.mark.parametrize("code", ["print('a' * 5000)", "for i in range(10**6): print(i)", "'b' * 5000"])
def test_a_flood_of_output_is_cut_and_told_and_the_variables_stay(monty, code):
    console = monty.open()
    console.run("kept = 5")
    output = console.run(code)
    assert output.fault == "wrote more than 1000 characters"
    assert len(output.text) == 1000
    assert console.run("kept").text == "5\n"


def test_a_sleep_takes_no_time(monty):
    assert monty.open().run("import time\ntime.sleep(100)").fault == ""


def test_consoles_do_not_see_each_other(monty):
    one, other = monty.open(), monty.open()
    one.run("secret = 5")
    assert other.run("secret").fault.startswith("NameError")


def test_a_fork_shares_the_past_and_none_of_the_future(monty):
    console = monty.open()
    console.run("seen = [1]\ndef double(n):\n    return 2 * n")
    fork = console.fork()
    console.run("seen.append('mine')")
    fork.run("seen.append('yours')")
    assert console.run("seen").text == "[1, 'mine']\n"
    assert fork.run("seen").text == "[1, 'yours']\n"
    assert fork.run("double(4)").text == "8\n"


def test_a_fork_draws_the_same_random_numbers_as_its_origin(monty):
    console = monty.open()
    console.run("import random\nrandom.random()")
    fork = console.fork()
    assert console.run("random.random()").text == fork.run("random.random()").text


def test_random_numbers_follow_the_seed():
    texts = []
    for seed in (0, 0, 1):
        one = Monty(LIMITS, seed)
        texts.append(one.open().run("import random\nrandom.random()").text)
        one.close()
    assert texts[0] == texts[1] != texts[2]


def test_more_consoles_than_workers_keep_their_variables(monty):
    consoles = [monty.open() for _ in range(12)]
    for number, console in enumerate(consoles):
        console.run(f"mine = {number}")
    assert len(workers()) <= monty.workers + 1
    assert [console.run("mine").text for console in consoles] == [f"{number}\n" for number in range(12)]


LARGE = "y = [1.5] * 2_000_000"  # fits the limit of LIMITS, but neither a copy of it nor what `repr` writes


@pytest.mark.fault("E2")
@pytest.mark.parametrize("use", ["y", "y + y"])
def test_variables_that_end_the_worker_are_lost_by_a_fault_of_the_code_and_the_next_call_begins_anew(monty, use):
    console = monty.open()
    assert console.run(f"x = 1\n{LARGE}").fault == ""
    output = console.run(use)
    assert output.lost
    assert output.fault.startswith("MemoryError")
    assert console.run("6 * 7").text == "42\n"
    assert console.run("x").fault.startswith("NameError")
    assert console.fork().run("1 + 1").text == "2\n"


@pytest.mark.fault("E2")
def test_variables_too_large_to_fork_are_lost_on_both_sides_and_each_begins_anew(monty):
    console = monty.open()
    console.run(LARGE)
    fork = console.fork()
    for one in (console, fork):
        output = one.run("len(y)")
        assert (output.text, output.fault.partition(":")[0], output.lost) == ("", "MemoryError", True)
        assert one.run("6 * 7").text == "42\n"


@pytest.mark.fault("E3")
def test_variables_too_large_to_park_are_lost_and_no_other_console_suffers(monty):
    large = monty.open()
    assert large.run(LARGE).fault == ""
    others = [monty.open() for _ in range(10)]  # of 4 workers
    for number, console in enumerate(others):
        assert console.run(f"x = {number}").fault == ""
    assert [console.run("x").text for console in others] == [f"{number}\n" for number in range(10)]
    assert large.run("len(y)").lost
    assert large.run("6 * 7").text == "42\n"


def test_a_worker_that_is_killed_is_told_and_the_console_begins_anew(monty):
    console = monty.open()
    console.run("kept = 5")
    os.kill(console._session.worker_pid, signal.SIGKILL)
    output = console.run("kept")
    assert (output.fault, output.lost) == ("the interpreter crashed", True)
    assert console.run("1 + 1").text == "2\n"


def test_closing_leaves_no_process_and_may_be_done_twice(monty):
    before = len(workers())
    console = monty.open()
    console.run("1")
    assert len(workers()) > before
    console.close()
    console.close()
    monty.close()
    monty.close()
    assert len(workers()) == before


def test_workers_end_with_a_process_that_is_killed():
    code = (
        "import os, psutil\n"
        "from poziomka.environments.sandbox.monty import Monty\n"
        "console = Monty().open()\n"
        "console.run('1')\n"
        "print(console._session.worker_pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    psutil.wait_procs([psutil.Process(pid) for pid in map(int, done.stdout.split()) if psutil.pid_exists(pid)], 5)
    assert done.returncode == -signal.SIGKILL
    assert not any(psutil.pid_exists(pid) for pid in map(int, done.stdout.split()))


@pytest.mark.parametrize("begun", [True, False])
def test_in_a_fork_of_this_process_it_refuses_instead_of_waiting_without_end(monty, begun):
    console = monty.open()
    console.run("kept = 5")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            (console if begun else monty.open()).run("1 + 1")
        except EnvironmentFailure as error:
            code = 0 if "before this process was forked" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert console.run("kept").text == "5\n"


def test_every_surface_says_by_what_it_is_held(monty):
    assert set(monty.isolation().held) == set(Surface)


def test_a_kind_of_it_is_refused():
    assert reason("") == ""
    with pytest.raises(SettingsError, match="it has no kinds, and 'fast' was named"):
        interpreter("fast")
