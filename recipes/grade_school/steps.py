"""What the steps of reinforcement of a run really did: right attempts, groups that teach, gradient, changed weights.

    .venv/bin/python recipes/grade_school/steps.py runs/grade_school

Prints a table of the steps and writes the same, with the settings of the run, to results.json beside this file, or to
the file that --results names. Weights are compared as they are stored, in the run's precision: those of
models/sft, where reinforcement began, with those of the newest checkpoint.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from poziomka.runs import Run

NAMES = {
    "right": "reward/pass_rate",
    "zero_variance": "groups/zero_variance",
    "gradient_norm": "optim/grad_norm",
    "tokens_sampled": "tokens/sampled",
    "thinking_tokens": "length/thinking",
}


def steps_of(run: Run) -> list[dict[str, Any]]:
    """Returns a row a step of reinforcement; no gradient where no group could be learned from."""
    lines = [line for line in run.metrics() if line["stage"] == "rl"]
    return [
        {"step": number}
        | {name: line.get(metric) for name, metric in NAMES.items()}
        | {"seconds": sum(value for name, value in line.items() if name.startswith("time/"))}
        for number, line in enumerate(lines, 1)
    ]


def by_level(run: Run) -> dict[int, dict[str, int]]:
    """Returns groups, those with right and wrong attempts, attempts, and right ones, by level of the problem."""
    groups = [
        group for path in run.journals() if path.stem.startswith("step-") for group in run.journal(path.stem).groups
    ]
    found: dict[int, dict[str, int]] = {}
    for group in sorted(groups, key=lambda group: group[0].problem.level):
        row = found.setdefault(group[0].problem.level, dict.fromkeys(("groups", "mixed", "attempts", "right"), 0))
        right = sum(rollout.score.correct for rollout in group)
        row["groups"] += 1
        row["mixed"] += 0 < right < len(group)
        row["attempts"] += len(group)
        row["right"] += right
    return found


def changed(before: Path, after: Path) -> dict[str, float]:
    """Returns how many tensors and which share of all weights differ between two folders with model.safetensors."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    counts = {name: int((old[name] != new[name]).sum()) for name in old}
    weights = sum(tensor.numel() for tensor in old.values())
    return {
        "tensors": len(old),
        "tensors_changed": sum(count > 0 for count in counts.values()),
        "weights": weights,
        "share_changed": sum(counts.values()) / weights,
        "largest_change": max(float((old[name].float() - new[name].float()).abs().max()) for name in old),
    }


def main() -> None:
    """Writes results.json and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("results.json"), help="the file")
    arguments = parser.parse_args()
    folder = arguments.run
    run = Run.read(folder)
    saved = run.latest()
    if saved is None:
        parser.error(f"the run {folder} has no checkpoint yet: train it first")
    steps, weights = steps_of(run), changed(folder / "models" / "sft", saved.folder)
    warm = [line["loss/next_token"] for line in run.metrics() if line["stage"] == "sft"]
    found = {
        "schema_version": 1,
        "recipe": run.recipe,
        "provenance": run.provenance(),
        "warm_start_loss": [warm[0], warm[-1]] if warm else None,
        "steps": steps,
        "levels": by_level(run),
        "weights": weights,
    }
    arguments.results.write_text(json.dumps(found, indent=1) + "\n")
    rows = [("step", "right", "groups without variance", "gradient norm", "tokens sampled", "seconds"), ("---",) * 6]
    for row in steps:
        norm = "–" if row["gradient_norm"] is None else f"{row['gradient_norm']:.2f}"
        shares = f"{row['right']:.3f}", f"{row['zero_variance']:.2f}", norm
        rows.append((str(row["step"]), *shares, f"{row['tokens_sampled']:.0f}", f"{row['seconds']:.0f}"))
    for cells in rows:
        print(f"| {' | '.join(cells)} |")
    for level, row in found["levels"].items():
        print(f"level {level}: " + ", ".join(f"{count} {name}" for name, count in row.items()))
    print(
        f"{weights['tensors_changed']} of {weights['tensors']} tensors and {weights['share_changed']:.1%} of "
        f"{weights['weights']:,} weights changed, by at most {weights['largest_change']:.1e}"
    )


if __name__ == "__main__":
    main()
