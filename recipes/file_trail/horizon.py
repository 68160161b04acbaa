"""Success against the number of tool turns, with and without compaction: writes results.json, table.md and the figure.

    .venv/bin/poziomka train recipes/file_trail/recipe.toml --run runs/file_trail
    .venv/bin/python recipes/file_trail/horizon.py --run runs/file_trail

A cell is one model (the warm start, or the trained one), one strategy and one number of turns, on 200 held-out trails,
one attempt each at temperature 1. Cells that were finished before are not computed again. About ten minutes of one CPU
core.

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
MODELS = {"warm start": "sft", "trained": "rl"}
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
        "longest transcript": max(
            len(branch.transcript) for group in groups for branch in group[0].branches if branch.trainable
        ),
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


def horizon(cells: dict[int, Cell], seed: int) -> Estimate:
    """Returns the number of turns at which half of the attempts succeed, with its bootstrap interval over trails."""

    def at(draw: Sequence[np.ndarray]) -> float:
        turns = np.concatenate([np.full(len(values), float(level)) for level, values in zip(cells, draw, strict=True)])
        intercept, slope = logistic(turns, np.concatenate(draw))
        return min(2.0 ** min(-intercept / slope, 20.0), 1e6) if slope < 0 else math.inf

    values = [np.array(cell["corrects"]) for cell in cells.values()]
    random = np.random.default_rng(seed)
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


def table(results: dict[str, dict[str, dict[int, Cell]]]) -> str:
    """Returns the table that the README shows."""
    levels = next(iter(next(iter(results.values())).values()))
    rows = [["", *(f"{level} turns" for level in levels), "50 % horizon, turns"]]
    for model, strategies in results.items():
        for strategy, cells in strategies.items():
            half = horizon(cells, seed_of("horizon", model, strategy) % 2**32)
            accuracies = [str(proportion([[value] for value in cell["corrects"]])) for cell in cells.values()]
            rows.append([f"{model}, {strategy}", *accuracies, f"{half.mean:.0f} [{half.low:.0f}, {half.high:.0f}]"])
        trained = strategies["no compaction"][LONGEST_TRAINED]
        chance = per_turn(trained, LONGEST_TRAINED)
        expected = f"{math.log(0.5) / math.log(chance):.0f}" if chance < 1 else "none"
        rows.append([f"{model}, if every turn failed as in trails of 8", *(f"{chance**level:.2f}" for level in levels)])
        rows[-1].append(expected)
    rows.append(["a guess of both balances", *["0.00"] * len(levels), ""])
    for strategy in STRATEGIES:
        cells = results["trained"][strategy].values()
        rows.append([f"trained, {strategy}: tokens sampled", *(f"{cell['tokens']:.0f}" for cell in cells), ""])
        rows.append([f"trained, {strategy}: longest transcript", *(str(c["longest transcript"]) for c in cells), ""])
        rows.append([f"trained, {strategy}: median of right turns", *(_median(cell) for cell in cells), ""])
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body]) + "\n"


def _median(cell: Cell) -> str:
    return f"{median(cell['right turns']):.0f}"


def draw(results: dict[str, dict[str, dict[int, Cell]]], folder: Path) -> None:
    """Writes horizon.png and horizon.svg: success against the number of turns, with 95 % intervals."""
    with mpl.rc_context({name: mpl.rcParamsDefault[name] for name in STYLE if name in mpl.rcParamsDefault} | STYLE):
        figure = Figure((11, 4.2), layout="constrained")
        for axes, (model, strategies) in zip(figure.subplots(1, 2, sharey=True), results.items(), strict=True):
            for colour, (strategy, cells) in zip(COLOURS.values(), strategies.items(), strict=False):
                shown = [proportion([[value] for value in cell["corrects"]]) for cell in cells.values()]
                means = [one.mean for one in shown]
                axes.plot(list(cells), means, color=colour, marker="o", label=strategy)
                axes.fill_between(
                    list(cells), [one.low for one in shown], [one.high for one in shown], color=colour, alpha=0.15
                )
            axes.axvline(LONGEST_TRAINED, color="0.6", linewidth=0.8, linestyle=":")
            axes.text(LONGEST_TRAINED, 1.01, " longest in training", color="0.4", fontsize=8)
            axes.axhline(0.5, color="0.8", linewidth=0.8)
            axes.set_xscale("log", base=2)
            axes.set_xticks(LEVELS, [str(level) for level in LEVELS])
            axes.set(title=model, xlabel="tool turns of the trail", ylim=(-0.02, 1.08))
            axes.legend(loc="lower left", labelcolor="linecolor", frameon=False)
        figure.axes[0].set_ylabel("share of trails with the right balances")
        folder.mkdir(exist_ok=True)
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            figure.savefig(folder / f"horizon.{kind}", dpi=DOTS, metadata=metadata)


def main() -> None:
    """Measures the cells that are missing, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/file_trail"), help="run of recipe.toml")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the results go")
    parser.add_argument("--problems", type=int, default=200, help="trails in a cell")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, dict[str, dict[int, Cell]]] = {}
    for model, stage in MODELS.items():
        for strategy, make in STRATEGIES.items():
            for level in LEVELS:
                known = arguments.run / "horizon" / f"{stage}-{strategy.replace(' ', '-')}-{level}.json"
                if not known.exists():
                    known.parent.mkdir(exist_ok=True)
                    cell = measured(arguments.run / "models" / stage, make, level, arguments.problems)
                    known.write_text(json.dumps(cell))
                    print(model, strategy, level, sum(cell["corrects"]) / len(cell["corrects"]), flush=True)
                results.setdefault(model, {}).setdefault(strategy, {})[level] = json.loads(known.read_text())
    kept = {
        model: {
            strategy: {
                "horizon": asdict(horizon(cells, seed_of("horizon", model, strategy) % 2**32)),
                "levels": {
                    str(level): cell
                    | {"accuracy": asdict(proportion([[value] for value in cell["corrects"]]))}
                    | {name: "".join(f"{value:.0f}," for value in cell[name]) for name in ("corrects", "right turns")}
                    for level, cell in cells.items()
                },
            }
            for strategy, cells in strategies.items()
        }
        for model, strategies in results.items()
    }
    (arguments.out / "results.json").write_text(json.dumps({"schema_version": 1, "models": kept}, indent=1) + "\n")
    (arguments.out / "table.md").write_text(table(results))
    draw(results, arguments.out / "figures")
    print(table(results))


if __name__ == "__main__":
    main()
