"""Our side of the comparison with a peer: seconds of a step of reinforcement on the recurrence, as JSON.

    .venv/bin/python benchmarks/our_step.py --steps 6 --model runs/demo/models/warm-start

A step is everything the loop does: problems, 32 × 8 attempts, checking, advantages, packing, the optimizer step, adopting
the weights, the metrics line and the journal. The first step is a warm-up and is not counted.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from poziomka.cli.recipe import recipe_of
from poziomka.cli.train import Training
from poziomka.core.settings import plain
from poziomka.runs import Run


def steps_of(model: Path | None, steps: int, threads: int) -> dict[str, object]:
    """Returns the figures of `steps` counted steps."""
    times: list[float] = [time.perf_counter()]
    sampled: list[float] = []
    shares: list[float] = []

    def hear(stage: str, line: dict[str, float]) -> None:
        times.append(time.perf_counter())
        sampled.append(line["tokens/sampled"])
        shares.append(line.get("tokens/real_share", 1.0))

    recipe = recipe_of(
        {"threads": threads, "model": {"qk_norm": True}, "reinforce": {"steps": steps + 1, "tokens": 66, "budget": 64}}
    )
    recipe = recipe_of(plain(recipe), (f"start={json.dumps(str(model))}", "reinforce.patience=none") if model else ())
    with tempfile.TemporaryDirectory() as folder, Run.open(Path(folder), plain(recipe)) as run:
        training = Training(recipe, run, quiet=True)
        training.warm_updates = 0
        training.progress.listener = hear
        training.progress.every = 10**9
        training.recipe = recipe_of(plain(recipe), ("evaluate.every=1000000",))
        training.log_point = lambda: None  # type: ignore[method-assign]  # a step is timed, not the evaluation after it
        times[0] = time.perf_counter()
        training.reinforce()
    seconds = [after - before for before, after in zip(times[1:], times[2:], strict=False)]
    tokens = sum(sampled[1:]) / len(sampled[1:])
    return {
        "seconds": seconds,
        "median": median(seconds),
        "tokens_per_step": tokens,
        "rollouts_per_second": 256 / median(seconds),
        "real_share": min(shares[1:]),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--model", type=Path, default=None, help="a checkpoint to begin with; random weights without")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    print(json.dumps(steps_of(arguments.model, arguments.steps, arguments.threads)))


if __name__ == "__main__":
    main()
