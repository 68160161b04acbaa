"""Arms of a recipe at equal FLOPs, from the same warm start: writes results.json, table.md and the figure.

    .venv/bin/python recipes/arms.py recipes/string_splitting --runs runs/string-splitting-study

The folder's arms.toml names the arms and how each changes the folder's recipe.toml. For each seed there is one warm
start; every arm begins with it and reinforces until `rl.flops` are spent. Then all of them, the warm start too,
attempt the same held-out problems, those of each level. What was done before is not done again: an interrupted study
goes on. Arms with tools are told apart in tools.py.
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study import over_seeds, reinforced

from poziomka.app.settings.recipe import Recipe, read_recipe
from poziomka.app.train import Training
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.evaluation import Estimate, Evaluation, paired_gain
from poziomka.core.settings import plain, read_toml
from poziomka.reports.style import AFTER, BEFORE, DOTS, MUTED, RIGHT, STYLE
from poziomka.runs import Run

PROBLEMS, ATTEMPTS = 32, 4  # most held-out problems of a level, and attempts at each
HARD = 3  # the hardest levels, reported on their own
COLOURS = (AFTER, BEFORE, RIGHT)
Found = dict[str, Any]


def judged(training: Training, most: int = PROBLEMS) -> Found:
    """Returns how the model as it stands does at the held-out problems of each level, at most so many."""
    task, low_high = training.task, training.task.levels or (0, 0)
    training.progress.publish_weights(training.sampler)
    how, corrects, calls = training.sampling(most=training.recipe.sampling.max_thinking_tokens), {}, {}
    for level in range(low_high[0], low_high[1] + 1):
        drawn = {problem.key: problem for problem in task.take("test", 0, 10 * most, level)}
        problems = list(drawn.values())[:most]
        groups = collect(training.sampler, task, problems, how, attempts=ATTEMPTS, name="arms/test")
        corrects[str(level)] = Evaluation(groups).corrects
        calls[str(level)] = [[len(rollout.transcript.heard) for rollout in group] for group in groups]
    return {"corrects": corrects, **({} if task.environment is None else {"calls": calls})}


def arm(name: str, recipe: Recipe, folder: Path, most: int = PROBLEMS, stages: Sequence[str] = ("rl",)) -> Found:
    """Runs stages of one arm, or of the warm start; returns its figures."""
    known = folder / "arm.json"
    if known.exists():
        return dict(json.loads(known.read_text()))
    print(f"seed {recipe.seed}: {name}", flush=True)
    with Run.open(folder, plain(recipe)) as run:
        training = Training(recipe, run, quiet=True)
        for stage in stages:
            training.run_stage(stage)
        found = judged(training, most)
        lines = run.metrics()
        seconds = sum(training.progress.seconds.values())
    steps = [line for line in lines if line["stage"] == "rl"]
    flops = [line.get("compute/reinforce_flops", 0.0) for line in steps]
    found |= {
        "flops": flops[-1] if flops else 0.0,
        "steps": len(steps),
        "seconds": seconds,
        "curve": [
            [line.get("compute/reinforce_flops", 0.0), line["evaluate/accuracy"]]
            for line in lines
            if line["stage"] == "evaluate"
        ],
        "zero_variance": [line["groups/zero_variance"] for line in steps],
        "range": [
            [spent, line["curriculum/level_low"], line["curriculum/level_high"]]
            for spent, line in zip(flops, steps, strict=True)
            if "curriculum/level_low" in line
        ],
    }
    known.write_text(json.dumps(found))
    return found


def one_seed(seed: int, root: Path, path: Path, arms: Mapping[str, Sequence[str]], most: int = PROBLEMS) -> Found:
    """Returns the figures of one seed: the warm start, and every arm from it."""
    folder = root / f"seed-{seed}"
    warm = replace(read_recipe(path), seed=seed)
    found: Found = {"seed": seed, "arms": {}}
    found["arms"]["warm start"] = arm("warm start", warm, folder / "warm-start", most, ("sft",))
    start = folder / "warm-start" / "models" / "sft"
    for name, changes in arms.items():
        recipe = reinforced(replace(read_recipe(path, tuple(changes)), seed=seed), start, steps=10**6)  # FLOPs end it
        found["arms"][name] = arm(name, recipe, folder / name.replace(" ", "-"), most)
    return found


# ---------------------------------------------------------------------------------------------------------- the table
def problems_of(found: Found, name: str, *, hard: bool = False) -> list[list[float]]:
    """Returns an arm's rights and wrongs by problem, of all levels or of the hardest."""
    levels = list(found["arms"][name]["corrects"].values())
    return [problem for level in levels[-HARD if hard else 0 :] for problem in level]


