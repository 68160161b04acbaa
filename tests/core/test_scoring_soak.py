"""A hundred thousand checks with every fault that a scorer can have: all counted, nothing leaked."""

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.safety.processes import descendants
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Stop, Transcript

CHECKS = 100_000
AT_ONCE = 500
EVERY = {  # a fault, and one check in how many has it
    "hang": 2_003,
    "catastrophe": 4_001,
    "raise": 101,
    "leave": 211,
    "die": 307,
    "hoard": 1_501,
    "begin": 3_001,
    "nonsense": 151,
    "nan": 251,
    "large": 701,
}
OUTCOMES = {"hang": "timeout", "catastrophe": "timeout", "begin": "timeout", "large": "unparsed", None: "correct"}
REPLY = Span(Author.MODEL, "2", stop=Stop.END)


def fault_of(number):
    return next((name for name, every in EVERY.items() if number % every == every - 1), None)


def scorer(problem, transcript):
    match problem.key:
        case "hang":
            while True:
                pass
        case "catastrophe":
            re.match(r"(a+)+$", "a" * 60 + "b")
        case "raise":
            raise KeyError(problem.key)
        case "leave":
            sys.exit(0)
        case "die":
            os._exit(0)
        case "hoard":
            return Score.right(str(len(bytearray(64 << 30))))
        case "begin":
            subprocess.Popen(["setsid", "--fork", "sleep", "600"])
            while True:
                pass
        case "nonsense":
            return 1.0
        case "nan":
            return Score(float("nan"), "correct")
        case "large":
            return Score.unparsed(f"{len(transcript.reply)} letters")
    return Score.right("2")


def resident():
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sleepers():
    found = subprocess.run(["pgrep", "-f", "sleep 600"], capture_output=True, text=True, check=False)
    return set(found.stdout.split())


@pytest.mark.soak
def test_a_hundred_thousand_checks_with_faults_leave_nothing_behind():
    plain = Transcript() + REPLY
    large = Transcript() + Span(Author.MODEL, "9" * 1_000_000, stop=Stop.END)
    before = set(descendants(os.getpid())), set(Path("/proc/self/fd").iterdir()), sleepers()
    found, wanted, held = Counter(), Counter(), []

    async def all_of_them():
        with Scoring(Task("soak", None, scorer), 1.0, workers=2) as scoring:
            for start in range(0, CHECKS, AT_ONCE):
                faults = [fault_of(number) for number in range(start, start + AT_ONCE)]
                wanted.update((fault, OUTCOMES.get(fault, "error")) for fault in faults)
                asked = [
                    (Problem.ask("soak", fault or "none", "1 + 1"), large if fault == "large" else plain)
                    for fault in faults
                ]
                scores = await asyncio.gather(*(scoring.score(*each) for each in asked))
                assert all((s.reward is None) == (s.verdict in ("error", "timeout")) for s in scores)
                found.update((fault, score.verdict.value) for fault, score in zip(faults, scores, strict=True))
                held.append(resident())

    asyncio.run(all_of_them())
    assert found == wanted, "every failure is counted as what it is"
    assert sum(found.values()) == CHECKS
    assert (set(descendants(os.getpid())), set(Path("/proc/self/fd").iterdir()), sleepers()) == before
    warm = held[len(held) // 5 :]
    assert max(warm) - warm[0] < 32 << 20, "this process must not grow"
