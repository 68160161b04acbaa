"""Settings that a recipe does not give depend on the kind of model."""

import copy

import pytest

from poziomka.app.preflight import notes_on
from poziomka.app.settings.aliases import settings_of
from poziomka.app.settings.kinds import STAGES, Kind
from poziomka.app.settings.recipe import Recipe, recipe_of
from poziomka.core.errors import SettingsError
from poziomka.core.settings import plain
from poziomka.tasks import task_named

pytestmark = pytest.mark.fault("C3")


def rates(recipe):
    return tuple(recipe.named(name).optimizer.learning_rate for name in ("sft", "rl"))


def test_each_kind_of_model_has_its_own_rates_and_updates():
    stages = {"stage": [{"kind": "sft"}, {"kind": "rl"}]}
    scratch, full, lora = (recipe_of(GIVEN[kind] | stages) for kind in Kind)
    assert rates(scratch) == (2e-3, 2e-4)
    assert rates(full) == (5e-5, 1e-5)
    assert rates(lora) == (2e-4, 1e-4)
    assert [each.named("sft").steps for each in (scratch, full, lora)] == [1200, 100, 100]


def test_what_a_recipe_gives_stands_whatever_the_kind():
    sft = {"kind": "sft", "steps": 7, "optimizer": {"learning_rate": 3e-4}}
    given = {"model": {"load": "smollm2"}, "stage": [sft, {"kind": "rl"}]}
    recipe = recipe_of(given, ("rl.optimizer.learning_rate=2e-6",))
    assert (recipe.named("sft").steps, rates(recipe)) == (7, (3e-4, 2e-6))


GIVEN = {
    Kind.SCRATCH: {"task": "recurrence"},
    Kind.FULL: {"task": "small_sums", "model": {"load": "smollm2"}},
    Kind.LORA: {"task": "small_sums", "model": {"load": "smollm2", "lora": {}}},
}


def leaves(values, path=()):
    """The paths of all values in nested tables and lists of tables, and the values."""
    for name, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


@pytest.mark.parametrize("kind", Kind)
def test_a_value_that_is_given_leaves_every_other_as_it_is_for_the_kind(kind):
    recipe = recipe_of(GIVEN[kind])
    assert recipe.kind is kind
    for path, value in leaves(plain(recipe)):
        given = table = copy.deepcopy({"stage": list(STAGES[kind])} | GIVEN[kind])
        for part in path[:-1]:
            table = table[part] if isinstance(table, list) else table.setdefault(part, {})
        table[path[-1]] = value
        assert recipe_of(given) == recipe, path


@pytest.mark.parametrize(("kind", "schedule"), [(Kind.SCRATCH, (50, 0.6, 0.02)), (Kind.LORA, (5, 0.5, 0.05))])
def test_another_learning_rate_of_sft_keeps_its_schedule(kind, schedule):
    given = GIVEN[kind] | {"stage": [{"kind": "sft"}]}
    optimizer = recipe_of(given, ("sft.optimizer.learning_rate=3e-4", "sft.layout=shared")).named("sft").optimizer
    assert optimizer.learning_rate == 3e-4
    assert (optimizer.warmup_steps, optimizer.decay_ratio, optimizer.min_lr_ratio) == schedule


def test_what_is_turned_off_is_off_when_the_run_goes_on():
    off = [each.name for each in settings_of(Recipe()) if each.default is not None and "None" in each.kind]
    off = [name for name in off if not name.startswith(("rl.require", "model."))]
    assert {"rl.max_thinking_tokens", "rl.patience", "watchdog", "rl.curriculum.drop_at"} <= {*off}
    recipe = recipe_of({}, [f"{name}=none" for name in off])
    assert recipe.named("rl").max_thinking_tokens is None
    assert recipe_of(plain(recipe)) == recipe


def test_a_change_can_name_the_kind():
    changes = ("model.load=smollm2", "rl.group_size=4")
    recipe = recipe_of({"task": "small_sums"}, changes)
    assert [(stage.kind, stage.optimizer.learning_rate, stage.group_size) for stage in recipe.stage] == [
        ("rl", 1e-5, 4)
    ]


def test_what_a_run_stores_is_resolved():
    recipe = recipe_of({"model": {"load": "smollm2"}})
    assert recipe_of(plain(recipe)) == recipe
    assert plain(recipe)["stage"][0]["optimizer"]["learning_rate"] == 1e-5


def test_a_loaded_model_answers_at_once_unless_it_thinks():
    def found(model):
        recipe = recipe_of({"model": {"load": "smollm2"} | model, "stage": [{"kind": "rl", "max_tokens": 100}]})
        return recipe.named("rl").max_thinking_tokens, recipe.evaluate.budgets, recipe.evaluate.vote_budget

    assert (found({}), found({"thinks": True})) == ((0, (0,), 0), (50, (50,), 50))


def test_thoughts_that_may_take_all_tokens_of_a_reply_are_noted():
    def noted(thinking_tokens, **model):
        stage = {"kind": "rl", "max_tokens": 64, "max_thinking_tokens": thinking_tokens}
        recipe = recipe_of({"model": {"load": "smollm2", **model}, "stage": [stage]})
        return any("leaves no token for an answer" in note for note in notes_on(recipe, task_named("small_sums")))

    assert [noted(64, thinks=True), noted(63, thinks=True), noted(64)] == [True, False, False]


@pytest.mark.parametrize(("stages", "every"), [([{"kind": "rl", "steps": 20}], 5), ([{"kind": "rl", "steps": 3}], 1)])
def test_a_loaded_model_is_evaluated_four_times(stages, every):
    assert recipe_of({"model": {"load": "smollm2"}, "stage": stages}).evaluate.every == every


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("rl.step=5", "unknown setting 'step' in --set.rl"),
        ("levels=1,3", r"--set.levels must be a list, written \[a, b\]: received '1,3'"),
        ("schema_version=1", "--set has schema_version 1"),
        ("schema_version=3", "--set has schema_version 3"),
    ],
)
def test_an_error_of_a_change_names_the_change_and_not_the_file(change, said):
    with pytest.raises(SettingsError, match=said):
        recipe_of({"task": "recurrence"}, (change,), "recipe.toml")


def test_an_error_of_the_file_names_the_file():
    with pytest.raises(SettingsError, match=r"unknown setting 'tasc' in recipe.toml"):
        recipe_of({"tasc": "recurrence"}, ("rl.steps=5",), "recipe.toml")


@pytest.mark.parametrize("name", ["problems", "vote_problems", "curve_problems"])
def test_an_evaluation_needs_one_problem(name):
    assert getattr(recipe_of({"evaluate": {name: 1}}).evaluate, name) == 1
    with pytest.raises(SettingsError, match=f"evaluate.{name}"):
        recipe_of({"evaluate": {name: 0}})
