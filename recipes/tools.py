"""Arms of a recipe with tools and without: writes results.json, table.md and the figure.

    .venv/bin/python recipes/tools.py recipes/large_numbers --runs runs/large-numbers-study

As arms.py: for each seed one warm start, from which every arm of arms.toml reinforces until `rl.flops` are
spent; then all of them attempt the same held-out problems of each level. Here it is also told how often a tool was
called, at which level, and what the tools' own time was of a step. What was done before is not done again.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

import matplotlib as mpl
from arms import COLOURS, Found, accuracy, one_seed
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study import over_seeds

from poziomka.core.rollouts.evaluation import Estimate, paired_gain
from poziomka.core.settings import read_toml
from poziomka.learning.samples.turns import rate_by_level
from poziomka.reports.style import DOTS, MUTED, STYLE
from poziomka.runs import Run

WARM = "warm start"
PROBLEMS = 100  # most held-out problems of a level
WINDOW = 6  # steps of which a curve of training shows the mean
Rows = list[list[float]]


def of_levels(found: Found, name: str, what: str, levels: Sequence[str]) -> Rows:
    """Returns right and wrong ("corrects"), or called and not ("calls"), by problem of these levels."""
    rows = found["arms"][name].get(what)
    if rows is None:  # an arm without tools
        return [[0.0] * len(row) for level in levels for row in found["arms"][name]["corrects"][level]]
    return [[float(value > 0) for value in row] for level in levels for row in rows[level]]


def given_tool(found: Found, name: str, levels: Sequence[str], *, called: bool) -> float | None:
    """Returns the accuracy of attempts that called, or did not; None where there is none."""
    arm = found["arms"][name]
    pairs = [
        (right, calls > 0)
        for level in levels
        for rights, rows in zip(arm["corrects"][level], arm["calls"][level], strict=True)
        for right, calls in zip(rights, rows, strict=True)
    ]
    chosen = [right for right, did in pairs if did is called]
    return fmean(chosen) if chosen else None


# --------------------------------------------------------------------------------------------------------- the journal
def steps_of(folder: Path) -> list[dict[int, float]]:
    """Returns for each step of reinforcement, by level, the share of attempts with a call."""
    run = Run.read(folder)
    steps = sorted(path.stem for path in run.journals() if path.stem.startswith("step-"))
    return [rate_by_level([r for group in run.journal(stem).groups for r in group]) for stem in steps]


def costs_of(folder: Path) -> dict[str, float]:
    """Returns seconds of all steps, those in tools among them, calls, and the mean share of void attempts."""
    lines = [line for line in Run.read(folder).metrics() if line["stage"] == "rl"]
    seconds = sum(value for line in lines for name, value in line.items() if name.startswith("time/"))
    used = [line for line in lines if "tools/seconds" in line]
    return {
        "step_seconds": seconds,
        "tool_seconds": sum(line["tools/seconds"] for line in used),
        "void": fmean(line["rollouts/void"] for line in used) if used else 0.0,
    }


# ---------------------------------------------------------------------------------------------------------- the table
def table(seeds: Sequence[Found], arms: Sequence[str]) -> str:
    """Returns the tables that the recipe's README shows: all levels by seed, and means over seeds by level."""
    head = ["", *(f"seed {found['seed']}" for found in seeds), "mean over seeds [95 %, t]"]
    levels = list(seeds[0]["arms"][WARM]["corrects"])
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    with_tools = [name for name in (WARM, *arms) if "calls" in seeds[0]["arms"][name]]

    def row(title: str, estimates: Sequence[Estimate]) -> None:
        over = over_seeds([estimate.mean for estimate in estimates]) if len(estimates) > 1 else ""
        rows.append(f"| {title} | " + " | ".join(map(str, estimates)) + f" | {over} |")

    for name in (WARM, *arms):
        row(f"{name}: accuracy", [accuracy(of_levels(found, name, "corrects", levels)) for found in seeds])
    for name in arms[1:]:
        pairs = [[of_levels(found, each, "corrects", levels) for each in (arms[0], name)] for found in seeds]
        row(f"**{arms[0]} over {name}, accuracy**", [paired_gain(one, two) for one, two in pairs])
    for name in with_tools:
        row(f"{name}: tool rate", [accuracy(of_levels(found, name, "calls", levels)) for found in seeds])
    for name in with_tools:
        ends = [[of_levels(found, name, "calls", [level]) for level in (levels[-1], levels[0])] for found in seeds]
        row(f"**{name}: tool rate, level {levels[-1]} over level {levels[0]}**", [_apart(*each) for each in ends])
    for name in arms:
        rows += _spent(name, [found["arms"][name] for found in seeds])
    return "\n".join([*rows, "", *_levels(seeds, [WARM, *arms], levels)]) + "\n"


