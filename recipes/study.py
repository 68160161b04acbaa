"""Three seeds of a recipe, with controls at equal FLOPs: writes results.json, table.md and the figure.

    .venv/bin/python recipes/study.py recipes/recurrence --runs runs/recurrence-study

About half an hour on two cores for the recurrence. Each seed is a run of the folder's recipe.toml; its controls begin
with the same warm start and spend the FLOPs that its reinforcement spent:
    random reward     the same loop, the reward a coin toss
    fine-tuning       goes on with the mixture of the warm start's end
    expert iteration  fine-tuning on the model's own right attempts
What was done before is not done again: an interrupted study goes on.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import Any

from behaviour import behaviour, course

from poziomka.app.measure import judged_budget
from poziomka.app.settings.recipe import Recipe, read_recipe
from poziomka.app.train import Training, train
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.rollouts.evaluation import Estimate, Evaluation, evaluate, paired_gain
from poziomka.core.settings import plain
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Transcript
from poziomka.learning.loops.sft import finetune
from poziomka.learning.samples.demonstrations import Lessons
from poziomka.learning.samples.weighting import imitation_examples
from poziomka.reports.reading import AFTER, BEFORE, FORCED
from poziomka.runs import Run

T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's t, two-sided 95 %, by number of seeds


def coin_toss(task: Task, seed: int) -> Task:
    """Returns the task with a reward that knows nothing of the answer."""
    random = Random(seed)

    def scorer(_problem: Problem, _transcript: Transcript) -> Score:
        if random.random() < 0.5:
            return Score(1.0, Verdict.CORRECT, None, "a coin toss")
        return Score(0.0, Verdict.WRONG, None, "a coin toss")

    return replace(task, scorer=scorer)


def judged(training: Training, task: Task, *, made_to_think: bool = False) -> Evaluation:
    """Returns the evaluation of a model as it stands on test problems, at the budget at which gains are measured."""
    wait_for(training.sampler.load_weights("judged", training.progress.learner.weights()))
    recipe = training.recipe
    budget = judged_budget(recipe.evaluate, recipe.sampling.max_thinking_tokens)
    how = training.sampling(least=min(budget, int(made_to_think)), most=budget)
    settings = recipe.evaluate
    return evaluate(training.sampler, task, how, problems=settings.problems, attempts=settings.attempts)


def random_reward(training: Training) -> None:
    """Reinforces with coin tosses."""
    training.task = coin_toss(training.task, training.recipe.seed)
    training.run_stage("rl", prepare=False)


def expert_iteration(training: Training) -> None:
    """Fine-tunes on own right attempts."""
    training.run_stage("rl", prepare=False)


def more_finetuning(training: Training) -> None:
    """Goes on with the mixture of the warm start's end, at the rate it ended with."""
    recipe = training.recipe
    sft, flops = recipe.named("sft"), recipe.named("rl").flops or 0.0
    lessons = Lessons(training.taught, training.chat, sft.demonstrations, recipe.seed)
    end = sft.steps
    learner = training.progress.learner
    one = learner.flops(learner.pack(imitation_examples(lessons.at(end, end), (Author.TEACHER,))))
    finetune(training.progress, lambda update: lessons.at(end + update, end), max(1, round(flops / one)))


GAINS = {  # as rows of the table, by their names in results/gains.json
    "equal_thinking": "**gain at equal thinking** (trained, made to think, over warm start, made to think)",
    "over_made_to_think": "trained over warm start, made to think",
    "free": "trained over warm start, both free to answer at once",
}
CONTROLS: dict[str, tuple[Callable[[Training], None], dict[str, object]]] = {
    "random reward": (random_reward, {}),
    "fine-tuning": (more_finetuning, {}),
    "expert iteration": (expert_iteration, {"advantage": "expert"}),
}


def control(name: str, recipe: Recipe, start: Path, folder: Path, flops: float | None) -> dict[str, object]:
    """Runs a control from a warm start for so many FLOPs, or for the recipe's steps; returns its figures."""
    known = folder / "control.json"
    found: dict[str, object] = json.loads(known.read_text()) if known.exists() else {}
    if "course" in found:
        return found
    shutil.rmtree(folder, ignore_errors=True)
    act, changes = CONTROLS[name]
    changes = {"patience": None, **changes}
    if flops is not None:
        changes |= {"steps": 10**6, "flops": flops}
    if "advantage" in changes:
        changes["surrogate"] = replace(recipe.named("rl").surrogate, kind="reinforce")
    evaluating = replace(recipe.evaluate, every=10**6)
    sft = recipe.named("sft")
    recipe = reinforced(replace(recipe, evaluate=evaluating, save_every=10**6), start, **changes)
    if act is more_finetuning:
        recipe = replace(recipe, stage=(sft, *recipe.stage))
    with Run.open(folder, plain(recipe)) as run:
        training = Training(recipe, run, quiet=True)
        task = training.task  # with its own scorer, whatever the control puts in its place
        before, forced_before = (judged(training, task, made_to_think=made) for made in (False, True))
        act(training)
        after, forced_after = (judged(training, task, made_to_think=made) for made in (False, True))
        spent = training.progress.spent
        steps = course(run)
    found = {
        "accuracy": asdict(after.accuracy),
        "gain": asdict(paired_gain(after.corrects, before.corrects)),
        "made to think": asdict(forced_after.accuracy),
        "gain_at_equal_thinking": asdict(paired_gain(forced_after.corrects, forced_before.corrects)),
        "thinking_tokens": after.thinking,
        "behaviour": {"before": behaviour(before), "after": behaviour(after)},
        "made to think, behaviour": {"before": behaviour(forced_before), "after": behaviour(forced_after)},
        "course": steps,
        "flops": spent.get("compute/reinforce_flops", 0.0) or spent.get("compute/finetune_flops", 0.0),
    }
    known.write_text(json.dumps(found, indent=2))
    return found


