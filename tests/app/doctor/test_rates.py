"""The doctor compares the learning rates with what is usual for the kind and size of a model."""

from dataclasses import replace

import pytest

from poziomka.app.doctor import Bench, Status
from poziomka.app.doctor.rates import rates
from poziomka.app.settings.kinds import DEFAULTS, USUAL, Kind, usual_rates
from poziomka.app.settings.recipe import recipe_of

pytestmark = pytest.mark.fault("C3")
LARGE = 135_000_000


class Sized:
    """A model of which only the number of parameters is known."""

    def __init__(self, parameters):
        self.parameters_count = parameters


@pytest.fixture
def examined(parts_of):
    """Returns what is found of the rates that changes of a recipe give, by name."""

    def examined(*changes, parameters=LARGE, **values):
        stages = [{"kind": "sft"}, {"kind": "rl"}]
        recipe = recipe_of({"model": {"load": "smollm2", **values}, "stage": stages}, changes)
        parts = replace(parts_of(), model=Sized(parameters), recipe=recipe)
        return {finding.name: finding for finding in rates(Bench(parts))}

    return examined


def test_rates_from_scratch_fail_for_a_pretrained_model_by_name_with_the_usual_range(examined):
    found = examined("sft.optimizer.learning_rate=2e-3", "rl.optimizer.learning_rate=2e-4")
    assert [finding.status for finding in found.values()] == [Status.FAIL, Status.FAIL]
    warm = found["sft rate"]
    assert warm.figure.startswith("0.002, where 5e-06 to 0.0002 is usual for full fine-tuning of 135")
    assert "lower sft.optimizer.learning_rate to 0.0002 or less" in warm.advice
    assert "lower rl.optimizer.learning_rate to 3e-05 or less" in found["rl rate"].advice


def test_a_rate_a_little_outside_is_a_warning(examined):
    assert examined("sft.optimizer.learning_rate=5e-4")["sft rate"].status is Status.WARN
    low = examined("sft.optimizer.learning_rate=1e-7")["sft rate"]
    assert low.status is Status.WARN
    assert "raise sft.optimizer.learning_rate to 5e-06 or more" in low.advice


def test_what_is_too_much_for_all_weights_is_usual_for_adapters(examined):
    change = "rl.optimizer.learning_rate=2e-4"
    assert examined(change, lora={})["rl rate"].status is Status.PASS
    assert examined(change)["rl rate"].status is Status.FAIL


def test_what_is_usual_for_a_small_model_is_too_much_for_a_large_one(examined):
    change = "sft.optimizer.learning_rate=2e-4"
    assert examined(change)["sft rate"].status is Status.PASS
    assert examined(change, parameters=7_000_000_000)["sft rate"].status is Status.WARN


def test_a_stage_without_a_step_is_not_compared(examined):
    assert set(examined("sft.steps=0")) == {"rl rate"}
    assert set(examined("rl.steps=0")) == {"sft rate"}


@pytest.mark.parametrize("kind", [Kind.FULL, Kind.LORA])
@pytest.mark.parametrize("parameters", [1_000, LARGE, 7_000_000_000])
def test_the_defaults_are_usual(kind, parameters):
    usual = usual_rates(kind, parameters)
    for stage in ("sft", "rl"):
        low, high = usual.of(stage)
        assert low <= DEFAULTS[kind][stage]["optimizer"]["learning_rate"] <= high


@pytest.mark.parametrize("kind", Kind)
def test_larger_models_never_take_higher_rates(kind):
    highest = [(rates.sft[1], rates.rl[1]) for _, rates in USUAL[kind]]
    assert highest == sorted(highest)
