"""Seconds of a reinforcement step, ours against TRL's `GRPOTrainer`: both sides alternately, each in its own process.

    python benchmarks/compare_trl.py --theirs "/path/to/trl-env/bin/python benchmarks/trl_step.py" --model FOLDER

A case for each given checkpoint, and one of random weights with a coin for a reward, where nearly every group has
variance and so both sides learn from nearly every reply. Both sides read the same weights, and the learning rate is 0
unless said otherwise: all the work of a step is done, and the lengths of replies stay alike on both sides. Needs the
standard library only.

A side is a command that takes --steps, --seed, --threads, --learning-rate, --reward check|coin and --model FOLDER, and
whose last line is a JSON object with "seconds" (a warm-up step left out), "tokens_per_step", "rollouts_per_second" and
"threads".
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from commands import command_line

ROOT = Path(__file__).resolve().parent.parent
SIDES = ("ours", "theirs")
NEEDED = ("seconds", "tokens_per_step", "rollouts_per_second", "threads")


class Stopped(Exception):
    """A side could not be run; the message is one sentence for the user."""


def folder_of(text):
    """Read the path of a checkpoint folder."""
    if not (Path(text) / "config.json").is_file():
        message = f"there is no config.json in {text}"
        raise argparse.ArgumentTypeError(message)
    return Path(text)


def named(text):
    """Read a case: its name and its folder."""
    name, separator, folder = text.partition("=")
    return (name, folder_of(folder)) if separator else ("checkpoint", folder_of(text))


def read_arguments():
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ours = shlex.join([str(ROOT / ".venv/bin/python"), str(ROOT / "benchmarks/our_step.py")])
    theirs = shlex.join([str(ROOT.parent / "trl-env/bin/python"), str(ROOT / "benchmarks/trl_step.py")])
    parser.add_argument("--ours", default=ours, metavar="CMD")
    parser.add_argument("--theirs", default=theirs, metavar="CMD")
    text = "a case: a checkpoint folder, or name=folder; may be repeated"
    parser.add_argument("--model", action="append", default=[], type=named, metavar="[NAME=]FOLDER", help=text)
    parser.add_argument("--random", type=folder_of, help="folder of random weights (default: TRL's side makes one)")
    parser.add_argument("--learning-rate", type=float, default=0.0)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side and case")
    parser.add_argument("--steps", type=int, default=6, help="steps of a run that count; one more before them warms up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds after which a run is stopped")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/trl.json")
    options = parser.parse_args()
    if options.steps < 1 or options.repeats < 1:
        parser.error("--steps and --repeats must be at least 1")
    return options


def call(command, options, name):
    """Run a command with the same number of threads on both sides; return what it printed."""
    threads = str(options.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=options.limit, env=environment, check=False
        )
    except OSError as error:
        message = f"cannot start {name} ({shlex.join(command)}): {error}"
        raise Stopped(message) from error
    except subprocess.TimeoutExpired as error:
        message = f"{name} took more than {options.limit:g} s ({shlex.join(command)}); --limit sets the bound"
        raise Stopped(message) from error
    if done.returncode:
        message = f"{name} failed ({shlex.join(command)}):\n{done.stderr[-2000:]}"
        raise Stopped(message)
    return done.stdout


def measure(side, options, case, seed):
    """Run one side once; return its JSON object, with the machine's load before it started."""
    command = shlex.split(getattr(options, side))
    command += ["--steps", str(options.steps), "--threads", str(options.threads), "--seed", str(seed)]
    command += [
        "--learning-rate",
        str(options.learning_rate),
        "--reward",
        case["reward"],
        "--model",
        str(case["model"]),
    ]
    load = os.getloadavg()[0]
    lines = call(command, options, side).strip().splitlines()
    try:
        result = json.loads(lines[-1])
        missing = [name for name in NEEDED if name not in result]
    except (IndexError, ValueError, TypeError) as error:
        message = f"{side} did not end with a line of JSON ({shlex.join(command)})"
        raise Stopped(message) from error
    if missing or not result["seconds"]:
        message = f"{side} reported no {', '.join(missing or ['seconds'])} ({shlex.join(command)})"
        raise Stopped(message)
    return result | {"command": command_line(command), "load_before": load}


