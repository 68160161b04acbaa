"""Trains the same recipes under an earlier commit and under this tree, and compares what they computed, bit for bit.

    .venv/bin/python tests/golden/compare_versions.py COMMIT

A change that only moves, renames or reshapes code must leave every case equal. The commit is checked out in a
temporary git worktree; both trees run on this machine, in this interpreter, with the same threads. Compared are: the
weights after the warm start; for each attempt of each RL step its token ids, authors, stops, reward, verdict and
advantages; and the weights of the last checkpoint, by the SHA-256 of each tensor. Metrics are not compared.

cases:
  recurrence  a model from nothing: 60 updates of the warm start, 5 RL steps
  resume      the same, killed in the third RL step and resumed
  tools       large_numbers with Python as a tool: 300 updates, 5 RL steps
  sums        SmolLM2-135M: 5 updates, 2 RL steps; one thread, since gradients of shared prefixes in float32 were
              summed in no fixed order before 29 November 2026

Where this tree has other names than the commit, add them to the tables at the top of this script: names of recipes,
settings and options to RENAMED, columns of the journal to COLUMNS and words in them to VALUES, files of a run to FILES.

exit status: 0 all cases are equal, 1 a case differs (its first difference is printed), 2 a case could not be compared.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, NoReturn

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("evaluate.problems=10", "evaluate.attempts=1", "evaluate.votes=[1]", "evaluate.vote_problems=10")
SMALL += ("evaluate.curve_problems=10", "evaluate.curve_attempts=1", "gate.problems=10", "gate.margin=-1.0")
RECURRENCE = ("recurrence", ("warm_start.updates=60", "reinforce.steps=5", "save_every=2", *SMALL))
CASES: dict[str, tuple[str, tuple[str, ...]]] = {  # by name: a recipe, and changes to its settings
    "recurrence": RECURRENCE,
    "resume": RECURRENCE,
    "tools": ("large_numbers", ("warm_start.updates=300", "reinforce.steps=5", *SMALL)),
    "sums": ("sums", ("threads=1", "warm_start.updates=5", "reinforce.steps=2", *SMALL)),
}
KILLED = {"resume": 3}  # by case: the number of journal files at which a run is killed
CALLS_TOOLS = ("tools",)  # cases that compare nothing unless a tool replied

# Names in newer trees: a recipe, a setting, an option, or a setting with its value; None where it no longer exists:
#   {"warm_start.updates": "sft.steps", "gate.margin=-1.0": "rl.require={}", "gate.problems": None}
# A tree that refuses the names of CASES is run again with these.
RENAMED: dict[str, str | None] = {
    "warm_start.updates": "sft.steps",
    "reinforce.steps": "rl.steps",
    "gate.margin": "rl.require.thinking_gain",
    "gate.problems": "rl.require.problems",
}

# Where a journal's row, or a span of it, has a field: paths of names and of numbers of items, the first of which counts
# that leads to one: {"reward": (("reward",), ("branches", 0, "reward"))}.
COLUMNS: dict[str, tuple[tuple[str | int, ...], ...]] = {
    "problem": (("key",),),
    "spans": (("spans",),),
    "token ids": (("tokens",),),
    "authors": (("author",),),
    "stops": (("stop",),),
    "reward": (("reward",),),
    "verdict": (("verdict",),),
    "advantages": (("advantages",),),
}
OF_SPANS, OF_ATTEMPTS = ("token ids", "authors", "stops"), ("reward", "verdict", "advantages")  # as they are compared
VALUES: dict[str, str] = {}  # an author, a stop or a verdict as newer trees spell it: as older trees do

# Where a run's folder has its files: patterns, of which the first that finds some counts.
FILES = {
    "journals": ("journal/step-*.parquet",),
    "weights after the warm start": ("models/warm-start/model.safetensors", "models/sft/model.safetensors"),
    "weights at the end": ("checkpoints/step-*/model.safetensors",),
}
REFUSED = 2  # exit status of a command that refuses a recipe or a setting
RESULT = "computed.json"  # in the folder of a run of the commit's, which need not be repeated then

Values = dict[str, Any]  # what a run computed, by name, in the order in which it was computed


def stop(message: str) -> NoReturn:
    """Ends the comparison, which could not be made."""
    print(f"compare_versions: {message}", file=sys.stderr)
    sys.exit(2)


# -------------------------------------------------------------------------------------------------------------- runs
def renamed(word: str, names: dict[str, str | None]) -> str | None:
    """Returns a word of a command under other names; None where it no longer exists."""
    if word in names:
        return names[word]
    name, equals, value = word.partition("=")
    new = names.get(name, name)
    return None if new is None else f"{new}{equals}{value}"


def command(case: str, run: Path, names: dict[str, str | None]) -> list[str]:
    """Returns the command that trains a case into a folder, in a tree that has these names."""
    recipe, settings = CASES[case]
    words = [renamed("train", names), renamed(recipe, names), renamed("--run", names), str(run)]
    for setting in settings:
        change = renamed(setting, names)
        words += [] if change is None else [renamed("--set", names), change]
    return [sys.executable, "-m", "poziomka", *(word for word in words if word is not None)]


def surroundings(tree: Path, cache: Path) -> dict[str, str]:
    """Returns the environment in which a tree's own package is imported, with a cache of its own."""
    return {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "2", "POZIOMKA_CACHE": str(cache)}


