"""What a user tries in the first hour: recipes by name, dry runs that look, options that are heeded or refused."""

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from poziomka.app.cli.recipes import recipe_file, shipped_recipes
from poziomka.app.settings.aliases import ALIASES, settings_of
from poziomka.app.settings.recipe import Recipe, read_recipe
from poziomka.app.train import train
from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem
from poziomka.runs.run import Run
from poziomka.tasks import TASKS, task_named

ROOT = Path(__file__).resolve().parent.parent.parent


def refused(answer, *words):
    status, output, errors = answer
    assert (status, output) == (2, ""), errors
    assert errors.count("\n") == 1, errors
    assert [word for word in words if word not in errors] == [], errors


# ------------------------------------------------------------------------------------------------------------ dry runs
@pytest.mark.fault("C6")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["task=nope"], ["unknown task 'nope'"]),
        (["task=grade_school:/nowhere"], ["there is no file", "/nowhere"]),
        (["task=sums"], ["is for a model that reads already"]),
        (["model.new=none", "model.load=/nope/nope"], ["there is no model '/nope/nope'"]),
        (["model.new=none", "model.load=nope.gguf"], ["there is no model 'nope.gguf'"]),
        (["model.new=none", "model.load=.."], ["no folder of a checkpoint"]),
        (["model.precision=bfloat16"], ["without model.load"]),
        (["levels=[90, 91]"], ["90"]),
        (["tools.hammer={}"], ["'hammer'"]),
        (["model.start=nowhere"], ["there is no folder nowhere"]),
        (["model.start=."], ["cannot read the weights", "there is no such file"]),
        (["model.new.heads=3"], ["cannot have 3 heads"]),
        (
            ["model.new.architecture=recurrent", "model.new.heads=3"],
            ["a recurrent model's width must divide by its heads"],
        ),
        (
            ["rl.curriculum.kind=adaptive", "rl.curriculum.start=[40, 41]"],
            ["curriculum.start names levels [40, 41]"],
        ),
        (["sft.demonstrations.levels=[40, 41]"], ["cannot be trained on levels 40 to 41"]),
    ],
)
def test_a_dry_run_looks_for_all_that_a_recipe_names(poziomka, tiny, tmp_path, monkeypatch, changes, words):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    given = [part for change in changes for part in ("--set", change)]
    refused(poziomka("train", tiny, "--dry-run", *given), *words)


def lacking(what):
    """A task that lacks what a stage of a run needs."""
    task = task_named("recurrence")
    sizes = {"train": 40, "validation": 40, "test": 40}
    own = replace(task, size=sizes.get, splits=tuple(sizes))
    changed = {
        "levels": replace(task, levels=None),
        "demonstrations": replace(task, demonstration=None),
        "validation": replace(task, size=1),
        "test": replace(own, size={**sizes, "test": 0}.get),
        "train": replace(own, size={**sizes, "train": 0}.get),
        "room": replace(own, source=lambda split, index, level: Problem.ask("room", f"{split}{index}", "1 " * 40, "1")),
    }
    return changed[what]


@pytest.fixture
def without(monkeypatch, tiny):
    """Returns what the command line takes for a recipe whose task lacks something."""

    def without(what, change="seed=1"):
        monkeypatch.setitem(TASKS, "lacking", lambda: lacking(what))
        return [tiny, "--set", "task=lacking", "--set", change]

    return without


@pytest.mark.fault("C6")
@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("levels", "rl.curriculum.kind=adaptive"), "an adaptive curriculum follows levels"),
        (("demonstrations",), "a stage of kind sft needs a task with demonstrations"),
        (("validation",), "no problems in 'validation'"),
        (("test",), "no problems in 'test'"),
        (("train",), "no problems in 'train'"),
        (("room", "model.context=20"), "can be answered"),
    ],
)
def test_what_a_stage_lacks_is_said_before_anything_is_done(poziomka, without, tmp_path, given, words, dry):
    refused(poziomka("train", *without(*given), "--run", tmp_path / "run", *(["--dry-run"] if dry else [])), words)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.fault("C6")
def test_the_doctor_says_what_a_stage_lacks(poziomka, without):
    status, output, _ = poziomka("doctor", *without("demonstrations"))
    assert status == 2
    assert "a stage of kind sft needs a task with demonstrations" in " ".join(output.split())


@pytest.mark.fault("C6")
def test_a_dry_run_looks_at_the_models_and_adapters_that_it_names(poziomka, tiny, tmp_path):
    other, adapters = tmp_path / "other", tmp_path / "adapters"
    for folder, config in ((other, {"model_type": "gpt2"}), (adapters, {"base_model_name_or_path": "/gone/model"})):
        folder.mkdir()
        name = "config.json" if folder is other else "adapter_config.json"
        (folder / name).write_text(json.dumps(config), encoding="utf-8")
    given = ["train", tiny, "--dry-run", "--set", "task=small_sums", "--set", "model.new=none"]
    lora = ["--set", "model.lora.rank=2"]
    assert poziomka(*given, "--set", f"model.load={other}")[0] == 0
    refused(poziomka(*given, "--set", f"model.load={other}", *lora), "adapters can be trained", "'gpt2'")
    refused(poziomka(*given, "--set", f"model.load={adapters}"), "there is no model '/gone/model'")
    started = ["--set", f"model.load={other}", "--set", f"model.start={adapters}"]
    refused(poziomka(*given, *started), f"the adapters {adapters}")


