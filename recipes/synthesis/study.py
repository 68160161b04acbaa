"""The warm start and three arms at equal FLOPs, for each seed: writes results.json, table.md and the figures.

    .venv/bin/python recipes/synthesis/study.py --runs runs/synthesis-study

Every arm begins with the seed's warm start:
    reinforcement     as the recipe stands; it sets how many FLOPs the others spend
    expert iteration  fine-tuning on the model's own right attempts
    random reward     the same loop, the reward a coin toss
Then all of them, the warm start too, attempt the same problems 32 times: programs of one word, programs of two that
training asked for, on lists that it did not show, and programs of two that it never asked for. What was done before is
not done again: an interrupted study goes on.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the studies share
from study import coin_toss, over_seeds, reinforced

from poziomka.app.build import load
from poziomka.app.settings.recipe import Recipe, read_recipe
from poziomka.app.train import Training
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.evaluation import Estimate, Evaluation, paired_gain, pass_at, proportion
from poziomka.core.sampler import SamplingParams
from poziomka.core.settings import plain
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript
from poziomka.reports.style import AFTER, BEFORE, DOTS, MUTED, RIGHT, STYLE
from poziomka.runs import Run

FOLDER = Path(__file__).resolve().parent
PROBLEMS, ATTEMPTS = 24, 32  # of a set, and at each
FAR = 2**41  # no problem of training stands here or beyond
SETS = {  # name: the split, the first index, the level
    "1": ("test", 0, 1),
    "2": ("test", 0, 2),
    "2 met": ("train", FAR, 2),
}
TITLES = {"1": "one word", "2 met": "two words, met in training", "2": "two words, never met"}
KS = (1, 2, 4, 8, 16, 32)
START, FIRST = "warm start", "reinforcement"
ARMS: dict[str, dict[str, object]] = {FIRST: {}, "expert iteration": {"advantage": "expert"}, "random reward": {}}
COLOURS = {FIRST: AFTER, "expert iteration": RIGHT, "random reward": BEFORE, START: MUTED}
Found = dict[str, Any]


class Clocked:
    """A task's scorer, with the seconds that it took."""

    def __init__(self, task: Task) -> None:
        """Wraps the scorer."""
        self.scorer, self.seconds = task.scorer, 0.0

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Judges, and counts."""
        began = time.perf_counter()
        try:
            return self.scorer(problem, transcript)
        finally:
            self.seconds += time.perf_counter() - began


def judge(found: Found, folder: Path) -> None:
    """Adds rights and wrongs by problem, set by set, of the model that a folder ended with; what is known stays."""
    if found["corrects"].keys() >= SETS.keys():
        return
    recipe, task, sampler = load(folder)
    how = SamplingParams(max_tokens=recipe.sampling.max_tokens, max_thinking_tokens=recipe.sampling.max_thinking_tokens)
    for name, (split, start, level) in SETS.items():
        if name not in found["corrects"]:
            problems = task.take(split, start, PROBLEMS, level)
            groups = collect(sampler, task, problems, how, attempts=ATTEMPTS, name="study/test")
            found["corrects"][name] = Evaluation(groups).corrects
    (folder / "arm.json").write_text(json.dumps(found))


def arm(name: str, recipe: Recipe, folder: Path) -> Found:
    """Runs one arm, or the warm start; returns its figures."""
    known = folder / "arm.json"
    if known.exists():
        return dict(json.loads(known.read_text()))
    print(f"seed {recipe.seed}: {name}", flush=True)
    with Run.open(folder, plain(recipe)) as run:
        training = Training(recipe, run, quiet=True)
        task = training.task
        clocked = Clocked(task)
        training.task = replace(task, scorer=clocked)
        if name == START:
            training.run_stage("sft")
        else:
            training.log_point()
            clocked.seconds = 0.0
            if name == "random reward":
                training.task = coin_toss(task, recipe.seed)
            training.run_stage("rl", prepare=False)
        testing = clocked.seconds
        lines, seconds = run.metrics(), dict(training.progress.seconds)
    steps = [line for line in lines if line["stage"] == "rl"]
    flops = [line["compute/reinforce_flops"] for line in steps]
    points = [line for line in lines if line["stage"] == "evaluate"]
    found = {
        "corrects": {},
        "flops": flops[-1] if flops else 0.0,
        "steps": len(steps),
        "seconds": sum(seconds.values()),
        "testing_share": testing / max(sum(seconds.values()), 1e-9),
        "reward": [[spent, line["reward/mean"]] for spent, line in zip(flops, steps, strict=True)],
        "thinking": [line["length/thinking"] for line in steps],
        "entropy": [line["policy/entropy"] for line in steps if "policy/entropy" in line],
        "curve": [[line.get("compute/reinforce_flops", 0.0), line["evaluate/accuracy"]] for line in points],
    }
    known.write_text(json.dumps(found))
    return found


def one_seed(seed: int, root: Path) -> Found:
    """Returns the figures of one seed: the warm start, and every arm from it."""
    folder = root / f"seed-{seed}"
    recipe = replace(read_recipe(FOLDER / "recipe.toml"), seed=seed)
    found: Found = {"seed": seed, "arms": {START: arm(START, recipe, folder / "warm-start")}}
    start = folder / "warm-start" / "models" / "sft"
    for name, given in ARMS.items():
        changes = dict(given)
        if name != FIRST:
            changes |= {"steps": 10**6, "flops": found["arms"][FIRST]["flops"]}
        if "advantage" in changes:
            changes["surrogate"] = replace(recipe.named("rl").surrogate, kind="reinforce")
        found["arms"][name] = arm(name, reinforced(recipe, start, **changes), folder / name.replace(" ", "-"))
    for name, each in found["arms"].items():
        judge(each, folder / name.replace(" ", "-"))
    return found


# ---------------------------------------------------------------------------------------------------------- the table
def problems_of(found: Found, name: str, *sets: str) -> list[list[float]]:
    """Returns an arm's rights and wrongs by problem, of some sets."""
    return [problem for each in sets for problem in found["arms"][name]["corrects"][each]]