def cases_of(options, folder):
    """Return the cases by name: where their weights are, and what the reward is."""
    cases = {name: {"model": model, "reward": "check"} for name, model in options.model}
    weights = options.random
    if weights is None:
        weights = Path(folder) / "random"
        call([*shlex.split(options.theirs), "--write-random", str(weights)], options, "theirs --write-random")
    return cases | {"random weights": {"model": weights, "reward": "coin"}}


def summary(runs):
    """Pool the runs of one side."""
    seconds = [value for run in runs for value in run["seconds"]]
    tokens = statistics.fmean(run["tokens_per_step"] for run in runs)
    return {
        "median": statistics.median(seconds),
        "least": min(seconds),
        "most": max(seconds),
        "tokens_per_step": tokens,
        "rollouts_per_second": statistics.median(run["rollouts_per_second"] for run in runs),
        "microseconds_per_token": 1e6 * statistics.median(seconds) / tokens,
        "threads": sorted({run["threads"] for run in runs}),
    }


def compare(runs):
    """Summarise a case: both sides, the ratio of medians, and the ratio in each pair of neighbouring runs."""
    sides = {side: summary(runs[side]) for side in SIDES}
    pairs = zip(*(runs[side] for side in SIDES), strict=True)
    by_pair = [statistics.median(b["seconds"]) / statistics.median(a["seconds"]) for a, b in pairs]
    return sides | {"ratio": sides["theirs"]["median"] / sides["ours"]["median"], "ratio_by_pair": by_pair}


def table(summaries):
    """Write the summaries as a Markdown table."""
    names = ("case", "side", "s/step: median (least–most)", "tokens sampled/step", "µs/token", "rollouts/s", "ratio")
    rows = [names, ["---"] * len(names)]
    for case, found in summaries.items():
        for side in SIDES:
            s, pairs = found[side], found["ratio_by_pair"]
            rows.append(
                (
                    case,
                    side,
                    f"{s['median']:.3f} ({s['least']:.3f}–{s['most']:.3f})",
                    f"{s['tokens_per_step']:,.0f}",
                    f"{s['microseconds_per_token']:.1f}",
                    f"{s['rollouts_per_second']:.0f}",
                    f"{found['ratio']:.1f} × ({min(pairs):.1f}–{max(pairs):.1f})" if side == "ours" else "",
                )
            )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def machine():
    """Describe the machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    name = names[0] if names else platform.processor()
    return {"processor": name, "cores": os.cpu_count(), "system": platform.platform()}


def write(path, content):
    """Write JSON so that a file is never left half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)


def run(options):
    """Measure every case, ours and theirs alternately; return the runs by case and side."""
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, case in cases_of(options, folder).items():
            runs[name] = {side: [] for side in SIDES}
            for repeat in range(options.repeats):
                for side in SIDES:
                    found = measure(side, options, case, repeat + 1)
                    runs[name][side].append(found)
                    text = f"{name}, {repeat + 1} of {options.repeats}, {side}: "
                    text += (
                        f"{statistics.median(found['seconds']):.3f} s a step, {found['tokens_per_step']:,.0f} tokens"
                    )
                    print(text + f" (load before: {found['load_before']:.1f})", file=sys.stderr)
    return runs


def main():
    """Measure, write the results, print the table."""
    options = read_arguments()
    try:
        runs = run(options)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 2
    summaries = {case: compare(sides) for case, sides in runs.items()}
    head = {
        "schema_version": 1,
        "command": command_line(sys.argv),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write(options.out, head | {"machine": machine(), "summary": summaries, "runs": runs})
    print(table(summaries))
    return 0


if __name__ == "__main__":
    sys.exit(main())