def reinforced(recipe: Recipe, start: Path, **changes: object) -> Recipe:
    """Returns a recipe whose only stage is reinforcement with changed settings, from the weights of `start`."""
    rl = replace(recipe.named("rl"), **changes)
    return replace(recipe, model=replace(recipe.model, start=str(start)), stage=(rl,))


def one_seed(seed: int, root: Path, recipe: Recipe, controls: Sequence[str]) -> dict[str, object]:
    """Returns the figures of one seed: the run, and its controls."""
    folder = root / f"seed-{seed}"
    recipe = replace(recipe, seed=seed)
    train(recipe, folder)
    run = Run.read(folder)
    curves, cost = run.results("frontier")["curves"], run.results("cost")
    flops = cost["flops"]["sampling"] + cost["flops"]["learning"]
    before, after = curves["warm start"]["budgets"], curves["trained"]["budgets"]
    gains = run.results("gains")
    start = folder / "models" / "sft"
    found = {
        "seed": seed,
        "gate": run.results("gate"),
        "warm start": before[-1]["accuracy"],
        "warm start thinking_tokens": before[-1]["thinking_tokens"],
        "trained": after[-1]["accuracy"],
        "trained thinking_tokens": after[-1]["thinking_tokens"],
        "gains": gains,
        "references": reached(run.results("references") or {}),
        **{name: at_budget(curves, name, gains["budget"]) for name in (f"{BEFORE}{FORCED}", f"{AFTER}{FORCED}")},
        "always thinks": {name: curves[name]["always_thinks"] for name in (BEFORE, AFTER)},
        "at once": {name: curves[name]["at_once"] for name in (BEFORE, AFTER)},
        "smallest budget": after[0]["accuracy"],
        "majority": curves["trained"]["majority"],
        "budgets": {str(point["budget"]): point["accuracy"]["mean"] for point in after},
        "flops": flops,
        "seconds": sum(cost["seconds"].values()),
    }
    for name in controls:
        print(f"seed {seed}: {name}", flush=True)
        found[name] = control(name, recipe, start, folder / name.replace(" ", "-"), flops)
    return found


def reached(references: dict[str, Any]) -> dict[str, float]:
    """Returns what the task's known policies reach at the compared budget, by name."""
    return {
        name: next(point["accuracy"] for point in points if point["budget"] == references["budget"])
        for name, points in references.get("curves", {}).items()
    }


def at_budget(curves: dict[str, dict], name: str, budget: int) -> dict[str, float]:
    """Returns the accuracy of a curve at a budget."""
    return next(point["accuracy"] for point in curves[name]["budgets"] if point["budget"] == budget)


def headline(seeds: list[dict[str, object]]) -> dict[str, object]:
    """Returns what the study is about: what reinforcement adds to the thought itself, and what a random reward does.

    Both compare models that are made to think, before and after, at the same budget and problems, paired by problem.
    `random_reward_gain_high` is the highest upper bound of the control's gain over the seeds.
    """
    controls = [found["random reward"]["gain_at_equal_thinking"] for found in seeds if "random reward" in found]
    return {
        "gain_at_equal_thinking": [found["gains"]["equal_thinking"] for found in seeds],
        "random_reward_gain_high": max((control["high"] for control in controls), default=None),
    }


def over_seeds(values: list[float]) -> Estimate:
    """Returns the mean over seeds with a t interval, cut where no accuracy or gain can be."""
    mean = fmean(values)
    half = T_975[len(values)] * stdev(values) / len(values) ** 0.5
    return Estimate(mean, max(-1.0, mean - half), min(1.0, mean + half))


