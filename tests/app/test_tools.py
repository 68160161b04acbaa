"""A recipe with tools: what it builds, what it refuses, and a whole run from nothing to a report."""

import pytest

from poziomka.app.build import build
from poziomka.app.settings.recipe import recipe_of
from poziomka.app.train import train
from poziomka.core.errors import SettingsError, TaskError
from poziomka.runs import Run

pytestmark = pytest.mark.slow

TINY = {
    "task": "large_numbers",
    "threads": 1,
    "model": {"new": {"width": 16, "layers": 1, "heads": 2}},
    "tools": {"calculator": {}, "cost": 0.1},
    "stage": [
        {"kind": "sft", "steps": 2, "demonstrations": {"tokens_per_step": 400, "skill_share": 1.0}},
        {
            "kind": "rl",
            "require": {"thinking_gain": -1.0, "problems": 10},
            "steps": 2,
            "prompts_per_step": 4,
            "group_size": 4,
            "max_tokens": 24,
            "max_thinking_tokens": 16,
        },
    ],
    "evaluate": {
        "budgets": [4, 16],
        "problems": 10,
        "attempts": 1,
        "votes": [1, 2],
        "vote_problems": 10,
        "vote_budget": 16,
        "every": 1,
        "curve_problems": 10,
    },
}


def recipe(**changes):
    return recipe_of(TINY | changes)


def test_a_model_from_nothing_writes_its_calls_digit_by_digit():
    task = build(recipe()).task
    environment = task.environment(task.problem("train", 0))
    assert environment.format.name == "spelled"
    assert list(environment.tools) == ["calculator"]


def test_a_pretrained_model_writes_them_plainly(checkpoint):
    task = build(recipe(task="large_numbers_in_words", model={"load": str(checkpoint)})).task
    assert task.environment(task.problem("train", 0)).format.name == "plain"


def test_without_tools_nothing_answers():
    bare = {name: value for name, value in TINY.items() if not name.startswith("tool")}
    assert build(recipe_of(bare)).task.environment is None


def test_settings_of_tools_without_tools_are_noted():
    settings = recipe(tools={"format": "hermes", "cost": 0.1})
    assert [note.partition(" is not used, because the recipe has no tools")[0] for note in build(settings).notes] == [
        "tools.format = 'hermes'",
        "tools.cost = 0.1",
    ]
    assert build(recipe(tools={"cost": 0.0})).notes == build(recipe()).notes == ()


def test_an_unknown_tool_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match="calculator"):
        build(recipe(tools={"calculater": {}}))


def test_the_price_of_a_call_is_a_share():
    with pytest.raises(SettingsError, match=r"tools\.cost"):
        recipe(tools={"calculator": {}, "cost": 1.5})


def test_a_task_that_is_given_tools_twice_is_refused():
    with pytest.raises(TaskError, match="environment of its own"):
        build(recipe(), task=build(recipe()).task)


def test_a_run_with_tools_goes_from_nothing_to_a_report(tmp_path):
    report = train(recipe(), tmp_path / "run", keep_watch=False)
    run = Run.read(tmp_path / "run")
    assert report.exists()
    steps = [line for line in run.metrics() if line["stage"] == "rl"]
    points = [line for line in run.metrics() if line["stage"] == "evaluate"]
    assert all({"tools/rate", "tools/calls", "tools/seconds", "rollouts/void"} <= set(line) for line in steps)
    assert all("evaluate/tools_rate" in line for line in points)
    assert len(run.results("frontier")["curves"]["trained"]["budgets"]) == 2
