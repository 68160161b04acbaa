"""`poziomka init` writes a task, its test and a recipe that run at once."""

import json
import os
import shutil
import subprocess
import sys

import pytest

import poziomka as pz
from poziomka.app.cli.trials import _named
from poziomka.app.settings.recipe import read_recipe
from poziomka.tasks import task_named


@pytest.fixture
def started(poziomka, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, output, errors = poziomka("init", "fruit")
    assert (status, errors) == (0, "")
    return output


def test_what_is_written_is_told_and_read(started, tmp_path):
    assert sorted(path.name for path in (tmp_path / "fruit").iterdir()) == ["recipe.toml", "task.py", "test_task.py"]
    recipe = read_recipe(tmp_path / "fruit" / "recipe.toml")
    assert (recipe.name, recipe.task) == ("fruit", "fruit/task.py:task")
    assert task_named(recipe.task).name == "fruit"
    assert "poziomka train fruit/recipe.toml" in started


def test_its_test_passes(started, tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "fruit"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


def test_the_commands_take_the_file_as_any_task(started, poziomka):
    status, output, _ = poziomka("tasks", "show", "fruit/task.py", "--json")
    assert (status, json.loads(output)["task"]) == (0, "fruit")
    assert _named("fruit/task.py") == ["fruit/task.py"]  # as `tasks check` does


@pytest.mark.slow
def test_the_model_of_its_recipe_has_something_to_learn_from(started, tmp_path):
    settings = read_recipe(tmp_path / "fruit" / "recipe.toml").named("rl")
    task, attempts = task_named("fruit/task.py:task"), settings.group_size
    found = pz.evaluate("smollm2", task, settings.sampling, problems=6, attempts=attempts, split="train")
    rewards = [{rollout.score.reward for rollout in group} for group in found.groups]
    assert sum(group == {0.0, 1.0} for group in rewards) >= 3


@pytest.mark.slow
def test_its_recipe_trains_and_the_run_is_evaluated(started, poziomka):
    small = ["rl.steps=1", "rl.prompts_per_step=2", "rl.group_size=2", "rl.max_tokens=8", "save_every=1"]
    small += ["threads=1", "evaluate.problems=10", "evaluate.curve_problems=10"]
    sets = [part for change in small for part in ("--set", change)]
    status, output, errors = poziomka("train", "fruit/recipe.toml", *sets)
    assert status == 0, errors
    status, output, errors = poziomka("evaluate", "runs/fruit", "--problems", "10")
    assert (status, "held-out problems" in output) == (0, True), errors


def test_the_next_commands_are_those_of_the_program_that_was_started(tmp_path):
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "poziomka").write_text(
        f"#!{sys.executable}\nimport sys\nfrom poziomka.app.cli.main import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    (folder / "poziomka").chmod(0o755)

    def said(*command, path):
        shutil.rmtree(tmp_path / "fruit", ignore_errors=True)
        how = {"cwd": tmp_path, "env": {**os.environ, "PATH": path}, "text": True}
        return subprocess.check_output([*command, "init", "fruit"], **how).splitlines()[-1]

    assert said(".venv/bin/poziomka", path="/usr/bin:/bin") == ".venv/bin/poziomka evaluate runs/fruit"
    assert said("poziomka", path=f"{folder}:/usr/bin:/bin") == "poziomka evaluate runs/fruit"
    assert said(sys.executable, "-m", "poziomka", path="/bin").endswith(" -m poziomka evaluate runs/fruit")


@pytest.mark.parametrize("name", ["two words", "../up", "3d", ""])
def test_a_name_that_is_no_name_is_refused(poziomka, name):
    status, _, errors = poziomka("init", name)
    assert (status, "has letters, digits and '_'" in errors) == (2, True)


def test_a_folder_that_is_there_is_left_alone(started, poziomka, tmp_path):
    (tmp_path / "fruit" / "task.py").write_text("mine")
    status, _, errors = poziomka("init", "fruit")
    assert (status, "there is a folder or file fruit already" in errors) == (2, True)
    assert (tmp_path / "fruit" / "task.py").read_text() == "mine"
