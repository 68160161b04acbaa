"""Settings that a recipe does not give depend on the kind of model."""

import pytest

from poziomka.app.settings.recipe import recipe_of
from poziomka.core.settings import plain

pytestmark = pytest.mark.fault("C3")


def rates(recipe):
    return tuple(recipe.named(name).optimizer.learning_rate for name in ("sft", "rl"))


def test_each_kind_of_model_has_its_own_rates_and_updates():
    scratch = recipe_of({"task": "recurrence"})
    full = recipe_of({"task": "small_sums", "model": {"load": "smollm2"}})
    lora = recipe_of({"task": "small_sums", "model": {"load": "smollm2", "lora": {}}})
    assert rates(scratch) == (2e-3, 2e-4)
    assert rates(full) == (5e-5, 1e-5)
    assert rates(lora) == (2e-4, 1e-4)
    assert [each.named("sft").steps for each in (scratch, full, lora)] == [1200, 100, 100]


def test_what_a_recipe_gives_stands_whatever_the_kind():
    sft = {"kind": "sft", "steps": 7, "optimizer": {"learning_rate": 3e-4}}
    given = {"model": {"load": "smollm2"}, "stage": [sft, {"kind": "rl"}]}
    recipe = recipe_of(given, ("rl.optimizer.learning_rate=2e-6",))
    assert (recipe.named("sft").steps, rates(recipe)) == (7, (3e-4, 2e-6))


def test_a_change_can_name_the_kind():
    assert rates(recipe_of({"task": "small_sums"}, ("model.load=smollm2",))) == (5e-5, 1e-5)


def test_what_a_run_stores_is_resolved():
    recipe = recipe_of({"model": {"load": "smollm2"}})
    assert recipe_of(plain(recipe)) == recipe
    assert plain(recipe)["stage"][0]["optimizer"]["learning_rate"] == 5e-5
