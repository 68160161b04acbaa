"""A run whose task raises here and there, in every part that a user writes, goes on to its report."""

from dataclasses import replace

import pytest

from poziomka.app.settings.recipe import recipe_of
from poziomka.app.train import train
from poziomka.runs import Run
from poziomka.tasks import task_named

pytestmark = pytest.mark.slow

TINY = {
    "threads": 1,
    "model": {"new": {"width": 16, "layers": 1, "heads": 2}},
    "stage": [
        {"kind": "sft", "steps": 2, "demonstrations": {"tokens_per_step": 400}},
        {
            "kind": "rl",
            "require": {"thinking_gain": -1.0, "problems": 10},
            "steps": 3,
            "prompts_per_step": 8,
            "group_size": 4,
            "max_tokens": 12,
            "max_thinking_tokens": 8,
            "failures": 1.0,
        },
    ],
    "evaluate": {
        "budgets": [0, 8],
        "problems": 14,
        "attempts": 2,
        "votes": [1, 2],
        "vote_problems": 10,
        "every": 1,
        "curve_problems": 14,
        "curve_attempts": 1,
    },
}


def now_and_then(function, error, every=5):
    """The function, which raises at each fifth call."""
    calls = iter(range(1, 10**9))

    def act(*given):
        if next(calls) % every == 0:
            raise error
        return function(*given)

    return act


@pytest.mark.parametrize("error", [SystemExit(1), KeyError("door")])
@pytest.mark.parametrize("with_environment", [True, False])
def test_a_run_goes_on_where_its_task_raises(tmp_path, error, with_environment):
    task = task_named("recurrence")

    def source(split, index, level):
        if index % 7 == 3:
            raise error
        return task.source(split, index, level)

    faulty = replace(
        task,
        source=source,
        demonstration=now_and_then(task.demonstration, error),
        environment=now_and_then(lambda problem: None, error) if with_environment else None,
        references=now_and_then(lambda problem, most: {}, error, every=1),
    )
    report = train(recipe_of(TINY), tmp_path / "run", faulty, keep_watch=True)
    run = Run.read(tmp_path / "run")
    assert report.exists()
    steps = [line for line in run.metrics() if line["stage"] == "rl"]
    assert len(steps) == 3
    assert sum(step["verdict/error"] for step in steps) > 0
    assert run.results("frontier")["curves"]["trained"]["budgets"][0]["failures"]["checks"] > 0
    notes = (tmp_path / "run" / "notes.log").read_text()
    assert "demonstrations were left out" in notes
    assert "the references of task 'recurrence' raised" in notes
    assert "raised " + type(error).__name__ in notes
