"""When does search pay, and does it pay in training? Writes results_search.json, table_search.md and the figure.

    .venv/bin/python recipes/exact_change/search.py --runs runs/search-study

All begin with the recipe's warm start of seed 0, which `make demo` trains and this study trains if it is missing:
    searches   beam search, value-guided decoding and tree search, each with four judges, on test problems, beside votes
               of equal cost
    arms       reinforcement; expert iteration from single replies, and from searches with the exact and with a learned
               value: all spend the same FLOPs of sampling, judging and learning, with three seeds
What was done before is not done again: an interrupted study goes on with its next cell.
"""

import argparse
import json
import math
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the studies share
from study import judged, over_seeds, reinforced

from poziomka.app.public.judging import load_judge, train_judge
from poziomka.app.public.model import Model, load
from poziomka.app.settings.recipe import Recipe, read_recipe
from poziomka.app.train import Training
from poziomka.core.problem import Problem
from poziomka.core.rollout import Group
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.rollouts.evaluation import Estimate, Evaluation, paired_gain, proportion
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.rollouts.verdict_form import VerdictForm
from poziomka.core.sampler import SamplingParams
from poziomka.core.settings import plain
from poziomka.core.strategy import Strategy
from poziomka.core.transcript import Transcript
from poziomka.learning.loops.judge import JudgeSettings
from poziomka.learning.loops.rl import Policy, reinforce
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.models.lora import save_learned
from poziomka.reports.style import AFTER, BEFORE, DOTS, MUTED, RIGHT, STYLE
from poziomka.runs import Run
from poziomka.tasks.toy.exact_change import exact_change, exact_value
from poziomka.thinking import FunctionJudge, Judge, Logprobs
from poziomka.thinking.search import MCTS, Beam, Search, Steps, ValueGuided

FOLDER = Path(__file__).resolve().parent
TOKENS, ANSWER = 24, 10  # most thinking tokens, as in the recipe, and most tokens of the answer
PROBLEMS, VOTES = 40, 16  # test problems of a search, and single replies to each for the votes
FLOPS, PROMPTS = 1.5e11, 8  # of an arm; problems a step, fewer than in the recipe, so that so few FLOPs are many steps
MEASURED = {"problems": 100, "attempts": 2}  # an arm, on test problems
SHOWN = ("1", "2", "4", "8", "16")  # numbers of votes in table and figure
FORM = VerdictForm("value", " none", tuple(map(str, range(10))))  # in words of the task's vocabulary
JUDGE = JudgeSettings(
    problems=30,
    attempts=2,
    held_out=15,
    max_tokens=TOKENS + ANSWER,
    max_thinking_tokens=TOKENS,
    delimiter="-",
    continuations=4,
    steps=80,
    labels_per_step=48,
    optimizer=OptimizerSettings(learning_rate=1e-3, warmup_steps=5, decay_ratio=0.5),
)
HOW = SamplingParams(max_tokens=TOKENS + ANSWER, min_thinking_tokens=1, max_thinking_tokens=TOKENS)
STEPS = Steps(stops=("-",), depth=14)  # a step ends with a coin, the choice to be valued
NONE, LEARNED, OWN, BEST = "none", "learned", "exact, of the random search", "exact, of the best search"
SEARCHES: Mapping[str, Callable[[Judge], Search]] = {
    "value-guided, 4": lambda judge: ValueGuided(judge=judge, width=4, beta=20.0, steps=STEPS),
    "beam, 4 by 2": lambda judge: Beam(judge=judge, candidates=4, width=2, answer="best", steps=STEPS),
    "tree search, 12": lambda judge: MCTS(judge=judge, simulations=12, width=4, answer="best", steps=STEPS),
}
START, FIRST, PLAIN = "warm start", "reinforcement", "expert iteration"
BY_SEARCH = {f"{PLAIN} by search, exact value": OWN, f"{PLAIN} by search, learned value": LEARNED}
ARMS = (FIRST, PLAIN, *BY_SEARCH)
COLOURS = {NONE: BEFORE, LEARNED: AFTER, OWN: RIGHT, BEST: MUTED}
Found = dict[str, Any]


# ---------------------------------------------------------------------------------------------------------- the cells
def cell(path: Path, name: str, work: Callable[[], Found]) -> Found:
    """Returns the figures of a cell from its file, or from `work`, which is then done and written down."""
    known = path / "cells" / f"{name.replace(' ', '-')}.json"
    if known.exists():
        return dict(json.loads(known.read_text()))
    began = time.process_time()
    found = work() | {"seconds": time.process_time() - began}
    known.parent.mkdir(parents=True, exist_ok=True)
    known.write_text(json.dumps(found))
    print(f"{path.name}: {name}, {found['seconds']:.0f} s", flush=True)
    return found


