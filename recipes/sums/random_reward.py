"""What a random reward does to this recipe's model, and through what: writes random_reward.json and random_reward.md.

    .venv/bin/python recipes/sums/random_reward.py --runs runs/sums-random-reward

About twenty minutes a seed on two cores without bfloat16. Each seed is a warm start of recipe.toml and the recipe's
steps of reinforcement with a coin toss for a reward. Before and after, the model attempts the same held-out problems,
once free to answer at once and once made to think. Its gain is split into two parts that add up to it:

    from choosing  the share of attempts that think moves, at the accuracies (means of before and after) of those that
                   think and of those that answer at once
    from quality   these accuracies move, at the mean share

What was done before is not done again: an interrupted study goes on. `--seeds` names the cells of this call; the files
are written of all seeds that are done.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the studies share
from study import control, over_seeds

from poziomka.app.settings.recipe import Recipe, read_recipe
from poziomka.app.train import Training
from poziomka.core.rollouts.evaluation import Estimate
from poziomka.core.settings import plain
from poziomka.runs import Run

HERE = Path(__file__).resolve().parent
Found = dict[str, Any]


def cell(recipe: Recipe, seed: int, root: Path) -> Found:
    """Returns the figures of one seed."""
    recipe, folder = replace(recipe, seed=seed), root / f"seed-{seed}"
    start = folder / "warm" / "models" / "sft"
    if not (folder / "warm.done").exists():
        few = replace(recipe.evaluate, problems=8, votes=(1,), vote_problems=8, curve_problems=8)
        with Run.open(folder / "warm", plain(replace(recipe, evaluate=few))) as run:
            Training(replace(recipe, evaluate=few), run, quiet=True).run_stage("sft")
        (folder / "warm.done").touch()
    return {"seed": seed} | control("random reward", recipe, start, folder / "random-reward", None)


def split(before: Found, after: Found) -> dict[str, float]:
    """Returns the two parts of a gain, from `behaviour` before and after; an accuracy of no attempts counts as 0."""
    thinks = [each["thinks"] for each in (before, after)]
    thought = [each["accuracy"]["with_thought"] or 0.0 for each in (before, after)]
    at_once = [each["accuracy"]["at_once"] or 0.0 for each in (before, after)]
    share = fmean(thinks)
    return {
        "from_choosing": (thinks[1] - thinks[0]) * (fmean(thought) - fmean(at_once)),
        "from_quality": share * (thought[1] - thought[0]) + (1 - share) * (at_once[1] - at_once[0]),
    }


def table(seeds: list[Found]) -> str:
    """Returns the table that the recipe's README shows."""

    def row(name: str, cells: list[str], values: list[float] | None = None) -> str:
        mean = str(over_seeds(values)) if values and len(values) > 1 else ""
        return f"| {name} | {' | '.join(cells)} | {mean} |"

    def estimates(name: str, key: str) -> str:
        found = [each[key] for each in seeds]
        return row(name, [str(Estimate(**each)) for each in found], [each["mean"] for each in found])

    def moves(name: str, *path: str, digits: int = 2) -> str:
        cells = []
        for each in seeds:
            ends = []
            for when in ("before", "after"):
                value = each["behaviour"][when]
                for step in path:
                    value = value[step]
                ends.append("–" if value is None else f"{value:.{digits}f}")
            cells.append(" → ".join(ends))
        return row(name, cells)

    def course(name: str, metric: str) -> str:
        lines = [[value for value in each["course"][metric] if value is not None] for each in seeds]
        return row(name, [f"{line[0]:.2f} → {line[-1]:.2f}" for line in lines])

    names = [f"seed {each['seed']}" for each in seeds]
    levels = list(seeds[0]["behaviour"]["before"]["levels"])
    return "\n".join(
        [
            f"| | {' | '.join(names)} | mean over seeds [95 %, t] |",
            "|---" * (len(seeds) + 2) + "|",
            estimates("accuracy after", "accuracy"),
            estimates("gain, free to answer at once (paired)", "gain"),
            *(
                row(name, [f"{each['parts'][key]:+.2f}" for each in seeds], [each["parts"][key] for each in seeds])
                for name, key in (("… from choosing", "from_choosing"), ("… from quality", "from_quality"))
            ),
            estimates("gain, made to think (paired)", "gain_at_equal_thinking"),
            moves("share of attempts that think", "thinks"),
            moves("accuracy of those that think", "accuracy", "with_thought"),
            moves("accuracy of those that answer at once", "accuracy", "at_once"),
            moves("thinking tokens of those that think", "thinking_tokens_of_thoughts", digits=1),
            moves("replies without an answer", "unparsed"),
            moves("replies cut off", "truncated"),
            course("entropy, nats a token, first and last step", "policy/entropy"),
            course("tokens of a reply, first and last step", "length/mean"),
            *(moves(f"accuracy with {level} numbers", "levels", level) for level in levels),
            "",
        ]
    )


def main() -> None:
    """Runs the cells, then writes what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="where the runs go")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, help="of each run, instead of the recipe's")
    options = parser.parse_args()
    recipe = read_recipe(HERE / "recipe.toml")
    recipe = replace(recipe, threads=options.threads or recipe.threads)
    for seed in options.seeds:
        print(f"seed {seed}", flush=True)
        cell(recipe, seed, options.runs)
    done = sorted(options.runs.glob("seed-*/random-reward/control.json"))
    seeds = [{"seed": int(path.parts[-3].removeprefix("seed-"))} | json.loads(path.read_text()) for path in done]
    seeds = [each | {"parts": split(each["behaviour"]["before"], each["behaviour"]["after"])} for each in seeds]
    headline = {"gain": asdict(over_seeds([each["gain"]["mean"] for each in seeds]))} if len(seeds) > 1 else {}
    results = {"schema_version": 1, "headline": headline, "seeds": seeds}
    (HERE / "random_reward.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "random_reward.md").write_text(table(seeds))
    print(table(seeds))


if __name__ == "__main__":
    main()