def _spent(name: str, of_arm: Sequence[Found]) -> list[str]:
    """Returns rows of what an arm cost."""
    cells = {
        "FLOPs": [f"{arm['flops']:.2e} in {arm['steps']} steps" for arm in of_arm],
        "seconds": [f"{arm['seconds']:.0f}" for arm in of_arm],
    }
    if "calls" in of_arm[0]:
        costs = [arm["costs"] for arm in of_arm]
        cells["time in tools, of all steps"] = [f"{cost['tool_seconds'] / cost['step_seconds']:.1%}" for cost in costs]
        cells["attempts with a void turn, in training"] = [f"{cost['void']:.1%}" for cost in costs]
    return [f"| {name}: {what} | " + " | ".join(each) + " | |" for what, each in cells.items()]


def _levels(seeds: Sequence[Found], names: Sequence[str], levels: Sequence[str]) -> list[str]:
    """Returns a table of means over seeds by level."""
    rows = ["| mean over seeds | " + " | ".join(f"level {level}" for level in levels) + " |"]
    rows.append("|---" * (len(levels) + 1) + "|")
    for what, title in (("corrects", "accuracy"), ("calls", "tool rate")):
        for name in names:
            if what in seeds[0]["arms"][name]:
                means = [[accuracy(of_levels(f, name, what, [level])).mean for f in seeds] for level in levels]
                cells = [str(over_seeds(each)) if len(each) > 1 else f"{each[0]:.2f}" for each in means]
                rows.append(f"| {name}: {title} | " + " | ".join(cells) + " |")
    return rows


def _apart(one: Rows, other: Rows) -> Estimate:
    """Returns the difference of two means over different problems, with a normal interval."""
    first, second = accuracy(one), accuracy(other)
    mean = first.mean - second.mean
    half = ((first.high - first.mean) ** 2 + (second.high - second.mean) ** 2) ** 0.5
    return Estimate(mean, mean - half, mean + half)


# --------------------------------------------------------------------------------------------------------- the figure
def draw(seeds: Sequence[Found], arms: Sequence[str], folder: Path) -> None:
    """Writes tools.png and tools.svg: both curves over training, then use and accuracy by level in the end."""
    with mpl.rc_context({name: mpl.rcParamsDefault[name] for name in STYLE if name in mpl.rcParamsDefault} | STYLE):
        figure = Figure((13.2, 8.0), layout="constrained")
        (rates, accuracies), (use, right) = figure.subplots(2, 2)
        _rates(rates, seeds, [name for name in arms if "calls" in seeds[0]["arms"][name]])
        _accuracies(accuracies, seeds, arms)
        _by_level(use, seeds, [WARM, *arms], "calls", "Share of attempts with a call, held-out, by level")
        _by_level(right, seeds, [WARM, *arms], "corrects", "Held-out accuracy in the end, by level")
        folder.mkdir(exist_ok=True)
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            figure.savefig(folder / f"tools.{kind}", dpi=DOTS, metadata=metadata)