def table(seeds: list[dict[str, object]], recipe: Recipe, controls: Sequence[str]) -> str:
    """Returns the table that the recipe's README shows."""
    least, most = min(recipe.evaluate.budgets), max(recipe.evaluate.budgets)
    head = ["", *(f"seed {found['seed']}" for found in seeds), "mean over seeds [95 %, t]"]

    def row(name: str, cell: Callable[[dict], str], value: Callable[[dict], float] | None = None) -> str:
        mean = str(over_seeds([value(found) for found in seeds])) if value and len(seeds) > 1 else ""
        return f"| {name} | " + " | ".join(cell(found) for found in seeds) + f" | {mean} |"

    def of(estimate: dict) -> str:
        return str(Estimate(estimate["mean"], estimate["low"], estimate["high"]))

    rows = [
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
        row(f"warm start, budget {most}", lambda f: of(f["warm start"]), lambda f: f["warm start"]["mean"]),
        row(f"trained, budget {most}", lambda f: of(f["trained"]), lambda f: f["trained"]["mean"]),
    ]
    budget = seeds[0]["gains"]["budget"]
    rows += [
        row(f"{name}, budget {budget}", lambda f, n=name: of(f[n]), lambda f, n=name: f[n]["mean"])
        for name in (f"{BEFORE}{FORCED}", f"{AFTER}{FORCED}")
    ]
    rows += [
        row(f"{name} (exact), budget {budget}", lambda f, n=name: f"{f['references'][n]:.2f}")
        for name in seeds[0]["references"]
    ]
    if all(all(found["always thinks"].values()) for found in seeds):
        rows.append(row("both models always think, so that making them think changes nothing", lambda _: ""))
    rows += [
        row(title, lambda f, n=name: of(f["gains"][n]), lambda f, n=name: f["gains"][n]["mean"])
        for name, title in GAINS.items()
    ]
    rows += [
        row(
            f"{name}, made to answer at once",
            lambda f, n=name: of(f["at once"][n]),
            lambda f, n=name: f["at once"][n]["mean"],
        )
        for name in (BEFORE, AFTER)
    ]
    rows.append(
        row(
            f"trained, cut off at budget {least}, where a thought may be unable to hold the answer",
            lambda f: of(f["smallest budget"]),
            lambda f: f["smallest budget"]["mean"],
        )
    )
    rows.append(
        row(
            "thinking tokens, before → after",
            lambda f: f"{f['warm start thinking_tokens']:.1f} → {f['trained thinking_tokens']:.1f}",
        )
    )
    rows += [row(*each) for each in _votes(seeds)]
    for name in controls:
        rows.append(row(name, lambda f, n=name: of(f[n]["accuracy"]), lambda f, n=name: f[n]["accuracy"]["mean"]))
        rows.append(
            row(f"{name}, paired gain", lambda f, n=name: of(f[n]["gain"]), lambda f, n=name: f[n]["gain"]["mean"])
        )
        rows.append(
            row(
                f"{name}, paired gain at equal thinking",
                lambda f, n=name: of(f[n]["gain_at_equal_thinking"]),
                lambda f, n=name: f[n]["gain_at_equal_thinking"]["mean"],
            )
        )
        rows.append(row(f"{name}, FLOPs / reinforcement's", lambda f, n=name: f"{f[n]['flops'] / f['flops']:.2f}"))
    rows.append(row("reinforcement FLOPs", lambda f: f"{f['flops']:.2e}"))
    rows.append(row("seconds, all of the run", lambda f: f"{f['seconds']:.0f}"))
    return "\n".join(rows) + "\n"


def _votes(seeds: list[dict[str, object]]) -> list[tuple[str, Callable, Callable]]:
    """Returns rows for one attempt and for most votes of the trained model, at `evaluate.vote_budget`."""
    found = []
    for place in (0, -1):
        votes = seeds[0]["majority"][place]["attempts"]
        name = f"trained, {'one attempt' if votes == 1 else f'majority of {votes}'} of those that vote"

        def point(seed: dict, place: int = place) -> dict:
            return seed["majority"][place]["accuracy"]

        found.append((name, lambda f, p=point: str(Estimate(**p(f))), lambda f, p=point: p(f)["mean"]))
    return found


def main() -> None:
    """Runs the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with recipe.toml; results.json, table.md and figures/ go there")
    parser.add_argument("--runs", type=Path, required=True, help="where the runs go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, help="of each run, instead of the recipe's")
    parser.add_argument("--controls", nargs="*", choices=list(CONTROLS), default=list(CONTROLS))
    arguments = parser.parse_args()
    recipe, out = read_recipe(arguments.folder / "recipe.toml"), arguments.folder
    recipe = replace(recipe, threads=arguments.threads or recipe.threads)
    seeds = [one_seed(seed, arguments.runs, recipe, arguments.controls) for seed in arguments.seeds]
    results = {"schema_version": 1, "headline": headline(seeds), "seeds": seeds}
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    (out / "table.md").write_text(table(seeds, recipe, arguments.controls))
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    for name in ("report.png", "report.svg"):
        shutil.copy(arguments.runs / f"seed-{arguments.seeds[0]}" / "figures" / name, figures / name)
    print(table(seeds, recipe, arguments.controls))


if __name__ == "__main__":
    main()
