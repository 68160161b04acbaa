"""Does it pay to train what is used? Strategies as attempts of reinforcement learning, at equal FLOPs.

    .venv/bin/python recipes/thinking_rl.py recipes/exact_change --runs runs/exact-change-strategies

About half an hour on one core. The folder's strategies/arms.toml names the arms and how each changes its
recipe.toml. For each seed there is one warm start; every arm begins with it and reinforces until so many FLOPs are
spent, those of sampling and learning of all branches. Then all of them, the warm start too, make the same attempts at
test problems, from which follow the accuracy of one reply, of a majority and of an oracle at the recipe's budget, and
the accuracy at several budgets. Votes compare answers as the scorer reads them. Each cell is stored when it is done: an
interrupted study goes on.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study import over_seeds, reinforced

from poziomka.app.settings.recipe import Recipe, read_recipe
from poziomka.app.train import Training
from poziomka.core.rollouts.evaluation import Estimate, Evaluation, paired_gain
from poziomka.core.sampler import SamplingParams
from poziomka.core.settings import plain, read_toml
from poziomka.models.lora import save_learned
from poziomka.reports.style import AFTER, BEFORE, DOTS, INK, MUTED, RIGHT, WRONG, styled
from poziomka.runs import Run
from poziomka.thinking.budget import at_budgets

WARM, FIRST = "warm start", "plain"  # the arm that all others are compared with
PROBLEMS, ATTEMPTS, VOTES = 250, 8, 8
BUDGETS = (8, 16, 24, 40)
BUDGET, ANSWER = 24, 10  # thinking tokens of votes, and most tokens of an answer, as in the recipe
COLOURS = (AFTER, BEFORE, RIGHT, WRONG, INK)
Found = dict[str, Any]


def judged(training: Training) -> Found:
    """Returns, by problem, what the model as it stands reaches on test problems, at the usual budget and others."""
    training.progress.publish_weights(training.sampler)
    how = SamplingParams(temperature=training.recipe.sampling.temperature, max_tokens=max(BUDGETS) + ANSWER)
    found = at_budgets(training.sampler, training.task, how, BUDGETS, problems=PROBLEMS, attempts=ATTEMPTS)
    alone = [Evaluation([group]) for group in found[BUDGET].groups]
    return {
        "one reply": [each.accuracy.mean for each in alone],
        f"majority@{VOTES}": [each.majority_at(VOTES).mean for each in alone],
        f"pass@{VOTES}": [each.pass_at(VOTES).mean for each in alone],
        "budgets": {str(most): [fmean(rights) for rights in each.corrects] for most, each in found.items()},
        "thinking_tokens": found[BUDGET].thinking,
    }


def cell(name: str, recipe: Recipe, folder: Path) -> Found:
    """Trains the only stage of a recipe, and returns the model's figures; those of a finished cell are read."""
    known = folder / "cell.json"
    if known.exists():
        return dict(json.loads(known.read_text()))
    print(f"seed {recipe.seed}: {name}", flush=True)
    with Run.open(folder, plain(recipe)) as run:
        training = Training(recipe, run, quiet=True)
        training.run_stage("rl", prepare=False)
        found = judged(training)
        steps = [line for line in run.metrics() if line["stage"] == "rl"]
        found |= {
            "flops": training.progress.spent.get("compute/reinforce_flops", 0.0),
            "sampled_tokens": training.progress.spent.get("compute/sampled_tokens", 0.0),
            "steps": len(steps),
            "rewards": [line["reward/mean"] for line in steps if "reward/mean" in line],
            "seconds": sum(training.progress.seconds.values()),
        }
    known.write_text(json.dumps(found))
    return found


def warm_start(recipe: Recipe, folder: Path) -> Path:
    """Returns the folder of the warm start's weights, which are trained unless another study left them there."""
    weights = folder / "models" / "sft"
    if not weights.is_dir():
        print(f"seed {recipe.seed}: {WARM}", flush=True)
        with Run.open(folder, plain(replace(recipe, stage=(recipe.named("sft"),)))) as run:
            training = Training(replace(recipe, stage=(recipe.named("sft"),)), run, quiet=True)
            training.run_stage("sft", prepare=False)
            part = weights.with_name("sft.part")  # renamed when it is complete
            part.mkdir(parents=True, exist_ok=True)
            save_learned(part, training.model, training.tokenizer, "")
            part.rename(weights)
    return weights.absolute()


