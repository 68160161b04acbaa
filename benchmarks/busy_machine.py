"""How long a short training run takes beside other busy processes, by how OpenMP's threads wait.

    .venv/bin/python benchmarks/busy_machine.py

A run is one process: `poziomka train` of a small model on the recurrence, 40 updates of a warm start and 2 steps of
reinforcement. A busy process is a Python loop that never ends. `ours` is what the package sets where the environment
sets nothing; `unbounded` is libgomp's own default, 300,000 turns of a waiting loop. The settings take turns in every
round, so that a change of the machine's speed meets all of them. Writes results/busy_machine.json and prints the table.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

CHANGES = {
    "sft.steps": "40",
    "rl.steps": "2",
    "rl.require.thinking_gain": "-1",
    "rl.require.problems": "20",
    "evaluate.problems": "20",
    "evaluate.vote_problems": "10",
    "evaluate.curve_problems": "20",
    "evaluate.budgets": "[8]",
    "evaluate.votes": "[1, 2]",
}
WAITING = {
    "unbounded": {"GOMP_SPINCOUNT": "300000"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10000": {"GOMP_SPINCOUNT": "10000"},
    "spin 30000": {"GOMP_SPINCOUNT": "30000"},
    "ours": {},
}
READ = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # what an OpenMP runtime reads of how threads wait
RECIPE = Path(__file__).parent.parent / "recipes" / "recurrence" / "recipe.toml"
RESULTS = Path(__file__).parent / "results" / "busy_machine.json"


def run_seconds(waiting: dict[str, str]) -> float:
    """Returns the wall-clock seconds of one short training run."""
    changes = [part for name, value in CHANGES.items() for part in ("--set", f"{name}={value}")]
    environment = {name: value for name, value in os.environ.items() if name not in READ}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "poziomka", "train", str(RECIPE), "--run", f"{folder}/run", *changes]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment | waiting)
        return time.perf_counter() - began


def beside(busy: int, waiting: dict[str, str]) -> float:
    """Returns the seconds of a run beside `busy` processes that compute all the time."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        return run_seconds(waiting)
    finally:
        for other in others:
            other.kill()
            other.wait()


def table(seconds: dict[str, dict[str, list[float]]]) -> str:
    """Returns a table of medians and ranges, one line for each way of waiting."""
    loads = list(next(iter(seconds.values())))
    lines = [f"| waiting | {' | '.join(f'{load} busy' for load in loads)} |", "|---" * (len(loads) + 1) + "|"]
    for name, by_load in seconds.items():
        cells = [f"{median(times):.1f} ({min(times):.1f}–{max(times):.1f})" for times in by_load.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures, writes the results and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="numbers of busy processes")
    parser.add_argument("--only", nargs="+", choices=list(WAITING), default=list(WAITING))
    arguments = parser.parse_args()
    seconds: dict[str, dict[str, list[float]]] = {
        name: {str(busy): [] for busy in arguments.busy} for name in arguments.only
    }
    load = os.getloadavg()
    for _ in range(arguments.rounds):
        for busy in arguments.busy:
            for name in arguments.only:
                seconds[name][str(busy)].append(beside(busy, WAITING[name]))
                print(json.dumps({"waiting": name, "busy": busy, "seconds": seconds[name][str(busy)][-1]}), flush=True)
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "load_before": load[0]}
    RESULTS.write_text(json.dumps({"machine": machine, "seconds": seconds}, indent=2) + "\n", encoding="utf-8")
    print(table(seconds))


if __name__ == "__main__":
    main()
