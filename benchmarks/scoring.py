"""Scored answers a second, inline and in processes; the share of a reinforcement step that scoring takes.

    .venv/bin/python benchmarks/scoring.py
    .venv/bin/python benchmarks/scoring.py --steps 5 --run runs/demo --recipe recipes/sums/recipe.toml

The first part needs nothing. The second samples steps of problems as a recipe does, with the newest weights of a run
(--run) or with the pretrained model of a recipe (--recipe), and times the checks within.
"""

import argparse
import asyncio
import json
import platform
import statistics
import time
from dataclasses import replace
from pathlib import Path

from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks import task_named

TASKS = ("recurrence", "sums", "countdown")
AT_ONCE = 256  # checks that wait together, as in a step of 32 problems and 8 attempts


def replies(task, count):
    """Returns `count` problems, each with a right reply to it."""
    found = []
    for problem in task.take("train", 0, count):
        thought, answer = task.demonstration(problem) if task.demonstration else ("", problem.answer)
        said = Span(Author.MODEL, f"<think> {thought} </think> {answer}", stop=Stop.END)
        found.append((problem, Transcript.of(problem.prompt) + said))
    return found


def rate(task, asked, workers):
    """Returns checks a second."""

    async def everything():
        with Scoring(task, workers=workers) as scoring:
            await asyncio.gather(*(scoring.score(*each) for each in asked[:workers]))  # the workers start
            began = time.perf_counter()
            for start in range(0, len(asked), AT_ONCE):
                scores = await asyncio.gather(*(scoring.score(*each) for each in asked[start : start + AT_ONCE]))
                assert all(score.reward is not None for score in scores)
            return len(asked) / (time.perf_counter() - began)

    return asyncio.run(everything())


def rates(checks, rounds):
    """Prints a table of tasks; returns its rows."""
    rows = []
    print("| task | where | checks/s: median (least–most) |\n| --- | --- | --- |")
    for name in TASKS:
        task = task_named(name)
        asked = replies(task, checks)
        for where, workers in (("inline", 0), ("one process", 1), ("two processes", 2)):
            judged = replace(task, trusted=not workers)
            found = sorted(rate(judged, asked, max(workers, 1)) for _ in range(rounds))
            rows.append({"task": name, "where": where, "checks_per_second": found})
            print(
                f"| {name} | {where} | {statistics.median(found):,.0f} ({found[0]:,.0f}–{found[-1]:,.0f}) |", flush=True
            )
    return rows


def share(sampler, task, settings, steps):
    """Returns, for each step of sampling and scoring, the seconds in all and those that checks took."""
    from poziomka.core.rollouts.collect import collect

    found = []
    with Scoring(task, settings.scorer_seconds) as scoring:
        for step in range(steps + 1):
            before, began = scoring.spent, time.perf_counter()
            problems = task.take("train", step * settings.prompts_per_step, settings.prompts_per_step)
            collect(sampler, task, problems, settings.sampling, attempts=settings.group_size, scoring=scoring)
            found.append((time.perf_counter() - began, scoring.spent - before))
    return found[1:]  # the first one warms up


def shares(run, recipe, steps):
    """Prints the share of each, as trusted and in processes; returns the rows."""
    from poziomka.app.build import build, load
    from poziomka.app.settings.recipe import read_recipe
    from poziomka.inference.local import LocalSampler

    parts = []
    if run is not None:
        found, task, sampler = load(run)
        parts.append((str(run), found, task, sampler))
    if recipe is not None:
        found = read_recipe(recipe)
        built = build(found)
        parts.append((str(recipe), found, built.task, LocalSampler(built.model, built.chat)))
    rows = []
    print("\n| model | scorer | s a step's sampling | ms of checks | share |\n| --- | --- | --- | --- | --- |")
    for name, found, task, sampler in parts:
        for where, trusted in (("inline", True), ("in processes", False)):
            times = share(sampler, replace(task, trusted=trusted), found.named("rl"), steps)
            whole, checks = (statistics.median(column) for column in zip(*times, strict=True))
            rows.append({"model": name, "where": where, "seconds": whole, "checks": checks})
            print(f"| {name} | {where} | {whole:.2f} | {1000 * checks:.1f} | {checks / whole:.2%} |", flush=True)
    return rows


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checks", type=int, default=5_000, help="checks of a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds")
    parser.add_argument("--steps", type=int, default=5, help="steps that are counted")
    parser.add_argument("--run", type=Path, help="a run of a model from nothing")
    parser.add_argument("--recipe", type=Path, help="a recipe of a pretrained model")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "scoring.json")
    given = parser.parse_args()
    found = {"machine": platform.processor() or platform.machine(), "rates": rates(given.checks, given.rounds)}
    if given.run or given.recipe:
        found["shares"] = shares(given.run, given.recipe, given.steps)
    given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