def arm(name: str, changes: Sequence[str], seed: int, root: Path, path: Path, **limits: float) -> Found:
    """Returns the figures of one arm with one seed, from the warm start of that seed.

    Args:
        name: name of the arm.
        changes: how it changes the recipe.
        seed: seed of the recipe.
        root: folder of all runs.
        path: the recipe.
        limits: its settings rl.steps and rl.flops.
    """
    folder = root / f"seed-{seed}"
    recipe = replace(read_recipe(path, tuple(changes)), seed=seed)
    recipe = replace(recipe, evaluate=replace(recipe.evaluate, every=10**6))
    start = warm_start(recipe, folder / "warm-start")
    return cell(name, reinforced(recipe, start, **limits), folder / f"arm-{name.replace(' ', '-').replace(',', '')}")


# ---------------------------------------------------------------------------------------------------------- the table
MEASURES = ("one reply", f"majority@{VOTES}", f"pass@{VOTES}", *(f"budget {most}" for most in BUDGETS))


def values(found: Found, name: str, measure: str) -> list[float]:
    """Returns what an arm of one seed reaches at each problem."""
    of = found["arms"][name]
    kind, _, most = measure.partition("budget ")
    return of[kind] if kind else of["budgets"][most]


def mean_of(found: Found, name: str, measure: str) -> Estimate:
    """Returns the mean over problems with a normal interval."""
    return paired_gain([[value] for value in values(found, name, measure)], [[0.0]] * PROBLEMS)


def gain_of(found: Found, name: str, measure: str) -> Estimate:
    """Returns the gain of an arm over the first one, paired by problem, with its interval."""
    own, other = ([[value] for value in values(found, arm, measure)] for arm in (name, FIRST))
    return paired_gain(own, other)


def answer(seeds: Sequence[Found], name: str) -> str:
    """Returns whether training with an arm beats the first arm at a majority, judged by the interval over seeds."""
    measure = f"majority@{VOTES}"
    over = over_seeds([gain_of(found, name, measure).mean for found in seeds])
    verdict = "yes" if over.low > 0 else "no, it is worse" if over.high < 0 else "not shown"
    return f"Does {name!r} beat {FIRST!r} at {measure}? {verdict}: {over} over {len(seeds)} seeds (t interval)"


