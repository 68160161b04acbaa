"""The comparison of stages that train through strategies: what follows from the figures of its cells."""

import runpy
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(RECIPES), *sys.path])
    return runpy.run_path(str(RECIPES / "thinking_rl.py"))


def seeds_of(study, gains):
    """Found figures of three seeds: an arm beats the first by these gains at every problem."""

    def of(value):
        values = [value] * study["PROBLEMS"]
        budgets = {str(most): values for most in study["BUDGETS"]}
        rest = {"flops": 1.0, "sampled_tokens": 1.0, "steps": 1, "rewards": [], "seconds": 1.0, "thinking_tokens": 1.0}
        measures = dict.fromkeys(study["MEASURES"][:3], values)
        return {**measures, "budgets": budgets, **rest}

    arms = [{"warm start": of(0.1), "plain": of(0.5), "vote": of(0.5 + gain)} for gain in gains]
    return [{"seed": number, "arms": each} for number, each in enumerate(arms)]


@pytest.mark.parametrize(
    ("gains", "told"), [([0.1, 0.12, 0.11], "yes"), ([-0.1, -0.12, -0.11], "worse"), ([0.1, -0.1, 0.05], "not shown")]
)
def test_the_answer_follows_from_the_interval_over_seeds(study, gains, told):
    assert told in study["answer"](seeds_of(study, gains), "vote")


def test_the_table_has_each_measure_and_the_figures_are_drawn(study, tmp_path):
    seeds = seeds_of(study, [0.1, 0.12, 0.11])
    table = study["table"](seeds, ["plain", "vote"])
    assert all(f"| {measure}: vote |" in table for measure in study["MEASURES"])
    study["draw"](seeds, ["plain", "vote"], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"strategies.png", "strategies.svg"}


def test_every_arm_is_a_change_of_the_recipe(study):
    path = RECIPES / "exact_change"
    for changes in study["read_toml"](path / "strategies" / "arms.toml").values():
        stage = study["read_recipe"](path / "recipe.toml", tuple(changes)).named("rl")
        assert stage.prompts_per_step * stage.group_size in (256, 32)
