"""Success against the number of tool turns, with and without compaction: writes results.json, table.md and the figure.

    .venv/bin/poziomka train recipes/file_trail/recipe.toml --run runs/file_trail
    .venv/bin/python recipes/file_trail/horizon.py --run runs/file_trail

A cell is one strategy at one number of turns, on 200 held-out trails, one attempt each at temperature 1. Cells that
were finished before are not computed again. A few minutes of one CPU core.

The horizon is the number of turns at which half of the attempts succeed, by a logistic regression of success on the
logarithm of the number of turns (the form of METR's time horizon, arXiv 2503.14499, with turns in place of minutes);
its interval is the bootstrap's over trails. Only a horizon within the measured range is an interpolation.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

import poziomka as pz
from poziomka.core.rollout import Rollout
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.rollouts.evaluation import Estimate, Evaluation, proportion
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.seeds import seed_of
from poziomka.core.strategy import Strategy
from poziomka.core.transcript import Author
from poziomka.reports.style import COLOURS, DOTS, STYLE
from poziomka.tasks.toy.file_trail import OPEN, demonstration, file_trail
from poziomka.thinking import Compaction

LEVELS = (1, 2, 4, 8, 16, 32, 64)
LONGEST_TRAINED = 8
LIMIT = 48  # tokens of a transcript that is summarised; a trail of 8 files has 64
STRATEGIES: dict[str, Strategy] = {"no compaction": SINGLE_REPLY, "compaction": Compaction(LIMIT)}
RESAMPLES = 1000
Cell = dict[str, Any]


def right_turns(rollout: Rollout) -> int:
    """Returns the number of turns before the first one that differs from the optimal policy's."""
    right = [turn.split() for turn in demonstration(rollout.problem)[0].split(OPEN)]
    said = "".join(span.text for span in rollout.transcript if span.author is Author.MODEL).split(OPEN)
    count = 0
    for ours, gold in zip(said, right, strict=False):
        if ours.replace("<think>", "").split() != gold or not gold:
            break
        count += 1
    return count


def measured(model: Path, strategy: Strategy, level: int, problems: int) -> Cell:
    """Returns the figures of one cell."""
    task = file_trail()
    params = pz.SamplingParams(max_tokens=8 * level + 32)  # twice the tokens of the optimal policy, and summaries
    with Scoring(task) as scoring:
        collector = Collector(pz.load(str(model)).sampler(), scoring, strategy)
        groups = collector.collect(task.take("test", 0, problems, level), params, name=f"horizon/{level}")
    found = Evaluation(groups)
    return {
        "corrects": [values[0] for values in found.corrects],
        "right turns": [right_turns(group[0]) for group in groups],
        "failures": found.failures,
        "tokens": found.tokens,
        "read": sum(group[0].cost.read for group in groups) / problems,
        "parts": sum(max(1, len(group[0].branches) - 1) for group in groups) / problems,
        "longest": max(len(branch.transcript) for group in groups for branch in group[0].branches if branch.trainable),
    }


def logistic(turns: np.ndarray, corrects: np.ndarray) -> tuple[float, float]:
    """Returns (intercept, slope) of the logistic regression of success on log2(turns), by Newton's method.

    A ridge of 0.01 keeps the estimate finite where all attempts succeed up to some number of turns and none after it.
    """
    x = np.stack([np.ones(len(turns)), np.log2(turns)], axis=1)
    weights = np.zeros(2)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (corrects - chance) - 0.01 * weights
        hessian = (x * (chance * (1 - chance))[:, None]).T @ x + 0.01 * np.eye(2)
        weights = weights + np.linalg.solve(hessian, gradient)
    return float(weights[0]), float(weights[1])