def execute(tree: Path, words: list[str], cache: Path, killed: tuple[Path, int] | None = None) -> tuple[int, str]:
    """Runs a command in a tree; returns its exit status and what it wrote to stderr.

    With `killed`, a folder of a run and a number: kills the command once the run has so many journals.
    """
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as written:
        environment, nowhere = surroundings(tree, cache), subprocess.DEVNULL
        process = subprocess.Popen(words, cwd=tree, env=environment, stdin=nowhere, stdout=nowhere, stderr=written)
        try:
            while killed and process.poll() is None and len(files(killed[0], "journals")) < killed[1]:
                time.sleep(0.05)
            if killed:
                process.kill()
            process.wait()
        finally:  # the user stopped the comparison
            process.kill()
            process.wait()
        written.seek(0)
        return process.returncode, written.read()


def demand_own_package(tree: Path, cache: Path) -> None:
    """Stops where a command in a tree would import another tree's package."""
    words = [sys.executable, "-c", "import poziomka, sys; print(poziomka.__file__, file=sys.stderr)"]
    _, written = execute(tree, words, cache)
    if written.strip() != str(tree / "poziomka" / "__init__.py"):
        stop(f"Python in {tree} imports another package than its own: {written.strip()[-300:]}")


def train(case: str, tree: Path, run: Path, cache: Path) -> None:
    """Runs a case in a tree to its end; where it is to be killed, kills it and resumes it."""
    refusals = []
    for names in [{}, RENAMED] if RENAMED else [{}]:
        words = command(case, run, names)
        if case in KILLED:
            status, written = execute(tree, words, cache, (run, KILLED[case]))
            if status == -signal.SIGKILL:
                if not files(run, "weights at the end"):
                    stop(f"{case} was killed under {tree} before it had saved a checkpoint: lower its save_every")
                status, written = execute(tree, words, cache)
            elif status == 0:
                stop(f"{case} ended under {tree} before it could be killed: raise its reinforce.steps")
        else:
            status, written = execute(tree, words, cache)
        if status == 0:
            return
        refusals.append(written.strip()[-3000:])
        if status != REFUSED or files(run, "journals"):
            break
    stop(f"{case} failed under {tree}:\n" + "\n".join(refusals))


# ---------------------------------------------------------------------------------------------- what a run computed
def files(run: Path, what: str) -> list[Path]:
    """Returns the files of a run that hold something, in the order of their names."""
    return next((found for pattern in FILES[what] if (found := sorted(run.glob(pattern)))), [])


def demanded(run: Path, what: str) -> list[Path]:
    """Returns the files of a run that hold something; stops where there are none."""
    return files(run, what) or stop(f"the run {run} has no {what} ({', '.join(FILES[what])}): add their place to FILES")


def computed(run: Path) -> Values:
    """Returns what a run computed."""
    values: Values = {}
    (begun,) = demanded(run, "weights after the warm start")
    values |= {f"after the warm start, weights of {name}": found for name, found in hashes(begun).items()}
    for step, journal in enumerate(demanded(run, "journals"), 1):
        attempts: dict[str, int] = {}
        for row in pq.read_table(journal).to_pylist():
            problem = str(field(row, "problem", journal))
            attempts[problem] = attempts.get(problem, 0) + 1
            where = f"RL step {step}, problem {problem}, attempt {attempts[problem]}"
            spans = field(row, "spans", journal)
            values |= {f"{where}, {name}": [field(span, name, journal) for span in spans] for name in OF_SPANS}
            values |= {f"{where}, {name}": field(row, name, journal) for name in OF_ATTEMPTS}
    end = demanded(run, "weights at the end")[-1]
    return values | {f"at the end, weights of {name}": found for name, found in hashes(end).items()}


def field(row: dict[str, Any], name: str, journal: Path) -> Any:
    """Returns a field of a journal's row, or of a span in it."""
    for place in COLUMNS[name]:
        found: Any = row
        try:
            for part in place:
                found = found[part]
        except (KeyError, IndexError, TypeError):
            continue
        return VALUES.get(found, found) if isinstance(found, str) else found
    return stop(f"the journal {journal} has no {name}; it has {', '.join(row)}: add the column to COLUMNS")


