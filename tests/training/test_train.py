"""A run's stages follow one another as its files say, whatever was lost of them."""

import copy

import pytest
import torch

from poziomka.core.errors import LearningError, RunError
from poziomka.core.settings import plain
from poziomka.runs import Run
from poziomka.training.doctor.examine import parts_of
from poziomka.training.recipe import recipe_of
from poziomka.training.train import Training, train

pytestmark = pytest.mark.slow

DIVERGENCE = {"divergence": {"kind": "reverse", "weight": 0.1}}


@pytest.fixture
def recipe():
    """A recipe from nothing that ends within seconds; guesses are sometimes right."""

    def recipe(**changes):
        values = {
            "name": "tiny",
            "threads": 1,
            "model": {"width": 32, "layers": 1, "heads": 2},
            "warm_start": {
                "updates": 24,
                "lessons": {"tokens": 200, "skill_share": 0.0, "direct_share": 1.0},
                "learner": {"optimizer": {"rate": 0.01, "warmup": 5, "decay": 0.5, "floor": 0.05}},
            },
            "gate": {"margin": -1.0, "problems": 10},
            "reinforce": {"steps": 3, "problems": 4, "attempts": 4, "tokens": 12, "budget": 8},
            "evaluate": {
                "budgets": [2, 8],
                "problems": 10,
                "attempts": 1,
                "votes": [1],
                "vote_problems": 10,
                "curve_problems": 10,
                "every": 100,
            },
        }
        changed = {name: values[name] | change for name, change in changes.items()}
        return recipe_of(values | changed)

    return recipe


def points(folder):
    """The steps at which the learning curve was measured."""
    return [line["step"] for line in Run.read(folder).metrics() if line["stage"] == "evaluate"]


# --------------------------------------------------------------------------------------------------- the last point
def test_the_curve_ends_where_the_steps_do(recipe, tmp_path):
    train(recipe(), tmp_path, keep_watch=False)
    assert points(tmp_path) == [24, 27]


def test_the_curve_ends_where_the_flops_are_spent(recipe, tmp_path):
    train(recipe(reinforce={"steps": 100, "flops": 1.0}), tmp_path, keep_watch=False)
    assert points(tmp_path) == [24, 25]


# --------------------------------------------------------------------------------------------------------- the gate
def test_a_gate_that_was_lost_is_measured_again(recipe, tmp_path):
    refusing = recipe(gate={"margin": 1.0})
    with pytest.raises(LearningError, match="the gate asks for"):
        train(refusing, tmp_path, keep_watch=False)
    before = Run.read(tmp_path).results("gate")
    (tmp_path / "results" / "gate.json").unlink()
    with pytest.raises(LearningError, match="the gate asks for"):
        train(refusing, tmp_path, keep_watch=False)
    assert Run.read(tmp_path).results("gate") == before
    assert points(tmp_path) == [24]


def test_a_gate_lost_after_it_was_passed_stops_nobody(recipe, tmp_path):
    train(recipe(), tmp_path, keep_watch=False)
    (tmp_path / "results" / "gate.json").unlink()
    train(recipe(), tmp_path, keep_watch=False)
    assert Run.read(tmp_path).latest().step == 27


# -------------------------------------------------------------------------------------------------------- the alarms
def test_held_out_accuracy_is_audited_and_what_was_watched_is_recorded(recipe, tmp_path):
    train(recipe(), tmp_path, keep_watch=False)
    run = Run.read(tmp_path)
    lines = [line for line in run.metrics() if line["stage"] == "evaluate"]
    assert [line["evaluate/audit_accuracy"] for line in lines] == [line["evaluate/accuracy"] for line in lines]
    assert "unearned reward, held out" in run.results("alarms")["watched"]
    assert "No alarm rang" in (tmp_path / "report.html").read_text()


# --------------------------------------------------------------------------------------------------- the reference
def same(one, two):
    return all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_a_divergence_is_to_what_the_warm_start_left(recipe, tmp_path):
    held = recipe(reinforce={"learner": DIVERGENCE})
    with Run.open(tmp_path, plain(held)) as run:
        training = Training(held, run, quiet=True)
        training.warm_start()
        left = copy.deepcopy(training.model)
        with torch.no_grad():
            training.model.embedding.weight.add_(1.0)  # as if reinforced
        reference = training.learner(held.reinforce.learner).reference
    assert same(reference, left)
    assert not same(reference, training.model)


def test_the_doctor_rehearses_with_the_reference_too(recipe):
    parts = parts_of(recipe(reinforce={"learner": DIVERGENCE}))
    assert same(parts.learner.reference, parts.model)
    assert parts.learner.reference is not parts.model


# ------------------------------------------------------------------------------------------------ a run from earlier
def test_a_run_that_is_older_than_a_setting_goes_on_with_its_default(recipe, tmp_path):
    train(recipe(), tmp_path, keep_watch=False)
    path = tmp_path / "recipe.toml"
    lines = path.read_text().splitlines(keepends=True)
    older = [line for line in lines if not line.startswith(("moments = ", "layout = "))]
    assert len(lines) - len(older) == 4, "both learners have both"
    path.write_text("".join(older))
    train(recipe(), tmp_path, keep_watch=False)
    assert path.read_text() == "".join(older)
    with pytest.raises(RunError, match=r"reinforce.learner.layout \('rows' there, 'shared' here\)"):
        train(recipe(reinforce={"learner": {"layout": "shared"}}), tmp_path, keep_watch=False)
