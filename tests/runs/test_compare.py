"""Runs side by side."""

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
    assert lines[0].split() == ["run", "recipe", "steps", "reward", "accuracy"]
    assert "is not valid TOML" in lines[1]
    assert lines[2].split() == ["run", "recurrence", "0", "–", "–"]
