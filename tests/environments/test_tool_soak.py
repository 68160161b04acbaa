"""Ten thousand sessions with a tool and every fault that its code can have: each ends as a verdict, nothing is left."""

import os
import signal
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.collect import collect
from poziomka.core.safety.processes import descendants
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task
from poziomka.core.transcript import Author
from poziomka.environments.sandbox.interpreter import CALL
from poziomka.environments.sandbox.registry import interpreter_named, reasons
from poziomka.environments.tools.tool import Tool, python_tool
from poziomka.environments.tools.toolbox import Toolbox
from poziomka.testing import ScriptedSampler

pytestmark = pytest.mark.sandbox

SESSIONS = 10_000
AT_ONCE = 100
LIMITS = replace(CALL, seconds=0.25, memory=64 * 2**20, output=5000, file=2**18)
KEPT, LOST, FAILED = "correct", "wrong", "error"
GARBAGE = (
    "import os\nfor n in range(3, 40):\n    try:\n        os.write(n, b'\\xff' * 99)\n    except OSError:\n        pass"
)
# fault: what the second call does, and the verdict: the third call needs a variable of the first
FAULTS = {
    "none": ("6 * 7", KEPT),
    "raise": ("1 // 0", KEPT),
    "nonsense": ("1 +", KEPT),
    "flood": ("for i in range(10**6): print('a' * 99)", KEPT),
    "hang": ("while True: pass", LOST),
    "stubborn": ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", LOST),
    "memory": ("x = 'a' * 10**9", LOST),
    "killed": ("6 * 7", LOST),  # from outside, between two calls
    "broken": ("6 * 7", FAILED),  # the tool itself raises
    "unclosed": ("6 * 7", FAILED),  # its session cannot be closed
}
OF_PROCESSES = {
    "exit": ("import os\nos._exit(0)", LOST),
    "crash": ("import ctypes\nctypes.string_at(0)", LOST),
    "garbage": (GARBAGE, LOST),
    "memory": ("block = 'a' * 10**9", KEPT),  # Python is told and raises MemoryError
    "flood": ("for i in range(10**4): print('a' * 99)", KEPT),
    "left": ("import os\nos.fork() or __import__('time').sleep(600)", KEPT),  # refused: one process only
}
EVERY = {"hang": 211, "stubborn": 401, "flood": 53, "memory": 61, "killed": 37, "broken": 41, "unclosed": 59}


class Faulty:
    """An environment whose sessions are killed, break or cannot be closed, as the problem says."""

    def __init__(self, toolbox):
        self.toolbox = toolbox
        self.stop = toolbox.stop

    def open(self, problem):
        return FaultySession(self.toolbox.open(problem), problem.facts["fault"])


class FaultySession:
    def __init__(self, session, fault):
        self.session = session
        self.fault = fault
        self.calls = 0

    async def reply(self, transcript):
        self.calls += 1
        if self.calls == 2 and self.fault == "killed":
            os.kill(self.worker(), signal.SIGKILL)
        if self.calls == 2 and self.fault == "broken":
            raise OSError
        return await self.session.reply(transcript)

    def worker(self):
        console = self.session._running["python"]._console
        return console._held.pid if hasattr(console, "_held") and hasattr(console._held, "pid") else (
            console._session.worker_pid
        )  # fmt: skip

    def fork(self):
        return FaultySession(self.session.fork(), self.fault)

    def close(self):
        self.session.close()
        if self.fault == "unclosed":
            raise OSError


def faults_of(place):
    return FAULTS | (OF_PROCESSES if place == "sandlock" else {})


def fault_of(number, place):
    named = next((name for name, every in EVERY.items() if number % every == every - 1), None)
    plain = sorted(set(faults_of(place)) - set(EVERY))
    return named or plain[number // 3 % len(plain)] if number % 3 == 0 or named else "none"


def script(transcript, sampling):
    """Calls three times, then says what the last call said."""
    turns = [span.text for span in transcript if span.author is Author.ENVIRONMENT]
    place, fault = transcript.spans[0].text.split()
    calls = ["x = 41", faults_of(place)[fault][0], "x + 1"]
    return f" <tool> {calls[len(turns)]} </tool>" if len(turns) < 3 else turns[-1].split()[1]


def scorer(problem, transcript):
    said = [span.text for span in transcript if span.author is Author.MODEL][-1].strip()
    return Score.right(said) if said == "42" else Score.wrong(said)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def things():
    """What must be the same afterwards: processes, descriptors, folders, threads."""
    folders = {path for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith("poziomka-")}
    return set(descendants(os.getpid())), len(list(Path("/proc/self/fd").iterdir())), folders, threading.active_count()


def settled(before, seconds=5.0):
    until = time.monotonic() + seconds
    while (now := things()) != before and time.monotonic() < until:
        time.sleep(0.05)
    return now


@pytest.mark.soak
@pytest.mark.parametrize(("place", "share"), [("monty", 0.96), ("sandlock", 0.04)])
def test_ten_thousand_sessions_with_faults_end_as_verdicts_and_leave_nothing(place, share):
    if reasons()[place]:
        pytest.skip(reasons()[place])
    interpreter = interpreter_named(place, LIMITS)
    toolbox = Toolbox([python_tool(interpreter)], most=8)
    assert isinstance(toolbox.tools["python"], Tool)
    task = Task("soak", None, scorer, environment=lambda problem: Faulty(toolbox), trusted=True)
    count, began = round(SESSIONS * share), time.monotonic()
    found, wanted, held, before = Counter(), Counter(), [], None
    for start in range(0, count, AT_ONCE):
        faults = [fault_of(number, place) for number in range(start, min(start + AT_ONCE, count))]
        wanted.update((fault, faults_of(place)[fault][1]) for fault in faults)
        asked = [Problem.ask("soak", fault, f"{place} {fault}", fault=fault) for fault in faults]
        sampler = ScriptedSampler(script)
        groups = collect(sampler, task, asked, SamplingParams(max_tokens=1000), name=f"soak/{start}")
        scores = [group[0].score for group in groups]
        assert all((s.reward is None) == (s.verdict in ("error", "timeout")) for s in scores)
        found.update((fault, score.verdict.value) for fault, score in zip(faults, scores, strict=True))
        held.append(resident())
        if before is None:  # what a library keeps for good, it keeps from here on
            toolbox.close()
            before = settled(None, 1.0)
    toolbox.close()
    took, most = time.monotonic() - began, max(held) >> 20
    print(f"{place}: {count} sessions in {took:.0f} s, at most {most} MB, {dict(found)}")  # noqa: T201 told by -s
    assert found == wanted, "every failure is counted as what it is"
    assert settled(before) == before
    warm = held[len(held) // 5 :]
    assert max(warm) - warm[0] < 32 << 20, "this process must not grow"