def table(seeds: Sequence[Found], arms: Sequence[str]) -> str:
    """Returns the table that the recipe's README shows; the first arm is held against each other one."""
    head = ["", *(f"seed {found['seed']}" for found in seeds), "mean over seeds [95 %, t]"]
    levels = list(seeds[0]["arms"][arms[0]]["corrects"])
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]

    def row(title: str, estimates: Sequence[Estimate]) -> None:
        over = over_seeds([estimate.mean for estimate in estimates]) if len(estimates) > 1 else ""
        rows.append(f"| {title} | " + " | ".join(map(str, estimates)) + f" | {over} |")

    for title, hard in (("all levels", False), (f"levels {levels[-HARD]} to {levels[-1]}", True)):
        for name in ("warm start", *arms):
            row(f"{name}, {title}", [accuracy(problems_of(found, name, hard=hard)) for found in seeds])
        for name in arms[1:]:
            first, other = ([problems_of(found, each, hard=hard) for found in seeds] for each in (arms[0], name))
            gains = [paired_gain(one, two) for one, two in zip(first, other, strict=True)]
            row(f"**{arms[0]} over {name}, {title}**", gains)
    for name in arms:
        of = [found["arms"][name] for found in seeds]
        wasted = [f"{fmean(each['zero_variance']):.0%}" for each in of]
        rows.append(f"| {name}: groups without variance | " + " | ".join(wasted) + " | |")
        spent = [f"{each['flops']:.2e} in {each['steps']} steps" for each in of]
        rows.append(f"| {name}: reinforcement FLOPs | " + " | ".join(spent) + " | |")
        rows.append(f"| {name}: seconds | " + " | ".join(f"{each['seconds']:.0f}" for each in of) + " | |")
    return "\n".join(rows) + "\n"


def accuracy(problems: Sequence[Sequence[float]]) -> Estimate:
    """Returns the mean with a normal interval over problems."""
    return paired_gain(problems, [[0.0]] * len(problems))


# --------------------------------------------------------------------------------------------------------- the figure
def draw(seeds: Sequence[Found], arms: Sequence[str], folder: Path) -> None:
    """Writes arms.png and arms.svg: accuracy against FLOPs, accuracy by level, and the range of levels."""
    with mpl.rc_context({name: mpl.rcParamsDefault[name] for name in STYLE if name in mpl.rcParamsDefault} | STYLE):
        figure = Figure((13.2, 4.2), layout="constrained")
        curves, levels, ranges = figure.subplots(1, 3)
        _curves(curves, seeds, arms)
        _levels(levels, seeds, arms)
        _ranges(ranges, seeds, arms)
        folder.mkdir(exist_ok=True)
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            figure.savefig(folder / f"arms.{kind}", dpi=DOTS, metadata=metadata)


def _curves(axes: Axes, seeds: Sequence[Found], arms: Sequence[str]) -> None:
    for name, colour in zip(arms, COLOURS, strict=False):
        for number, found in enumerate(seeds):
            xs, ys = zip(*found["arms"][name]["curve"], strict=True)
            label = name if number == 0 else None
            axes.plot(xs, ys, color=colour, linewidth=1.4, alpha=0.85, label=label)
    axes.set(title="Held-out accuracy, all levels", xlabel="reinforcement compute (FLOPs)", ylim=(0, 1))
    axes.legend(loc="upper left", labelcolor="linecolor", frameon=False)


def _levels(axes: Axes, seeds: Sequence[Found], arms: Sequence[str]) -> None:
    for name, colour in (*zip(arms, COLOURS, strict=False), ("warm start", MUTED)):
        levels = list(map(int, seeds[0]["arms"][name]["corrects"]))
        rows = [[fmean(map(fmean, found["arms"][name]["corrects"][str(level)])) for level in levels] for found in seeds]
        for row in rows:
            axes.plot(levels, row, color=colour, linewidth=0.7, alpha=0.6)
        axes.plot(levels, [fmean(column) for column in zip(*rows, strict=True)], color=colour, marker="o", label=name)
    axes.set(title="In the end, by level", xlabel="level", ylim=(0, 1))
    axes.legend(loc="upper right", labelcolor="linecolor", frameon=False)


def _ranges(axes: Axes, seeds: Sequence[Found], arms: Sequence[str]) -> None:
    for name, colour in zip(arms, COLOURS, strict=False):
        for found in seeds:
            if found["arms"][name]["range"]:
                xs, lows, highs = zip(*found["arms"][name]["range"], strict=True)
                axes.plot(xs, highs, color=colour, linewidth=1.2, drawstyle="steps-post")
                axes.fill_between(xs, lows, highs, color=colour, alpha=0.12, linewidth=0, step="post")
    axes.set(title="Levels dealt from", xlabel="reinforcement compute (FLOPs)", ylim=(0, None))


def main() -> None:
    """Runs the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with recipe.toml and arms.toml; the results go there")
    parser.add_argument("--runs", type=Path, required=True, help="where the runs go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    out = arguments.folder
    arms = read_toml(out / "arms.toml")
    seeds = [one_seed(seed, arguments.runs, out / "recipe.toml", arms) for seed in arguments.seeds]
    kept = [found | {"arms": {name: _brief(each) for name, each in found["arms"].items()}} for found in seeds]
    (out / "results.json").write_text(json.dumps({"schema_version": 1, "seeds": kept}, indent=1) + "\n")
    (out / "table.md").write_text(table(seeds, list(arms)))
    draw(seeds, list(arms), out / "figures")
    report = arguments.runs / f"seed-{arguments.seeds[0]}" / next(iter(arms)) / "figures"
    if (report / "monitors.png").exists():
        shutil.copy(report / "monitors.png", out / "figures" / "monitors.png")
    print(table(seeds, list(arms)))


def _brief(found: Found) -> Found:
    """Returns an arm's figures with each level's rights counted, not listed."""
    levels = {level: asdict(accuracy(problems)) for level, problems in found["corrects"].items()}
    return {name: value for name, value in found.items() if name != "corrects"} | {"levels": levels}


if __name__ == "__main__":
    main()
