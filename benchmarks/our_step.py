"""Our side of the comparison with a peer: seconds of a step of reinforcement on the recurrence, as JSON.

    .venv/bin/python benchmarks/our_step.py --steps 6 --model runs/demo/models/sft

A step is everything the loop does: problems, 32 × 8 attempts, checking, advantages, packing, the optimizer step,
adopting the weights, the metrics line and the journal. The first step is a warm-up and is not counted.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from poziomka.app.build import build
from poziomka.app.settings.recipe import Recipe, recipe_of
from poziomka.app.train import Training
from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import seed_of
from poziomka.core.settings import plain
from poziomka.core.transcript import Transcript
from poziomka.learning.learner import Learner
from poziomka.learning.loops.rl import Policy, reinforce
from poziomka.runs import Run
from poziomka.tasks import task_named


def coin(problem: Problem, transcript: Transcript) -> Score:
    """A fair coin for each reply, so that nearly every group has variance and is learned from."""
    heads = seed_of("coin", problem.key, *transcript.tokens) % 2
    return Score.right("", "heads") if heads else Score.wrong("", "tails")


def recipe_for(arguments: argparse.Namespace) -> Recipe:
    """Returns the recurrence's reinforcement as both sides do it."""
    optimizer = {"learning_rate": arguments.learning_rate, "warmup_steps": 0, "decay_ratio": 0.0}
    sizes = {"steps": arguments.steps + 1, "max_tokens": 66, "max_thinking_tokens": 64}
    stages = [{"kind": "rl", **sizes, "optimizer": optimizer}]
    return recipe_of({"threads": arguments.threads, "seed": arguments.seed, "stage": stages})


def lines_of(arguments: argparse.Namespace) -> tuple[list[float], list[dict[str, Any]]]:
    """Runs the loop; returns when each step ended, the start first, and the metrics of each."""
    recipe, ends, lines = recipe_for(arguments), [0.0], []
    if arguments.model:
        recipe = replace(recipe, model=replace(recipe.model, start=str(arguments.model)))
    task = task_named("recurrence")
    if arguments.reward == "coin":
        task = replace(task, scorer=coin)

    def hear(_stage: str, line: dict[str, Any]) -> None:
        ends.append(time.perf_counter())
        lines.append(line)

    with tempfile.TemporaryDirectory() as folder, Run.open(Path(folder), plain(recipe)) as run:
        training = Training(recipe, run, build(recipe, task), quiet=True)
        training.progress.learner = Learner(training.model, recipe.named("rl").learner)
        training.progress.listener, training.progress.every = hear, 10**9
        ends[0] = time.perf_counter()
        reinforce(training.progress, Policy(training.sampler), task, training.curriculum, recipe.named("rl"))
    return ends, lines


def matmul_peak(threads: int) -> float:
    """Returns the best FLOP/s of a square fp32 product in this run."""
    torch.set_num_threads(threads)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    times = []
    for _ in range(8):
        began = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times)


def training_share(lines: list[dict[str, Any]], peak: float) -> float:
    """Returns the median share of the matmul peak that the optimizer steps reach."""
    model_steps = list(pairwise([{"compute/training_flops": 0.0}, *lines]))
    rates = [
        (after["compute/training_flops"] - before["compute/training_flops"]) / after["time/learning_seconds"]
        for before, after in model_steps[1:]
    ]
    return median(rates) / peak


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6, help="counted steps")
    parser.add_argument("--model", type=Path, default=None, help="a checkpoint to begin with; random weights without")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--reward", choices=["check", "coin"], default="check")
    arguments = parser.parse_args()
    ends, lines = lines_of(arguments)
    seconds = [after - before for before, after in pairwise(ends)][1:]
    counted = lines[1:]
    figures = {
        "seconds": seconds,
        "median": median(seconds),
        "tokens_per_step": fmean(line["tokens/sampled"] for line in counted),
        "rollouts_per_second": 256 / median(seconds),
        "threads": arguments.threads,
        "real_share": median(line.get("perf/packing_efficiency", 1.0) for line in counted),
        "sampling_seconds": median(line["time/sampling_seconds"] for line in counted),
        "learning_seconds": median(line["time/learning_seconds"] for line in counted),
        "share_of_matmul_peak_in_training": training_share(lines, matmul_peak(arguments.threads)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