def hashes(file: Path) -> dict[str, str]:
    """Returns the SHA-256 of each tensor in a safetensors file, by name; its type and shape count too."""
    content = memoryview(file.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    found = {}
    for name, tensor in sorted(json.loads(bytes(content[8:start])).items()):
        if name != "__metadata__":
            first, last = tensor["data_offsets"]
            digest = hashlib.sha256(json.dumps([tensor["dtype"], tensor["shape"]]).encode())
            digest.update(content[start + first : start + last])
            found[name] = digest.hexdigest()
    return found


# -------------------------------------------------------------------------------------------------------- comparison
def first_difference(base: Values, here: Values) -> str:
    """Returns the first difference in words; "" where there is none."""
    for name, value in base.items():
        if name not in here:
            return f"{name}: only the commit's run has it"
        if value != here[name]:
            place, one, other = apart(value, here[name])
            one, other = json.dumps(one)[:200], json.dumps(other)[:200]
            return f"{name}{place}: {one} in the commit's run, {other} in this tree's"
    return next((f"{name}: only this tree's run has it" for name in here if name not in base), "")


def apart(one: Any, other: Any) -> tuple[str, Any, Any]:
    """Returns the first place at which nested lists differ, written [2][17], and what is there."""
    where = ""
    while isinstance(one, list) and isinstance(other, list):
        pairs = enumerate(zip(one, other, strict=False))
        place = next((at for at, pair in pairs if pair[0] != pair[1]), min(len(one), len(other)))
        where += f"[{place}]"
        one, other = (side[place] if place < len(side) else "nothing" for side in (one, other))
    return where, one, other


def counts(values: Values) -> dict[str, int]:
    """Returns how much there was to compare, by what it is."""

    def having(end: str) -> list[Any]:
        return [value for name, value in values.items() if name.endswith(end)]

    return {
        "attempts": len(having(", reward")),
        "of them rewarded": sum(reward is not None and reward > 0 for reward in having(", reward")),
        "with an advantage": sum(any(advantages or ()) for advantages in having(", advantages")),
        "replies of tools": sum(authors.count("environment") for authors in having(", authors")),
        "tensors": sum(", weights of " in name for name in values),
    }


def demand_something(case: str, found: dict[str, int]) -> None:
    """Stops where two runs are equal because nothing happened in them."""
    needed = ["with an advantage", *(["replies of tools"] if case in CALLS_TOOLS else [])]
    for name in needed:
        if not found[name]:
            stop(f"{case} is equal and shows nothing (attempts {name}: none): give it more updates or steps in CASES")


# ---------------------------------------------------------------------------------------------------------- the trees
def git(*words: str) -> str:
    """Returns what a git command in this tree prints; stops where it fails."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        stop(f"git {' '.join(words)} failed: {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def checked_out(commit: str, temporary: Path) -> Iterator[Path]:
    """Gives a worktree of a commit, below a temporary folder."""
    tree = temporary / "tree"
    git("worktree", "add", "--detach", "--quiet", str(tree), commit)
    try:
        yield tree
    finally:
        git("worktree", "remove", "--force", str(tree))


def result(case: str, tree: Path, run: Path, cache: Path, *, keep: bool) -> tuple[Values, str]:
    """Returns what a case computes in a tree, and how long that took.

    Args:
        case: its name.
        tree: where the code is.
        run: the folder for the run; what is there is removed.
        cache: the folder for what the tree's package keeps between runs.
        keep: return what an earlier comparison computed there, where it ran the same command in the same interpreter.
    """
    interpreter = [sys.version, metadata.version("torch"), os.uname().nodename]
    made = repr([CASES[case], KILLED, OF_SPANS, OF_ATTEMPTS, *interpreter])
    kept = run / RESULT
    if keep and kept.exists() and (known := json.loads(kept.read_text(encoding="utf-8")))["made"] == made:
        return known["values"], "kept"
    shutil.rmtree(run, ignore_errors=True)
    began = time.monotonic()
    train(case, tree, run, cache)
    values = computed(run)
    for weights in ("checkpoints", "models"):  # gigabytes, and their hashes are known now
        shutil.rmtree(run / weights, ignore_errors=True)
    kept.write_text(json.dumps({"made": made, "values": values}), encoding="utf-8")
    return values, f"{time.monotonic() - began:.0f} s"


def arguments() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", metavar="COMMIT", help="the version to compare with, for one the last release")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help="cases to run")
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "runs" / "golden",
        help="where runs are written; those of the commit are kept there and not repeated (runs/golden)",
    )
    return parser.parse_args()


def main() -> None:
    """Runs the cases and prints a line for each."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the worktree is removed
    commit = git("rev-parse", "--verify", f"{options.commit}^{{commit}}")
    here = git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    print(f"commit {commit[:12]} against this tree, {here}", flush=True)
    folder = options.folder.resolve()
    (folder / commit[:12]).mkdir(parents=True, exist_ok=True)
    (folder / "here").mkdir(exist_ok=True)
    different = False
    with TemporaryDirectory(prefix="temporary-", dir=folder) as temporary, checked_out(commit, Path(temporary)) as tree:
        base_cache, our_cache = Path(temporary) / "base", Path(temporary) / "here"
        demand_own_package(tree, base_cache)
        demand_own_package(ROOT, our_cache)
        for case in options.only:
            base, base_time = result(case, tree, folder / commit[:12] / case, base_cache, keep=True)
            ours, our_time = result(case, ROOT, folder / "here" / case, our_cache, keep=False)
            difference = first_difference(base, ours)
            if difference:
                different = True
                print(f"{case} differs. First difference: {difference}", flush=True)
                continue
            found = counts(base)
            demand_something(case, found)
            amounts = ", ".join(f"{count} {name}" for name, count in found.items())
            print(f"{case}: equal ({amounts}; {base_time} and {our_time})", flush=True)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