def _rates(axes: Axes, seeds: Sequence[Found], arms: Sequence[str]) -> None:
    for name, colour in zip(arms, COLOURS, strict=False):
        levels = list(seeds[0]["arms"][WARM]["corrects"])
        for level, style in ((levels[0], ":"), (levels[-1], "-")):
            for number, found in enumerate(seeds):
                seen = [step.get(level) for step in found["arms"][name]["by_step"]]
                known = [(step, rate) for step, rate in enumerate(seen, 1) if rate is not None]
                ys = [fmean(rate for _, rate in known[max(0, i - WINDOW) : i + 1]) for i in range(len(known))]
                label = f"{name}, level {level}" if number == 0 else None
                axes.plot([step for step, _ in known], ys, style, color=colour, linewidth=1.3, alpha=0.8, label=label)
    axes.set(title="Share of attempts with a call, in training", xlabel="step of reinforcement", ylim=(0, 1.02))
    axes.legend(loc="center right", labelcolor="linecolor", frameon=False)


def _accuracies(axes: Axes, seeds: Sequence[Found], arms: Sequence[str]) -> None:
    for name, colour in zip(arms, COLOURS, strict=False):
        for number, found in enumerate(seeds):
            xs, ys = zip(*found["arms"][name]["curve"], strict=True)
            axes.plot(xs, ys, color=colour, linewidth=1.4, alpha=0.85, label=name if number == 0 else None)
    axes.set(title="Held-out accuracy, all levels", xlabel="reinforcement compute (FLOPs)", ylim=(0, 1.02))
    axes.legend(loc="center right", labelcolor="linecolor", frameon=False)


def _by_level(axes: Axes, seeds: Sequence[Found], names: Sequence[str], what: str, title: str) -> None:
    levels = list(seeds[0]["arms"][WARM]["corrects"])
    for name, colour in zip(names, (MUTED, *COLOURS), strict=False):
        if what == "calls" and what not in seeds[0]["arms"][name]:
            continue
        rows = [[accuracy(of_levels(found, name, what, [level])).mean for level in levels] for found in seeds]
        for row in rows:
            axes.plot(levels, row, color=colour, linewidth=0.7, alpha=0.6)
        axes.plot(levels, [fmean(column) for column in zip(*rows, strict=True)], color=colour, marker="o", label=name)
    axes.set(title=title, xlabel="level (digits of the first factor)", ylim=(0, 1.02))
    axes.legend(loc="best", labelcolor="linecolor", frameon=False)


def brief(found: Found) -> Found:
    """Returns an arm's figures with each level's rights and calls as estimates, not listed."""
    levels = list(found["corrects"])
    told = {what: {level: found[what][level] for level in levels} for what in ("corrects", "calls") if what in found}
    shares = {
        what: {level: asdict(accuracy([[float(v > 0) for v in row] for row in rows])) for level, rows in by.items()}
        for what, by in told.items()
    }
    return {name: value for name, value in found.items() if name not in told} | {"levels": shares}


def main() -> None:
    """Runs the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with recipe.toml and arms.toml; the results go there")
    parser.add_argument("--runs", type=Path, required=True, help="where the runs go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    out, arms = arguments.folder, read_toml(arguments.folder / "arms.toml")
    seeds = [one_seed(seed, arguments.runs, out / "recipe.toml", arms, PROBLEMS) for seed in arguments.seeds]
    for found in seeds:
        for name in arms:
            folder, arm = arguments.runs / f"seed-{found['seed']}" / name.replace(" ", "-"), found["arms"][name]
            by_step = [{str(level): round(rate, 3) for level, rate in step.items()} for step in steps_of(folder)]
            arm |= {"by_step": by_step, "costs": costs_of(folder)}
        for name in (WARM, *arms):
            if "calls" in found["arms"][name]:
                lists = list(found["arms"][name]["corrects"])
                found["arms"][name]["accuracy_given"] = {
                    level: [given_tool(found, name, [level], called=called) for called in (True, False)]
                    for level in lists
                }
    draw(seeds, list(arms), out / "figures")
    (out / "table.md").write_text(table(seeds, list(arms)))
    kept = [found | {"arms": {name: brief(each) for name, each in found["arms"].items()}} for found in seeds]
    (out / "results.json").write_text(json.dumps({"schema_version": 1, "seeds": kept}) + "\n")
    print(table(seeds, list(arms)))


if __name__ == "__main__":
    main()
