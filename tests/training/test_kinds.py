"""Settings that a recipe does not give depend on the kind of model."""

import pytest

from poziomka.core.settings import plain
from poziomka.training.aliases import settings_of
from poziomka.training.kinds import Kind
from poziomka.training.recipe import Recipe, recipe_of

pytestmark = pytest.mark.fault("C3")


def rates(recipe):
    return recipe.warm_start.learner.optimizer.rate, recipe.reinforce.learner.optimizer.rate


def test_each_kind_of_model_has_its_own_rates_and_updates():
    scratch = recipe_of({"task": "recurrence"})
    full = recipe_of({"task": "small_sums", "pretrained": "smollm2"})
    lora = recipe_of({"task": "small_sums", "pretrained": "smollm2", "lora": {}})
    assert rates(scratch) == (2e-3, 2e-4)
    assert rates(full) == (5e-5, 1e-5)
    assert rates(lora) == (2e-4, 1e-4)
    assert [each.warm_start.updates for each in (scratch, full, lora)] == [1200, 100, 100]


def test_what_a_recipe_gives_stands_whatever_the_kind():
    optimizer = {"learner": {"optimizer": {"rate": 3e-4}}}
    given = {"pretrained": "smollm2", "warm_start": {"updates": 7, **optimizer}}
    recipe = recipe_of(given, ("reinforce.learner.optimizer.rate=2e-6",))
    assert (recipe.warm_start.updates, rates(recipe)) == (7, (3e-4, 2e-6))


GIVEN = {
    Kind.SCRATCH: {"task": "recurrence"},
    Kind.FULL: {"task": "small_sums", "pretrained": "smollm2"},
    Kind.LORA: {"task": "small_sums", "pretrained": "smollm2", "lora": {}},
}


def leaves(values, table=""):
    """The names of all values in nested tables, and the values."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{table}{name}.")
        else:
            yield f"{table}{name}", value


@pytest.mark.parametrize("kind", Kind)
def test_a_value_that_is_given_leaves_every_other_as_it_is_for_the_kind(kind):
    recipe = recipe_of(GIVEN[kind])
    assert recipe.kind is kind
    for name, value in leaves(plain(recipe)):
        *tables, last = name.split(".")
        given = {last: value}
        for table in reversed(tables):
            given = {table: given}
        assert recipe_of(GIVEN[kind] | given) == recipe, name


@pytest.mark.parametrize(("kind", "course"), [(Kind.SCRATCH, (50, 0.6, 0.02)), (Kind.LORA, (5, 0.5, 0.05))])
def test_another_rate_of_the_warm_start_keeps_its_course(kind, course):
    recipe = recipe_of(GIVEN[kind], ("warm_start.learner.optimizer.rate=3e-4", "warm_start.learner.layout=shared"))
    optimizer = recipe.warm_start.learner.optimizer
    assert optimizer.rate == 3e-4
    assert (optimizer.warmup, optimizer.decay, optimizer.floor) == course


def test_what_is_turned_off_is_off_when_the_run_goes_on():
    off = [each.name for each in settings_of(Recipe()) if each.default is not None and "None" in each.kind]
    assert {"reinforce.budget", "reinforce.patience", "watchdog", "curriculum.drop_at"} <= {*off}
    recipe = recipe_of({}, [f"{name}=none" for name in off])
    assert recipe.reinforce.budget is None
    assert recipe_of(plain(recipe)) == recipe


def test_a_change_can_name_the_kind():
    assert rates(recipe_of({"task": "small_sums"}, ("pretrained=smollm2",))) == (5e-5, 1e-5)


def test_what_a_run_stores_is_resolved():
    recipe = recipe_of({"pretrained": "smollm2"})
    assert recipe_of(plain(recipe)) == recipe
    assert plain(recipe)["warm_start"]["learner"]["optimizer"]["rate"] == 5e-5
