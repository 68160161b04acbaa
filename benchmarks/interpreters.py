"""Calls a second of what runs a model's code, at 1, 8 and 64 sessions; the start of a session, and a fork of it.

    .venv/bin/python benchmarks/interpreters.py
    .venv/bin/python benchmarks/interpreters.py --peers ../agents-env/bin/python     # beside smolagents

A call is `total = sum(n * n for n in range(100))` and the value of it. Sessions are asked in turn, as one process asks
them in a step of reinforcement. `subprocess` is a new interpreter for every call: it keeps nothing and holds nothing.
smolagents runs code in the process that asks, in an environment of its own (benchmarks/README.md).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

CODE = "total = sum(n * n for n in range(100))\ntotal"
RIGHT = "328350"
SESSIONS = (1, 8, 64)
PEER = """
import json, sys, time
from smolagents.local_python_executor import LocalPythonExecutor
code, counts, calls = json.loads(sys.argv[1])
found = {}
for count in counts:
    began = time.perf_counter()
    sessions = [LocalPythonExecutor([]) for _ in range(count)]
    for session in sessions:
        session.send_tools({})
        session(code)
    opened = (time.perf_counter() - began) / count
    began = time.perf_counter()
    for number in range(calls):
        assert sessions[number % count](code).output == 328350
    found[count] = {"calls_per_second": calls / (time.perf_counter() - began), "start_ms": 1000 * opened}
print(json.dumps(found))
"""


def ours(name, calls):
    """Returns the figures of an interpreter of ours by the number of sessions."""
    from poziomka.environments.sandbox.registry import interpreter_named

    found = {}
    for count in SESSIONS:
        interpreter = interpreter_named(name)
        interpreter.open().run(CODE)  # what starts once has started
        began = time.perf_counter()
        consoles = [interpreter.open() for _ in range(count)]
        for console in consoles:
            assert console.run(CODE).text.strip() == RIGHT
        opened = (time.perf_counter() - began) / count
        began = time.perf_counter()
        for number in range(calls):
            assert consoles[number % count].run(CODE).text.strip() == RIGHT
        rate = calls / (time.perf_counter() - began)
        found[count] = {"calls_per_second": rate, "start_ms": 1000 * opened, "fork_ms": fork(interpreter.open())}
        for console in consoles:
            console.close()
        interpreter.close()
    return found


def fork(console, forks=8):
    """Returns the milliseconds until a fork of a console with three calls behind it has answered its first call."""
    for code in (CODE, "kept = list(range(1000))", CODE):
        console.run(code)
    took = []
    for _ in range(forks):
        began = time.perf_counter()
        copy = console.fork()
        assert copy.run("len(kept)").text.strip() == "1000"
        took.append(1000 * (time.perf_counter() - began))
        copy.close()
    console.close()
    return median(took)


def bare(calls):
    """Returns the figures of a new interpreter for every call; sessions make no difference to it."""
    began = time.perf_counter()
    for _ in range(calls):
        done = subprocess.run(
            [sys.executable, "-c", f"{CODE}\nprint(total)"], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == RIGHT
    rate = calls / (time.perf_counter() - began)
    return {count: {"calls_per_second": rate, "start_ms": 1000 / rate} for count in SESSIONS}


def peer(python, calls):
    """Returns the figures of smolagents' executor, measured in its own environment."""
    given = json.dumps([CODE, SESSIONS, calls])
    done = subprocess.run([python, "-c", PEER, given], capture_output=True, text=True, check=True)
    return {int(count): figures for count, figures in json.loads(done.stdout).items()}


def middle(runs):
    """Returns of several runs the median, the least and the most of each figure, by the number of sessions."""
    return {
        count: {
            name: dict(zip(("median", "least", "most"), (median(v), min(v), max(v)), strict=True))
            for name in runs[0][count]
            for v in [[run[count][name] for run in runs]]
        }
        for count in SESSIONS
    }


def table(results):
    """Prints a line for each side and number of sessions."""
    print("| where | sessions | calls/s: median (least–most) | start of a session, ms | fork with its first call, ms |")
    print("| --- | --- | --- | --- | --- |")
    for name, figures in results.items():
        for count, of in figures.items():
            rate, start, forks = of["calls_per_second"], of["start_ms"]["median"], of.get("fork_ms")
            told = f"{forks['median']:.1f}" if forks else "–"
            spread = f"{rate['median']:,.0f} ({rate['least']:,.0f}–{rate['most']:,.0f})"
            print(f"| {name} | {count} | {spread} | {start:.1f} | {told} |")


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, alternately")
    parser.add_argument("--calls", type=int, default=1000, help="calls of a run; a bare process makes a fiftieth")
    parser.add_argument("--peers", type=Path, help="the python of smolagents' environment")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "interpreters.json")
    given = parser.parse_args()
    from poziomka.environments.sandbox.registry import reasons

    sides = {name: (lambda name=name: ours(name, given.calls)) for name, why in reasons().items() if not why}
    sides["subprocess"] = lambda: bare(max(given.calls // 50, 5))
    if given.peers:
        sides["smolagents"] = lambda: peer(given.peers, given.calls)
    runs, load = {name: [] for name in sides}, [os.getloadavg()[0]]
    for _ in range(given.rounds):
        for name, side in sides.items():
            runs[name].append(side())
    load.append(os.getloadavg()[0])
    results = {name: middle(found) for name, found in runs.items()}
    table(results)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": load}
    settings = {"rounds": given.rounds, "calls": given.calls}
    given.out.write_text(json.dumps({"machine": machine, "settings": settings, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