def warm_start(path: Path) -> Path:
    """Returns the folder of the recipe's warm start, trained if it is not there."""
    folder = path / "warm-start"
    model = folder / "models" / "sft"
    if not (model / "config.json").exists():
        recipe = read_recipe(FOLDER / "recipe.toml")
        recipe = replace(recipe, stage=(recipe.named("sft"),))
        with Run.open(folder, plain(recipe)) as run:
            training = Training(recipe, run, quiet=True)
            training.run_stage("sft")
        model.mkdir(parents=True, exist_ok=True)
        save_learned(model, training.model, training.tokenizer)
    return model


def judge_of(kind: str, policy: Model, path: Path) -> Judge:
    """Returns a judge: the policy's own probabilities, a value model of its replies, or an exact value."""
    if kind == NONE:
        return Logprobs()
    if kind == LEARNED:
        folder = path / "judge"
        if not (folder / "judge.json").exists():
            train_judge("exact_change", policy, folder, form=FORM, settings=JUDGE)
        return load_judge(folder)
    search = {OWN: "random search", BEST: "best possible"}[kind]

    def value(problem: Problem | None, transcript: Transcript) -> float:
        assert problem is not None  # the study attempts problems only
        return exact_value(problem, transcript, TOKENS, search)

    return FunctionJudge(value)


def attempted(policy: Model, strategy: Strategy, attempts: int) -> list[Group]:
    """Returns attempts of a strategy at the test problems."""
    task = exact_change()
    with Scoring(task) as scoring:
        collector = Collector(policy.sampler(), scoring, strategy)
        return collector.collect(task.first("test", PROBLEMS), HOW, attempts, "search/test")


def searched(policy: Model, search: Search) -> Found:
    """Returns rights and wrongs by problem, and the mean cost of an attempt, of a search."""
    groups = attempted(policy, search, 1)
    costs = [rollout.cost for group in groups for rollout in group]
    return {
        "corrects": Evaluation(groups).corrects,
        "sampled": fmean(cost.sampled for cost in costs),
        "judged": fmean(cost.judged for cost in costs),
    }


def voted(policy: Model) -> Found:
    """Returns the outcomes by problem of ballots of 1, 2, 3, … single replies, and the mean cost of a reply."""
    groups = attempted(policy, SINGLE_REPLY, VOTES)
    single = fmean(rollout.cost.sampled for group in groups for rollout in group)
    return {
        "sampled": single,
        "votes": {str(size): [_elected(group, size) for group in groups] for size in range(1, VOTES + 1)},
    }


def _elected(group: Group, size: int) -> list[float]:
    """Returns 1.0 or 0.0 for each ballot of `size` replies; among equal answers, the first sampled wins."""
    outcomes = []
    for start in range(0, len(group) - size + 1, size):
        scores = [rollout.score for rollout in group[start : start + size]]
        counts = Counter(score.answer for score in scores if score.answer is not None)
        winner = max(counts, key=counts.__getitem__, default=None)
        outcomes.append(float(any(score.correct for score in scores if score.answer == winner)))
    return outcomes


def arm(name: str, recipe: Recipe, folder: Path, strategy: Strategy) -> Found:
    """Trains one arm, or measures the warm start; returns its figures."""
    shutil.rmtree(folder, ignore_errors=True)
    with Run.open(folder, plain(recipe)) as run:
        training = Training(recipe, run, quiet=True)
        if name != START:
            rl = recipe.named("rl")
            reinforce(training.progress, Policy(training.sampler, strategy), training.task, training.curriculum, rl)
        found = judged(training, training.task, made_to_think=True)
        steps, spent = run.metrics(), training.progress.spent
    return {
        "corrects": found.corrects,
        "thinking": found.thinking,
        "steps": len(steps),
        "flops": {part: spent.get(f"compute/{part}_flops", 0.0) for part in ("reinforce", "sampling", "training")},
        "course": [[line["compute/reinforce_flops"], line["reward/mean"]] for line in steps],
    }