@pytest.mark.slow
@pytest.mark.fault("C6")
def test_a_dry_run_looks_at_the_folder_of_the_run(poziomka, tiny, tmp_path, finished):
    changed = ["--dry-run", "--set", "seed=3"]
    refused(poziomka("train", tiny, "--run", finished, *changed), "made with another recipe", "seed (0 there, 3 here)")
    assert poziomka("train", tiny, "--run", finished, "--dry-run")[0] == 0
    assert poziomka("train", "--resume", finished, "--dry-run")[0] == 0
    (tmp_path / "thesis.tex").write_text("precious", encoding="utf-8")
    refused(poziomka("train", tiny, "--run", tmp_path, *changed), "is not empty and holds no run")
    refused(poziomka("train", tiny, "--run", tmp_path / "thesis.tex" / "run", *changed), "cannot write the run")
    path = finished / "results" / "inputs.json"
    inputs = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(inputs | {"digests": {"the task's problems": "other"}}), encoding="utf-8")
    refused(poziomka("train", "--resume", finished, "--dry-run"), "other contents of the task's problems")


@pytest.mark.fault("C6")
def test_a_dry_run_looks_for_a_model_on_the_hub(poziomka, tiny, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused(
        poziomka(
            "train", tiny, "--dry-run", "--set", "model.new=none", "--set", "model.load=nope/nope", "--set", "task=sums"
        ),
        "nope/nope",
    )


@pytest.mark.fault("C6")
def test_a_dry_run_looks_for_the_package_that_metrics_go_to(poziomka, tiny):
    refused(poziomka("train", tiny, "--dry-run", "--to", "wnadb"), "metrics cannot go to 'wnadb'", "'wandb'")


# ------------------------------------------------------------------------------------------------------------- recipes
@pytest.mark.fault("C9")
def test_a_recipe_is_run_by_its_name_wherever_one_stands(poziomka, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, output, errors = poziomka("train", "recurrence", "--set", "seed=7", "--dry-run")
    assert status == 0, errors
    assert tomllib.loads(output)["seed"] == 7
    assert tomllib.loads(output)["name"] == "recurrence"


@pytest.mark.fault("C9")
def test_recipes_are_listed_with_their_tasks(poziomka):
    status, output, _ = poziomka("recipes")
    assert status == 0
    assert re.search(r"^sums  \(task small_sums\)\n    Sums: ", output, re.MULTILINE)
    assert "arms" not in output
    assert max(map(len, output.splitlines())) <= 100


@pytest.mark.parametrize(("path", "name"), [("mine.toml", "mine"), ("mine/recipe.toml", "mine"), ("m/a-1.toml", "a-1")])
def test_a_recipe_without_a_name_has_that_of_its_file_and_a_dry_run_says_where(poziomka, tmp_path, path, name):
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_text('task = "recurrence"\n')
    status, output, errors = poziomka("train", file, "--dry-run")
    assert (status, tomllib.loads(output)["name"]) == (0, name)
    assert f"the run would be in runs/{name}" in errors
    assert "the run would be in elsewhere" in poziomka("train", file, "--dry-run", "--run", "elsewhere")[2]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("chat", "missing/path", "hi"), "there is no file or folder 'missing/path' here"),
        (("chat", "missing/path", "hi"), "a folder with config.json, a .gguf file, the folder of a run, `smollm2`"),
        (("chat", "smollm", "hi"), "did you mean 'smollm2'?"),
        (("tasks", "show", "gsm8k:sampel"), "did you mean 'sample'?"),
        (("tasks", "show", "gsm8k:elsewhere"), "name a folder with train.jsonl"),
    ],
)
def test_a_model_or_a_file_that_is_not_there_is_named(poziomka, command, said):
    status, _, errors = poziomka(*command)
    assert (status, said in errors) == (2, True), errors


def test_every_recipe_that_is_listed_is_one():
    for file in shipped_recipes().values():
        read_recipe(file)


def test_what_exists_under_a_path_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sums").mkdir()
    assert recipe_file(Path("sums")) == Path("sums")
    assert recipe_file(Path("elsewhere.toml")) == Path("elsewhere.toml")
    with pytest.raises(SettingsError, match="no recipe of this name; did you mean 'sums'"):
        recipe_file(Path("smus"))


