"""Runs side by side."""

import json

import pytest

from poziomka.core.errors import RunError
from poziomka.runs import Run, list_runs, summarise, table


def test_runs_are_listed_by_name(tmp_path, recipe):
    for name in ("b", "a"):
        Run.open(tmp_path / name, recipe).close()
    (tmp_path / "other").mkdir()
    assert list_runs(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert list_runs(tmp_path / "a") == [tmp_path / "a"]


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RunError, match="there is no folder"):
        list_runs(tmp_path / "none")


def test_a_run_is_summed_up_by_its_last_figures(run):
    run.log(1, "reinforce", {"reward/mean": 0.25, "evaluate/accuracy": 0.5})
    run.log(2, "reinforce", {"reward/mean": 0.75})
    run.log(3, "reinforce", {"reward/mean": float("nan")})
    summary = summarise(run.folder)
    assert (summary.recipe, summary.step, summary.reward, summary.accuracy) == ("recurrence", 3, 0.75, 0.5)


def test_a_run_that_cannot_be_read_hides_no_other(run, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "recipe.toml").write_text("= ")
    lines = table([summarise(folder) for folder in list_runs(tmp_path)]).splitlines()
    assert lines[0].split() == ["run", "recipe", "steps", "reward", "accuracy", "split"]
    assert "is not valid TOML" in lines[1]
    assert lines[2].split() == ["run", "recurrence", "0", "–", "–", "–"]


def test_an_accuracy_is_listed_with_its_split_and_a_study_among_the_runs(run, tmp_path):
    run.log(1, "evaluate", {"evaluate/accuracy": 0.5})
    recipe = {"kind": "evaluation", "name": "evaluate-m-t", "evaluate": {"split": "test", "problems": 4}}
    with Run.open(tmp_path / "evaluate-m-t", recipe) as evaluation:
        evaluation.log(0, "evaluate", {"evaluate/accuracy": 0.75})
    study = tmp_path / "think-m-t"
    study.mkdir()
    point = {"name": "single", "accuracy": {"mean": 0.25, "low": 0.2, "high": 0.3}}
    (study / "study.json").write_text(json.dumps({"split": "validation", "strategies": [point]}))
    (tmp_path / "think-z").mkdir()
    (tmp_path / "think-z" / "study.json").write_text("[")
    evaluated, trained, thought, broken = map(summarise, list_runs(tmp_path))
    assert (evaluated.accuracy, evaluated.split) == (0.75, "test")
    assert (trained.accuracy, trained.split) == (0.5, "validation")
    assert (thought.recipe, thought.accuracy, thought.split) == ("study of 1 strategies", 0.25, "validation")
    assert broken.fault


def test_another_setting_of_an_evaluation_is_named_without_a_recipe(tmp_path):
    recipe = {"kind": "evaluation", "name": "e", "evaluate": {"split": "test", "problems": 4}}
    Run.open(tmp_path / "e", recipe).close()
    with pytest.raises(RunError, match=r"the evaluation .* problems \(4 there, 5 here\)") as refused:
        Run.demand_free(tmp_path / "e", {**recipe, "evaluate": {"split": "test", "problems": 5}}, dict)
    assert "recipe" not in str(refused.value)