def arm_of(name: str, seed: int, start: Path, search: Strategy, path: Path) -> Found:
    """Returns the figures of an arm: the recipe's reinforcement, or expert iteration, at the study's FLOPs."""
    recipe = replace(read_recipe(FOLDER / "recipe.toml"), seed=seed, save_every=10**6)
    recipe = replace(recipe, evaluate=replace(recipe.evaluate, every=10**6, **MEASURED))
    changes: dict[str, object] = {"steps": 10**6, "flops": FLOPS, "patience": None, "prompts_per_step": PROMPTS}
    if name not in (START, FIRST):
        surrogate = replace(recipe.named("rl").surrogate, kind="reinforce")
        changes |= {"advantage": "expert", "surrogate": surrogate}
    if name in BY_SEARCH:
        changes["group_size"] = 2  # searches, each of about as many tokens as four replies
    return arm(name, reinforced(recipe, start, **changes), path / name.replace(" ", "-"), search)


def studied(root: Path, seeds: Sequence[int], arms: Sequence[str], kinds: Sequence[str]) -> Found:
    """Returns the figures of all cells, from their files or computed now."""
    start = warm_start(root)
    policy = load(start, precision="float32", thinks=True)

    def trained(name: str, seed: int) -> Found:
        guided = SEARCHES["value-guided, 4"]
        search = guided(judge_of(BY_SEARCH[name], policy, root)) if name in BY_SEARCH else SINGLE_REPLY
        return arm_of(name, seed, start, search, root / f"seed-{seed}")

    found: Found = {"seeds": list(seeds), "votes": cell(root, "votes", lambda: voted(policy)), "searches": {}}
    for kind in kinds:
        judge = judge_of(kind, policy, root)
        found["searches"][kind] = {
            name: cell(root, f"{name}, {kind}", partial(searched, policy, make(judge)))
            for name, make in SEARCHES.items()
        }
    found["arms"] = {START: [cell(root, START, partial(trained, START, 0))] * len(seeds)} | {name: [] for name in arms}
    for seed in seeds:
        for name in arms:
            found["arms"][name].append(cell(root / f"seed-{seed}", name, partial(trained, name, seed)))
    known = root / "judge" / "training" / "results" / "judge.json"
    found["judge"] = json.loads(known.read_text()) if LEARNED in kinds else None
    return found


# -------------------------------------------------------------------------------------------------------- the results
def ballots(votes: Found, cost: float) -> list[list[float]]:
    """Returns the outcomes by problem of the fewest votes that cost `cost` tokens or more; of all votes at most."""
    size = min(math.ceil(cost / votes["sampled"]), VOTES)
    return list(votes["votes"][str(size)])


def compared(found: Found, votes: Found) -> Found:
    """Returns accuracy, cost and gains over votes of equal cost of one search, paired by problem.

    `gain_judge_free` compares with votes of as many tokens as the search sampled, as if its judge cost nothing.
    """
    costs = {part: found[part] for part in ("sampled", "judged")}
    return {
        "accuracy": asdict(proportion(found["corrects"])),
        **costs,
        "gain": asdict(paired_gain(found["corrects"], ballots(votes, sum(costs.values())))),
        "gain_judge_free": asdict(paired_gain(found["corrects"], ballots(votes, costs["sampled"]))),
    }


def summary(found: Found) -> Found:
    """Returns what results_search.json holds: estimates, without the rights and wrongs of every problem."""
    votes, searches = found["votes"], found["searches"]
    first = found["arms"][FIRST]
    return {
        "schema_version": 1,
        "seeds": found["seeds"],
        "votes": {size: asdict(proportion(votes["votes"][size])) for size in SHOWN},
        "sampled_by_a_vote": votes["sampled"],
        "searches": {kind: {name: compared(each, votes) for name, each in of.items()} for kind, of in searches.items()},
        "judge": found["judge"],
        "arms": {
            name: [_arm(*pair) for pair in zip(cells, first, strict=True)] for name, cells in found["arms"].items()
        },
    }


def _arm(found: Found, first: Found) -> Found:
    """Returns an arm's figures with its accuracy, and its gain over plain reinforcement, paired by problem."""
    kept = {name: found[name] for name in ("thinking", "steps", "flops", "course", "seconds")}
    gain = asdict(paired_gain(found["corrects"], first["corrects"]))
    return kept | {"accuracy": asdict(proportion(found["corrects"])), "gain_over_reinforcement": gain}