@pytest.mark.fault("C9")
def test_the_wheel_takes_every_recipe_along():
    taken = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["data-files"]
    folders = {path.parent.name for path in (ROOT / "recipes").glob("*/*.toml")}
    assert taken == {f"share/poziomka/recipes/{name}": [f"recipes/{name}/*.toml"] for name in folders}


# --------------------------------------------------------------------------------------------------------------- tasks
@pytest.mark.fault("C8")
def test_problems_are_printed_as_json(poziomka):
    status, output, _ = poziomka("tasks", "show", "recurrence", "--json", "--count", "2", "--level", "3")
    told = json.loads(output)
    assert (status, told["task"], told["split"], len(told["problems"])) == (0, "recurrence", "train", 2)
    problem = told["problems"][0]
    assert problem["level"] == 3
    assert problem["prompt"][0]["role"] == "user"
    assert problem["answer"]


@pytest.mark.fault("C8")
def test_tasks_are_listed_as_json(poziomka):
    names = [row["task"] for row in json.loads(poziomka("tasks", "list", "--json")[1])]
    assert {"recurrence", "grade_school:sample"} <= {*names}
    assert json.loads(poziomka("tasks", "list", "grade_school", "--json")[1])[0]["task"] == "grade_school:sample"


@pytest.mark.fault("C8")
@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["show", "sums", "--problems", "3"], "--problems"),
        (["show", "sums", "--all"], "--all"),
        (["play", "sums", "--json"], "--json"),
        (["check", "sums", "--count", "3"], "--count"),
        (["list", "--split", "test"], "--split"),
    ],
)
def test_an_option_that_an_action_would_ignore_is_refused(poziomka, arguments, option):
    refused(poziomka("tasks", *arguments), f"tasks {arguments[0]} takes no {option}")


@pytest.mark.fault("C8")
def test_names_may_stand_after_options(poziomka):
    status, output, errors = poziomka("tasks", "check", "--problems", "3", "recurrence")
    assert status == 0, errors
    assert "1 of 1 task passed" in output
    assert poziomka("tasks", "show", "--count", "1", "recurrence")[0] == 0


@pytest.mark.fault("C8")
def test_a_journal_that_is_not_there_is_said_without_names_of_python(poziomka, finished):
    refused(poziomka("learn", finished, "--from", "nope"), "there is no journal nope: give a journal's file")


@pytest.mark.fault("C8")
def test_without_a_budget_for_thought_the_gate_asks_for_nothing(tiny, tmp_path):
    changes = ("rl.max_thinking_tokens=0", "rl.require.thinking_gain=0.3", "rl.steps=1", "sft.steps=2")
    train(read_recipe(tiny, changes), tmp_path / "run")
    gate = Run.read(tmp_path / "run").results("gate")
    assert (gate["gain"], gate["passed"]) == (0.0, True)


# ------------------------------------------------------------------------------------------------------------ settings
@pytest.mark.fault("C5")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("lr=1e-5", "'rl.optimizer.learning_rate'"),
        ("rl.learning_rate=1e-5", "'rl.optimizer.learning_rate'"),
        ("loss=ppo", "'rl.surrogate.kind'"),
        ("rl.beta=0.1", "'rl.kl.weight'"),
        ("num_generations=8", "'rl.group_size'"),
        ("device=cuda", "'model.device'"),
        ("sft.lr=1e-5", "'sft.optimizer.learning_rate'"),
        ("sft.max_grad_norm=1", "'sft.optimizer.max_grad_norm'"),
        ("model.template_variables.day=2026-11-28", "template_variables.day must be text, a number"),
        ("rl.stpes=3", "did you mean 'steps'?"),
    ],
)
def test_another_librarys_name_of_a_setting_leads_to_ours(poziomka, tiny, change, words):
    refused(poziomka("train", tiny, "--dry-run", "--set", change), words)


@pytest.mark.fault("C5")
def test_settings_are_listed_with_default_type_range_and_meaning(poziomka):
    status, output, _ = poziomka("settings", "sft.optimizer.learning_rate")
    assert status == 0
    first, second, third = output.splitlines()
    assert first.startswith("sft.optimizer.learning_rate = 0.002   float, ")
    assert second.strip()
    assert third.strip() == "default: 5e-05 for a loaded model, 0.0002 with LoRA"
    assert "default: 0 for a loaded model, 128 for one that thinks" in poziomka("settings", "rl.max_thinking_tokens")[1]
    assert poziomka("settings", "lr")[1].startswith("rl.optimizer.learning_rate = ")
    assert "model.lora.rank = " in poziomka("settings")[1]
    refused(poziomka("settings", "ofline"), "no setting begins with 'ofline'; did you mean 'offline'?")


def test_every_name_that_is_led_to_is_a_setting():
    names = {each.name for each in settings_of(Recipe())}
    tables = {name.rpartition(".")[0] for name in names}
    assert {*ALIASES.values()} <= names | tables