def horizon(cells: dict[int, Cell], strategy: str) -> Estimate:
    """Returns the number of turns at which half of the attempts succeed, with its bootstrap interval over trails."""

    def at(draw: Sequence[np.ndarray]) -> float:
        turns = np.concatenate([np.full(len(values), float(level)) for level, values in zip(cells, draw, strict=True)])
        intercept, slope = logistic(turns, np.concatenate(draw))
        return min(2.0 ** min(-intercept / slope, 20.0), 1e6) if slope < 0 else math.inf

    values = [np.array(cell["corrects"]) for cell in cells.values()]
    random = np.random.default_rng(seed_of("horizon", strategy) % 2**32)
    draws = [at([row[random.integers(0, len(row), len(row))] for row in values]) for _ in range(RESAMPLES)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(at(values), float(low), float(high))


def per_turn(cell: Cell, level: int) -> float:
    """Returns the probability that a turn is right, from the first error of the attempts at trails of one length.

    It is the maximum-likelihood estimate if all turns are right with the same probability: right turns / turns until
    the first error.
    """
    right = sum(cell["right turns"])
    return right / (right + sum(count < level for count in cell["right turns"]))


def table(results: dict[str, dict[int, Cell]]) -> str:
    """Returns the table that the README shows."""
    rows = [["", *(f"{level} turns" for level in LEVELS), "50 % horizon, turns"]]
    for strategy, cells in results.items():
        half = horizon(cells, strategy)
        rows.append([strategy, *(str(accuracy(cell)) for cell in cells.values()), f"{half.mean:.0f}"])
        rows[-1][-1] += f" [{half.low:.0f}, {half.high:.0f}]"
    chance = per_turn(results["no compaction"][LONGEST_TRAINED], LONGEST_TRAINED)
    half = f"{math.log(0.5) / math.log(chance):.0f}" if chance < 1 else "none"
    rows.append(["if every turn failed as in trails of 8", *(f"{chance**level:.2f}" for level in LEVELS), half])
    rows.append(["a guess of both balances", *["0.01"] * len(LEVELS), ""])
    for strategy, cells in results.items():
        rows.append(
            [f"{strategy}: median of right turns", *(f"{median(c['right turns']):.0f}" for c in cells.values()), ""]
        )
        rows.append([f"{strategy}: tokens sampled", *(f"{cell['tokens']:.0f}" for cell in cells.values()), ""])
        rows.append([f"{strategy}: tokens of the longest transcript", *(f"{c['longest']}" for c in cells.values()), ""])
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body]) + "\n"


def accuracy(cell: Cell) -> Estimate:
    """Returns the share of right attempts, with its 95 % interval."""
    return proportion([[value] for value in cell["corrects"]])


def draw(results: dict[str, dict[int, Cell]], folder: Path) -> None:
    """Writes horizon.png and horizon.svg: success against the number of turns, with 95 % intervals."""
    with mpl.rc_context({name: mpl.rcParamsDefault[name] for name in STYLE if name in mpl.rcParamsDefault} | STYLE):
        figure = Figure((6.6, 4.2), layout="constrained")
        axes = figure.subplots()
        for colour, (strategy, cells) in zip(COLOURS.values(), results.items(), strict=False):
            shown = [accuracy(cell) for cell in cells.values()]
            axes.plot(LEVELS, [one.mean for one in shown], color=colour, marker="o", label=strategy)
            lows, highs = ([getattr(one, end) for one in shown] for end in ("low", "high"))
            axes.fill_between(LEVELS, lows, highs, color=colour, alpha=0.15, linewidth=0)
        axes.axvline(LONGEST_TRAINED, color="0.6", linewidth=0.8, linestyle=":")
        axes.text(LONGEST_TRAINED, 1.02, " longest in training", color="0.4", fontsize=8)
        axes.axhline(0.5, color="0.8", linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.set_xticks(LEVELS, [str(level) for level in LEVELS])
        axes.set(
            xlabel="tool turns of the trail", ylabel="share of trails with both balances right", ylim=(-0.02, 1.08)
        )
        axes.legend(loc="lower left", labelcolor="linecolor", frameon=False)
        folder.mkdir(exist_ok=True)
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            figure.savefig(folder / f"horizon.{kind}", dpi=DOTS, metadata=metadata)


def kept(strategy: str, cells: dict[int, Cell]) -> dict[str, Any]:
    """Returns what results.json has of a strategy; rights and counts by trail are written as one text each."""
    levels = {
        str(level): cell
        | {"accuracy": asdict(accuracy(cell))}
        | {name: " ".join(f"{value:.0f}" for value in cell[name]) for name in ("corrects", "right turns")}
        for level, cell in cells.items()
    }
    return {"horizon": asdict(horizon(cells, strategy)), "levels": levels}


def main() -> None:
    """Measures the cells that are missing, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/file_trail"), help="run of recipe.toml")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the results go")
    parser.add_argument("--problems", type=int, default=200, help="trails in a cell")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, dict[int, Cell]] = {strategy: {} for strategy in STRATEGIES}
    for level in LEVELS:
        for strategy, make in STRATEGIES.items():
            known = arguments.run / "horizon" / f"{strategy.replace(' ', '-')}-{level}-{arguments.problems}.json"
            if not known.exists():
                known.parent.mkdir(exist_ok=True)
                cell = measured(arguments.run / "models" / "sft", make, level, arguments.problems)
                known.write_text(json.dumps(cell))
                print(strategy, level, accuracy(cell), flush=True)
            results[strategy][level] = json.loads(known.read_text())
    figures = {"schema_version": 1, "problems": arguments.problems, "limit": LIMIT}
    figures |= {"strategies": {name: kept(name, cells) for name, cells in results.items()}}
    (arguments.out / "results.json").write_text(json.dumps(figures, indent=1) + "\n")
    (arguments.out / "table.md").write_text(table(results))
    draw(results, arguments.out / "figures")
    print(table(results))


if __name__ == "__main__":
    main()