def table(found: Found) -> str:
    """Returns the two tables that the README shows."""

    def of(estimate: Mapping[str, float]) -> str:
        return str(Estimate(**estimate))

    rows = ["| judge | search | accuracy | tokens sampled | tokens judged | over votes of equal cost | judges free |"]
    rows.append("|---" * 7 + "|")
    single = found["sampled_by_a_vote"]
    rows += [
        f"| – | {size} votes | {of(each)} | {int(size) * single:.0f} | 0 |  |  |"
        for size, each in found["votes"].items()
    ]
    for kind, searches in found["searches"].items():
        for name, each in searches.items():
            gains = f"{of(each['gain'])} | {of(each['gain_judge_free'])}"
            rows.append(
                f"| {kind} | {name} | {of(each['accuracy'])} | {each['sampled']:.0f} | {each['judged']:.0f} | {gains} |"
            )
    seeds = found["seeds"]
    rows += ["", "|  | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean over seeds [95 %, t] |"]
    rows.append("|---" * (len(seeds) + 2) + "|")
    for field, title in (("accuracy", "{}"), ("gain_over_reinforcement", f"**{{}}, over {FIRST}**")):
        for name, arms in found["arms"].items():
            if field != "accuracy" and name in (START, FIRST):
                continue
            mean = over_seeds([each[field]["mean"] for each in arms]) if len(arms) > 1 else ""
            rows.append(f"| {title.format(name)} | " + " | ".join(of(each[field]) for each in arms) + f" | {mean} |")
    for name, arms in found["arms"].items():
        if name != START:
            spent = [f"{each['flops']['reinforce']:.2e} in {each['steps']}" for each in arms]
            rows.append(f"| {name}: FLOPs, steps | " + " | ".join(spent) + " |  |")
            rows.append(
                f"| {name}: thinking tokens | " + " | ".join(f"{each['thinking']:.1f}" for each in arms) + " |  |"
            )
    return "\n".join(rows) + "\n"


# --------------------------------------------------------------------------------------------------------- the figure
def draw(found: Found, folder: Path) -> None:
    """Writes search.png and search.svg: accuracy against cost by judge, and each arm's reward against FLOPs."""
    with mpl.rc_context({name: mpl.rcParamsDefault[name] for name in STYLE if name in mpl.rcParamsDefault} | STYLE):
        figure = Figure((12.0, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _costs(left, found)
        _arms(right, found)
        folder.mkdir(exist_ok=True)
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            figure.savefig(folder / f"search.{kind}", dpi=DOTS, metadata=metadata)


def _costs(axes: Axes, found: Found) -> None:
    sizes = [int(size) for size in found["votes"]]
    means = [each["mean"] for each in found["votes"].values()]
    axes.plot([size * found["sampled_by_a_vote"] for size in sizes], means, color="black", marker=".", label="votes")
    for kind, searches in found["searches"].items():
        for marker, each in zip("os^", searches.values(), strict=True):
            accuracy, cost = each["accuracy"], each["sampled"] + each["judged"]
            error = [[accuracy["mean"] - accuracy["low"]], [accuracy["high"] - accuracy["mean"]]]
            label = f"judge: {kind}" if marker == "o" else None
            axes.errorbar(cost, accuracy["mean"], error, color=COLOURS[kind], marker=marker, linestyle="", label=label)
    axes.set(
        title="● value-guided, ■ beam, ▲ tree search", xlabel="tokens sampled and judged by an attempt", ylim=(0, 1)
    )
    axes.set_xscale("log")
    ticks = [25, 50, 100, 200, 400]
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.set_xticks([], minor=True)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")


def _arms(axes: Axes, found: Found) -> None:
    for place, arms in enumerate(found["arms"].values()):
        values = [each["accuracy"]["mean"] for each in arms]
        axes.plot([fmean(values)], [place], color=AFTER if place else MUTED, marker="D")
        axes.plot(values, [place] * len(values), color=AFTER if place else MUTED, marker=".", linestyle="", alpha=0.6)
    axes.set_yticks(range(len(found["arms"])), list(found["arms"]))
    axes.invert_yaxis()
    axes.set(title="Single replies after equal FLOPs", xlabel="accuracy on test problems", xlim=(0, 1))


def main() -> None:
    """Runs the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="where the runs and cells go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--judges", nargs="+", choices=list(COLOURS), default=list(COLOURS))
    arguments = parser.parse_args()
    found = summary(studied(arguments.runs, arguments.seeds, arguments.arms, arguments.judges))
    (FOLDER / "results_search.json").write_text(json.dumps(found, indent=1) + "\n")
    (FOLDER / "table_search.md").write_text(table(found))
    draw(found, FOLDER / "figures")
    print(table(found))


if __name__ == "__main__":
    main()
