"""The doctor's estimate of time covers all of a run: warm start, reinforcement and every evaluation."""

from dataclasses import replace

import pytest

from poziomka.app.build import build
from poziomka.app.doctor import Bench, examine, parts_of
from poziomka.app.doctor.plan import evaluations
from poziomka.app.settings.recipe import recipe_of
from poziomka.app.train import Training
from poziomka.core.settings import plain
from poziomka.runs import Run

pytestmark = pytest.mark.fault("C3")
VALUES = {
    "threads": 1,
    "save_every": 10,
    "model": {"new": {"width": 32, "layers": 1, "heads": 2}},
    "stage": [
        {
            "kind": "sft",
            "steps": 4,
            "demonstrations": {"tokens_per_step": 100, "skill_share": 0.0, "direct_share": 0.5},
        },
        {
            "kind": "rl",
            "require": {"thinking_gain": -1.0, "problems": 10},
            "steps": 3,
            "prompts_per_step": 2,
            "group_size": 4,
            "max_tokens": 12,
            "max_thinking_tokens": 8,
        },
    ],
    "evaluate": {
        "budgets": [8],
        "problems": 12,
        "attempts": 2,
        "votes": [1, 4],
        "vote_problems": 10,
        "curve_problems": 10,
        "every": 2,
    },
}


def attempted(recipe, folder):
    """Returns how many attempts a run's evaluations really judge."""
    judged = []
    built = build(recipe)
    scorer = built.task.scorer

    def counting(problem, transcript):
        judged.append(problem.key)
        return scorer(problem, transcript)

    with Run.open(folder, plain(recipe)) as run:
        task = replace(built.task, scorer=counting)
        training = Training(recipe, run, replace(built, task=task), quiet=True)
        training.finish()
    rl = recipe.named("rl")
    return len(judged) - rl.steps * rl.prompts_per_step * rl.group_size


@pytest.mark.parametrize("budget", [0, 8])
def test_the_evaluations_planned_are_those_that_a_run_makes(tmp_path, budget):
    recipe = recipe_of(VALUES, (f"rl.max_thinking_tokens={budget}",))
    assert sum(evaluations(recipe, build(recipe).task)) == attempted(recipe, tmp_path)


def test_the_estimate_names_warm_start_evaluation_and_the_whole(tmp_path):
    recipe = recipe_of(VALUES)
    (found,) = [finding for finding in examine(Bench(parts_of(recipe))) if finding.name == "time"]
    parts = found.figure.split("; ")
    assert [part.split(" of ")[0].split(" steps")[0] for part in parts[:3]] == ["a step", "3", "sft"]
    attempts = sum(evaluations(recipe, parts_of(recipe).task))
    assert parts[2].startswith("sft of 4 steps ")
    assert parts[3].startswith(f"evaluation of {attempts} attempts ")
    assert parts[4].startswith("in all ")


def test_without_a_warm_start_none_is_estimated():
    recipe = recipe_of(VALUES, ("sft.steps=0",))
    (found,) = [finding for finding in examine(Bench(parts_of(recipe))) if finding.name == "time"]
    assert "sft" not in found.figure
    assert "evaluation of" in found.figure
