"""A curriculum that follows what is solved is part of a run: its state in checkpoints, its range among the metrics."""

import hashlib

import pytest

from poziomka.app.settings.recipe import recipe_of
from poziomka.app.train import Training, train
from poziomka.core.errors import TaskError
from poziomka.core.settings import plain
from poziomka.learning.session import Interrupted
from poziomka.runs import Run

pytestmark = pytest.mark.slow

STEPS = 8


@pytest.fixture
def recipe():
    """A recipe from nothing that climbs within seconds: problems are to copy what is asked, of levels 1 to 6."""
    return recipe_of(
        {
            "name": "climbing",
            "task": "recurrence",
            "threads": 1,
            "save_every": 3,
            "model": {"new": {"width": 16, "layers": 1, "heads": 2}},
            "stage": [
                {"kind": "sft", "steps": 0},
                {
                    "kind": "rl",
                    "require": {"thinking_gain": -1.0, "problems": 10},
                    "steps": STEPS,
                    "prompts_per_step": 4,
                    "group_size": 4,
                    "max_tokens": 6,
                    "max_thinking_tokens": 2,
                    "curriculum": {
                        "kind": "adaptive",
                        "start": [1, 2],
                        "attempts": 4,
                        "widen_at": 0.05,
                        "narrow_at": 0.0,
                    },
                },
            ],
            "evaluate": {
                "budgets": [2],
                "problems": 10,
                "attempts": 1,
                "votes": [1],
                "vote_problems": 10,
                "curve_problems": 10,
                "every": 100,
            },
        }
    )


def steps(folder):
    """The metrics of reinforcement, without what a clock read."""
    lines = [line for line in Run.read(folder).metrics() if line["stage"] == "rl"]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


def weights(folder):
    saved = Run.read(folder).latest()
    return hashlib.sha256((saved.folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(recipe, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(recipe, whole, keep_watch=False)
    with Run.open(stopped, plain(recipe)) as run:
        training = Training(recipe, run, quiet=True)
        training.progress.listener = lambda stage, line: setattr(training.progress, "stop", line["step"] == 5)
        training.run_stage("sft")
        with pytest.raises(Interrupted):
            training.run_stage("rl")
    assert len(steps(stopped)) == 5
    train(recipe, stopped, keep_watch=False)
    assert steps(stopped) == steps(whole)
    assert weights(stopped) == weights(whole)
    moved = {(line["curriculum/level_low"], line["curriculum/level_high"]) for line in steps(whole)}
    assert len(moved) > 1, "a range that never moved would show nothing"


def test_the_task_of_a_recipe_must_have_levels(recipe, tmp_path):
    plainly = recipe_of(plain(recipe) | {"task": "countdown"})
    with pytest.raises(TaskError, match="follows levels"):
        train(plainly, tmp_path / "run", keep_watch=False)
    assert not (tmp_path / "run").exists()