def table(seeds: Sequence[Found], arms: Sequence[str]) -> str:
    """Returns the answers, and the table of each measure of each arm, with its gain over the first arm."""
    head = ["", *(f"seed {found['seed']}" for found in seeds), "mean over seeds [95 %, t]"]
    told = [answer(seeds, name) for name in arms if name != FIRST] if len(seeds) > 1 else []
    rows = [*(["\n\n".join(told), ""] if told else []), "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]

    def row(title: str, estimates: Sequence[Estimate]) -> None:
        over = over_seeds([each.mean for each in estimates]) if len(estimates) > 1 else ""
        rows.append(f"| {title} | " + " | ".join(map(str, estimates)) + f" | {over} |")

    for measure in MEASURES:
        for name in (WARM, *arms):
            row(f"{measure}: {name}", [mean_of(found, name, measure) for found in seeds])
        for name in (arm for arm in arms if arm != FIRST):
            row(f"**{measure}: {name} over {FIRST}**", [gain_of(found, name, measure) for found in seeds])
    for name in arms:
        of = [found["arms"][name] for found in seeds]
        spent = [f"{each['flops']:.2e} in {each['steps']} steps, {each['seconds']:.0f} s" for each in of]
        rows.append(f"| {name}: FLOPs | " + " | ".join(spent) + " | |")
        thoughts = [f"{each['thinking_tokens']:.1f}" for each in of]
        rows.append(f"| {name}: thinking tokens | " + " | ".join(thoughts) + " | |")
    return "\n".join(rows) + "\n"


# --------------------------------------------------------------------------------------------------------- the figure
def draw(seeds: Sequence[Found], arms: Sequence[str], folder: Path) -> None:
    """Writes strategies.png and strategies.svg: gains over the first arm, and accuracy against the budget."""
    with styled():
        figure = Figure((11.0, 4.4), layout="constrained")
        gains, budgets = figure.subplots(1, 2)
        _gains(gains, seeds, [arm for arm in arms if arm != FIRST])
        _budgets(budgets, seeds, (*arms, WARM))
        folder.mkdir(exist_ok=True)
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            figure.savefig(folder / f"strategies.{kind}", dpi=DOTS, metadata=metadata)


def _gains(axes: Axes, seeds: Sequence[Found], arms: Sequence[str]) -> None:
    measures = MEASURES[:3]
    for number, (name, colour) in enumerate(zip(arms, COLOURS[1:], strict=False)):
        for place, measure in enumerate(measures):
            gains = [gain_of(found, name, measure).mean for found in seeds]
            at = place + 0.15 * (number - (len(arms) - 1) / 2)
            axes.plot([at] * len(gains), gains, ".", color=colour, alpha=0.5)
            over = over_seeds(gains) if len(gains) > 1 else Estimate(gains[0], gains[0], gains[0])
            label = name if place == 0 else None
            axes.plot([at, at], [over.low, over.high], color=colour, linewidth=1.2, label=label)
            axes.plot([at], [over.mean], "o", color=colour)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set(title=f"Gain over '{FIRST}' at equal FLOPs", xticks=range(len(measures)), xticklabels=measures)
    axes.legend(loc="lower left", labelcolor="linecolor")


def _budgets(axes: Axes, seeds: Sequence[Found], arms: Sequence[str]) -> None:
    for name, colour in zip(arms, (*COLOURS[: len(arms) - 1], MUTED), strict=False):
        means = [fmean(mean_of(found, name, f"budget {most}").mean for found in seeds) for most in BUDGETS]
        axes.plot(BUDGETS, means, color=colour, marker="o", label=name)
    axes.set(title="Accuracy of one reply", xlabel="thinking budget (tokens)", xticks=BUDGETS, ylim=(0, 1))
    axes.legend(loc="upper left", labelcolor="linecolor")


def main() -> None:
    """Runs the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, help="with recipe.toml and strategies/arms.toml; results go to its strategies/"
    )
    parser.add_argument("--runs", type=Path, required=True, help="where the runs go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--flops", type=float, default=6e11, help="of each arm: 6e11 are about 24 steps of the recipe")
    parser.add_argument("--arms", nargs="+", help="only these, the first of strategies/arms.toml among them (all)")
    given = parser.parse_args()
    path, arms = given.folder / "recipe.toml", read_toml(given.folder / "strategies" / "arms.toml")
    arms = {name: changes for name, changes in arms.items() if given.arms is None or name in given.arms}
    seeds: list[Found] = [{"seed": seed, "arms": {}} for seed in given.seeds]
    for name, changes in {WARM: (), **arms}.items():  # arm by arm: an interrupted study has all seeds of the first ones
        limits = {"steps": 0} if name == WARM else {"steps": 10**6, "flops": given.flops}
        for found in seeds:
            found["arms"][name] = arm(name, changes, found["seed"], given.runs, path, **limits)
    kept = [found | {"arms": {name: _brief(found, name) for name in found["arms"]}} for found in seeds]
    out = given.folder / "strategies"
    out.mkdir(exist_ok=True)
    results = {"schema_version": 1, "problems": PROBLEMS, "attempts": ATTEMPTS, "flops": given.flops, "seeds": kept}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "table.md").write_text(table(seeds, list(arms)))
    draw(seeds, list(arms), out)
    print(table(seeds, list(arms)))


def _brief(found: Found, name: str) -> Found:
    """Returns an arm's figures with means over problems, and gains over the first arm, in place of single problems."""
    of = found["arms"][name]
    gains = {} if name == FIRST else {measure: asdict(gain_of(found, name, measure)) for measure in MEASURES}
    means = {measure: asdict(mean_of(found, name, measure)) for measure in MEASURES}
    rest = ("flops", "sampled_tokens", "steps", "rewards", "seconds", "thinking_tokens")
    return {"means": means, "gains": gains} | {key: of[key] for key in rest}


if __name__ == "__main__":
    main()
