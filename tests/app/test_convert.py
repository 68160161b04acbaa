"""Recipes of schema 1 are refused with the command that converts them, and become the same run in schema 2."""

import tomllib
from pathlib import Path

import pytest

from poziomka.app.cli.main import main
from poziomka.app.settings.convert import convert_file, convert_text, converted
from poziomka.app.settings.recipe import read_recipe, recipe_of
from poziomka.core.errors import SettingsError

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SHIPPED = sorted(path for path in RECIPES.glob("*/*.toml") if path.name != "arms.toml")
OLD = """# Sums, as it was.
# Two lines of heading.
schema_version = 1
name = "sums"
task = "small_sums"              # chains of + and -
pretrained = "smollm2"           # 135M
precision = "bfloat16"
tools = "python:sandlock"
tool_cost = 0.05

[warm_start]                     # written out first
updates = 40

[warm_start.lessons]
tokens = 800                     # of an update
haste = 0.1

[warm_start.learner]
places = 2048

[gate]
margin = 0.1

[curriculum]
rehearse = 0.2

[reinforce]
problems = 8
attempts = 16                    # of each
tokens = 80
budget = 64
retire_at = 0.8

[reinforce.learner]
head_rows = 256

[reinforce.learner.divergence]
kind = "k3"

[reinforce.learner.surrogate]
kind = "ppo"
cap = 3.0

[reinforce.learner.optimizer]
rate = 2e-5
warmup = 2
decay = 0.5
floor = 0.1
clip = 2.0
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_of_the_repository_is_one_of_stages(path):
    values = tomllib.loads(path.read_text())
    assert values["schema_version"] == 2
    assert [stage.kind for stage in read_recipe(path).stage] == [stage["kind"] for stage in values["stage"]]


def test_every_setting_has_a_place():
    recipe = recipe_of(tomllib.loads(convert_text(OLD)))
    sft, rl = recipe.stage
    assert (recipe.model.load, recipe.model.precision) == ("smollm2", "bfloat16")
    assert (recipe.tools.names, recipe.tools.cost) == ("python:sandlock", 0.05)
    assert (sft.steps, sft.demonstrations.tokens_per_step, sft.demonstrations.cutoff_prob) == (40, 800, 0.1)
    assert (sft.microbatch_tokens, rl.logit_chunk) == (2048, 256)
    assert (rl.require.thinking_gain, rl.require.problems) == (0.1, 200)
    assert (rl.prompts_per_step, rl.group_size, rl.max_tokens, rl.max_thinking_tokens) == (8, 16, 80, 64)
    assert (rl.drop_solved_above, rl.curriculum.review_prob) == (0.8, 0.2)
    assert (rl.kl.kind, rl.surrogate.kind, rl.surrogate.importance_cap) == ("k3", "ppo", 3.0)
    found = rl.optimizer
    assert (found.learning_rate, found.warmup_steps, found.decay_ratio) == (2e-5, 2, 0.5)
    assert (found.min_lr_ratio, found.max_grad_norm) == (0.1, 2.0)


def test_comments_stay_beside_their_settings():
    lines = convert_text(OLD).splitlines()
    assert lines[:2] == ["# Sums, as it was.", "# Two lines of heading."]
    beside = {line.partition("=")[0].strip(): line.partition("#")[2].strip() for line in lines[2:] if "#" in line}
    assert beside == {
        "task": "chains of + and -",
        "load": "135M",
        "kind": "written out first",
        "tokens_per_step": "of an update",
        "group_size": "of each",
    }


@pytest.mark.parametrize(
    ("warm_start", "optimizer"),
    [
        ({}, (2e-3, 50, 0.6, 0.02)),
        ({"learner": {"layout": "shared"}}, (2e-4, 5, 0.5, 0.05)),
        ({"learner": {"optimizer": {"rate": 1e-3}}}, (1e-3, 5, 0.5, 0.05)),
    ],
)
def test_what_was_left_out_is_what_schema_1_made_of_it(warm_start, optimizer):
    """In schema 1 a table that was given in part did not have the defaults of its stage."""
    found = recipe_of(converted({"warm_start": warm_start})).named("sft").optimizer
    assert (found.learning_rate, found.warmup_steps, found.decay_ratio, found.min_lr_ratio) == optimizer


def test_a_checkpoint_to_start_from_stood_for_the_warm_start():
    recipe = recipe_of(converted({"start": "somewhere"}))
    assert [stage.name for stage in recipe.stage] == ["rl"]
    assert recipe.model.start == "somewhere"


def test_a_gate_was_there_without_being_named():
    assert recipe_of(converted({})).named("rl").require.thinking_gain == 0.3


def test_a_converted_recipe_is_not_converted_again(tmp_path):
    path = tmp_path / "new.toml"
    path.write_text(convert_text(OLD))
    with pytest.raises(SettingsError, match="converted already"):
        convert_file(path)


def test_an_older_recipe_is_refused_with_the_command_that_converts_it(tmp_path, capsys):
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text(OLD.replace('tools = "python:sandlock"\ntool_cost = 0.05\n', ""))
    assert main(["train", str(old), "--dry-run"]) == 2
    assert "poziomka recipes convert" in capsys.readouterr().err
    assert main(["recipes", "convert", str(old), str(new)]) == 0
    assert str(new) in capsys.readouterr().out
    assert read_recipe(new).named("rl").group_size == 16
    assert main(["recipes", "convert", str(old), str(new)]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["recipes", "convert", str(old)]) == 0
    assert capsys.readouterr().out.strip() == new.read_text().strip()


@pytest.mark.parametrize(
    ("change", "ours"),
    [
        ("reinforce.steps=3", "'rl'"),
        ("warm_start.updates=3", "'sft'"),
        ("gate.margin=0", "'rl.require'"),
        ("pretrained=smollm2", "'model.load'"),
        ("tool_cost=0.1", "'tools.cost'"),
        ("lora.rank=8", "'model.lora'"),
        ("sft.updates=3", "'sft.steps'"),
        ("sft.lessons.tokens=3", "'sft.demonstrations'"),
        ("sft.demonstrations.tokens=3", "'sft.demonstrations.tokens_per_step'"),
        ("rl.problems=3", "'rl.prompts_per_step'"),
        ("rl.optimizer.rate=1e-3", "'rl.optimizer.learning_rate'"),
        ("rl.surrogate.cap=2.0", "'rl.surrogate.importance_cap'"),
        ("rl.learner.places=3", "those of the stage"),
        ("model.width=32", "'model.new.width'"),
    ],
)
def test_an_old_name_is_refused_with_the_new_one(change, ours):
    with pytest.raises(SettingsError, match="unknown setting") as caught:
        recipe_of({}, (change,))
    assert ours in str(caught.value)