def passed(problems: Sequence[Sequence[float]], k: int) -> Estimate:
    """Returns pass@k with an interval over problems."""
    return proportion([[pass_at(int(sum(group)), len(group), k)] for group in problems if len(group) >= k])


def table(seeds: Sequence[Found]) -> str:
    """Returns the table that the README shows."""
    head = ["", *(f"seed {found['seed']}" for found in seeds), "mean over seeds [95 %, t]"]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]

    def row(title: str, estimates: Sequence[Estimate]) -> None:
        over = over_seeds([estimate.mean for estimate in estimates]) if len(estimates) > 1 else ""
        rows.append(f"| {title} | " + " | ".join(map(str, estimates)) + f" | {over} |")

    for each, title in TITLES.items():
        for k in (1, KS[-1]):
            for name in (START, *ARMS):
                row(f"{name}, {title}, pass@{k}", [passed(problems_of(found, name, each), k) for found in seeds])
        for name in (START, *list(ARMS)[1:]):
            gains = [paired_gain(problems_of(found, FIRST, each), problems_of(found, name, each)) for found in seeds]
            row(f"**{FIRST} over {name}, {title}, pass@1**", gains)
    for name in (START, *ARMS):
        of = [found["arms"][name] for found in seeds]
        if name != START:
            spent = [f"{each['flops']:.2e} in {each['steps']} steps" for each in of]
            rows.append(f"| {name}: FLOPs | " + " | ".join(spent) + " | |")
            shares = [f"{each['testing_share']:.1%}" for each in of]
            rows += [f"| {name}: share of the time that tests took | " + " | ".join(shares) + " | |"] * (name == FIRST)
        rows.append(f"| {name}: seconds | " + " | ".join(f"{each['seconds']:.0f}" for each in of) + " | |")
    return "\n".join(rows) + "\n"


# --------------------------------------------------------------------------------------------------------- the figure
def draw(seeds: Sequence[Found], folder: Path) -> None:
    """Writes synthesis.png and .svg: the learning curve, and pass@k before and after on each set."""
    with mpl.rc_context({name: mpl.rcParamsDefault[name] for name in STYLE if name in mpl.rcParamsDefault} | STYLE):
        figure = Figure((16.5, 4.2), layout="constrained")
        curves, *sets = figure.subplots(1, 1 + len(TITLES))
        for name in list(ARMS)[:2]:  # a coin's reward is no curve
            for number, found in enumerate(seeds):
                xs, ys = zip(*found["arms"][name]["reward"], strict=True)
                smooth = [fmean(ys[max(0, place - 4) : place + 1]) for place in range(len(ys))]
                curves.plot(xs, smooth, color=COLOURS[name], alpha=0.85, label=None if number else name)
        curves.set(title="Reward in training, mean of 5 steps", xlabel="reinforcement compute (FLOPs)", ylim=(0, 1))
        curves.legend(loc="upper left", labelcolor="linecolor", frameon=False)
        for axes, (level, title) in zip(sets, TITLES.items(), strict=True):
            for name in (START, *ARMS):
                values = [[passed(problems_of(found, name, level), k).mean for k in KS] for found in seeds]
                for each in values:
                    axes.plot(KS, each, color=COLOURS[name], linewidth=0.7, alpha=0.6)
                mean = [fmean(each) for each in zip(*values, strict=True)]
                axes.plot(KS, mean, color=COLOURS[name], marker="o", label=name)
            axes.set(title=f"pass@k, {title}", xlabel="k", ylim=(0, 1))
            axes.set_xscale("log", base=2)
            axes.set_xticks(KS, [str(k) for k in KS])
        sets[-1].legend(loc="upper left", labelcolor="linecolor", frameon=False)
        folder.mkdir(exist_ok=True)
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            figure.savefig(folder / f"synthesis.{kind}", dpi=DOTS, metadata=metadata)


def brief(arm_found: Found) -> Found:
    """Returns an arm's figures with pass@k by level instead of every attempt."""
    levels = {
        level: {str(k): asdict(passed(problems, k)) for k in KS} for level, problems in arm_found["corrects"].items()
    }
    return {name: value for name, value in arm_found.items() if name != "corrects"} | {"pass_at": levels}


def main() -> None:
    """Runs the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="where the runs go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    seeds = [one_seed(seed, arguments.runs) for seed in arguments.seeds]
    kept = [found | {"arms": {name: brief(each) for name, each in found["arms"].items()}} for found in seeds]
    (FOLDER / "results.json").write_text(json.dumps({"schema_version": 1, "seeds": kept}, indent=1) + "\n")
    (FOLDER / "table.md").write_text(table(seeds))
    draw(seeds, FOLDER / "figures")
    print(table(seeds))


if __name__ == "__main__":
    main()
