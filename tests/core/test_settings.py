"""Settings are read, checked, changed by name, and written back equal."""

import dataclasses
import datetime as dt
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.errors import SettingsError
from poziomka.core.sampler import SamplingParams
from poziomka.core.settings import build, check, override, plain, read_toml, setting, to_toml


@dataclass(frozen=True, kw_only=True)
class Part:
    """A table."""

    kind: Literal["group", "batch"] = "group"
    rate: float = setting(0.1, "a rate", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of every kind."""

    name: str
    steps: int = setting(10, "how many", low=1)
    share: float = setting(0.5, "a share", high=0.5)
    free: float = setting(0.0, "any number")
    limit: int | None = None
    fast: bool = False
    stop: tuple[str, ...] = ()
    part: Part = field(default_factory=Part)
    parts: tuple[Part, ...] = ()
    facts: Mapping[str, int] = field(default_factory=dict)
    width: int | str = 8
    seed: Literal["clock", 0] = 0
    extra: Any = None


def refusal(**values):
    with pytest.raises(SettingsError) as caught:
        build(Recipe, {"name": "r", **values}, "recipe")
    return str(caught.value)


def test_values_become_settings():
    recipe = build(
        Recipe, {"name": "r", "steps": 3, "stop": ["a", "b"], "part": {"rate": 1}, "parts": [{"kind": "batch"}]}
    )
    assert recipe == Recipe(name="r", steps=3, stop=("a", "b"), part=Part(rate=1.0), parts=(Part(kind="batch"),))


def test_an_integer_is_a_float_where_one_is_wanted():
    assert isinstance(build(Part, {"rate": 1}).rate, float)


def test_settings_that_are_built_already_are_taken():
    assert build(Recipe, {"name": "r", "part": Part(rate=0.2)}).part.rate == 0.2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stps": 3}, "unknown setting 'stps' in recipe; did you mean 'steps'?"),
        ({"part": {"rat": 3}}, "unknown setting 'rat' in recipe.part; did you mean 'rate'?"),
        ({"steps": 0}, "recipe.steps must be at least 1: received 0"),
        ({"share": 0.6}, "recipe.share must be at most 0.5: received 0.6"),
        ({"part": {"rate": 2.0}}, "recipe.part.rate must be from 0.0 to 1.0: received 2.0"),
        ({"parts": [{}, {"rate": -1}]}, "recipe.parts[1].rate must be from 0.0 to 1.0: received -1.0"),
        ({"steps": "3"}, "recipe.steps must be int: received '3' (str)"),
        ({"steps": 3.0}, "recipe.steps must be int: received 3.0 (float)"),
        ({"steps": True}, "recipe.steps must be int: received True (bool)"),
        ({"fast": 1}, "recipe.fast must be bool: received 1 (int)"),
        ({"share": True}, "recipe.share must be float: received True (bool)"),
        ({"free": math.nan}, "recipe.free must be a number: received nan"),
        ({"limit": "none"}, "recipe.limit must be int: received 'none' (str)"),
        ({"width": 1.5}, "recipe.width must be int or str: received 1.5 (float)"),
        ({"stop": "abc"}, "recipe.stop must be a list, written [a, b]"),
        ({"stop": ["a", 1]}, "recipe.stop[1] must be str: received 1 (int)"),
        ({"facts": [1]}, "recipe.facts must be Mapping"),
        ({"part": 3}, "recipe.part must be a table of settings: received 3"),
        ({"part": {"kind": "grup"}}, "must be one of 'group', 'batch': received 'grup'; did you mean 'group'?"),
        ({"seed": "clok"}, "recipe.seed must be one of 'clock', 0: received 'clok'; did you mean 'clock'?"),
        ({"seed": 3}, "recipe.seed must be one of 'clock', 0: received 3"),
    ],
)
def test_a_wrong_value_is_answered_in_words(values, message):
    assert message in refusal(**values)


def test_a_setting_without_default_is_demanded():
    with pytest.raises(SettingsError, match="recipe lacks 'name'"):
        build(Recipe, {}, "recipe")


@pytest.mark.parametrize(
    "values",
    [
        {"limit": 3},
        {"limit": None},
        {"width": "wide"},
        {"width": 3},
        {"seed": "clock"},
        {"facts": {"a": 1}},
        {"extra": [object]},
        {"free": math.inf},
        {"fast": True},
    ],
)
def test_a_right_value_is_kept(values):
    recipe = build(Recipe, {"name": "r", **values})
    assert {name: getattr(recipe, name) for name in values} == values


def test_a_class_checks_itself_too():
    with pytest.raises(SettingsError, match=r"sampling\.top_p must be"):
        build(SamplingParams, {"top_p": 2.0})


def test_a_dataclass_may_be_absent():
    assert check(None, Part | None, "part") is None
    assert check({"rate": 0.5}, Part | None, "part") == Part(rate=0.5)


def test_a_file_is_read(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('name = "r"\n[part]\nrate = 0.5\n')
    assert read_toml(path) == {"name": "r", "part": {"rate": 0.5}}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"there is no file .*no\.toml; give the path of a recipe"):
        read_toml(tmp_path / "no.toml")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(SettingsError, match="cannot read"):
        read_toml(tmp_path)


@pytest.mark.parametrize(("content", "message"), [(b"name = ", "is not valid TOML"), (b"\xff\xfe", "cannot read")])
def test_a_file_that_is_no_toml_is_named(tmp_path, content, message):
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        read_toml(path)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ("steps=3", {"steps": 3}),
        ("part.rate = 0.5", {"part": {"kind": "group", "rate": 0.5}}),
        ("new.deep.name=x", {"new": {"deep": {"name": "x"}}}),
        ("name=two words", {"name": "two words"}),
        ("name='7'", {"name": "7"}),
        ("name=a=b", {"name": "a=b"}),
        ("limit=none", {"limit": None}),
        ("fast=true", {"fast": True}),
        ('stop=["a", "b"]', {"stop": ["a", "b"]}),
    ],
)
def test_a_change_is_written_name_value(change, changed):
    before = {"steps": 1, "part": {"kind": "group"}}
    assert override(before, [change]) == {**before, **changed}
    assert before == {"steps": 1, "part": {"kind": "group"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps", "a change is written name=value: received 'steps'"),
        ("=3", "a change is written name=value: received '=3'"),
        ("steps.more=3", "'steps' in 'steps.more=3' is a value, not a table"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(change, message):
    with pytest.raises(SettingsError, match=message):
        override({"steps": 1}, [change])


def test_dates_survive_a_change():
    day = dt.date(2026, 1, 2)
    assert override({"day": day}, ["steps=1"]) == {"day": day, "steps": 1}


def test_absent_values_are_left_out():
    recipe = Recipe(name="r", stop=("a",), parts=(Part(),))
    values = plain(recipe)
    assert "limit" not in values
    assert values["parts"] == [{"kind": "group", "rate": 0.1}]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS
TREES = st.recursive(
    VALUES | st.lists(VALUES | st.dictionaries(NAMES, VALUES, max_size=2), max_size=3),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, TREES, max_size=4))
def test_what_is_written_is_read_back_equal(values):
    assert tomllib.loads(to_toml(values)) == values


RECIPES = st.builds(
    Recipe,
    name=TEXTS,
    steps=st.integers(1, 10**6),
    share=st.floats(-1, 0.5),
    limit=st.none() | st.integers(),
    fast=st.booleans(),
    stop=st.lists(TEXTS, max_size=3).map(tuple),
    part=st.builds(Part, kind=st.sampled_from(["group", "batch"]), rate=st.floats(0, 1)),
    parts=st.lists(st.builds(Part, rate=st.floats(0, 1)), max_size=2).map(tuple),
    facts=st.dictionaries(NAMES, st.integers(), max_size=2),
    width=st.integers() | TEXTS,
)


@given(RECIPES)
def test_settings_survive_the_file(recipe):
    assert build(Recipe, tomllib.loads(to_toml(plain(recipe)))) == recipe


@dataclass(frozen=True, kw_only=True)
class Nested:
    """Settings whose parts have other defaults than their classes, and values that may be turned off."""

    quick: Part = field(default_factory=lambda: Part(kind="batch", rate=0.7))
    patience: int | None = 20
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Deeper:
    """Settings whose default differs from the class two tables down."""

    nested: Nested = field(default_factory=lambda: Nested(quick=Part(kind="batch", rate=0.9), patience=3))


@pytest.mark.fault("C3")
def test_a_table_changes_only_the_values_that_it_names():
    assert build(Nested, {"quick": {"rate": 0.2}}).quick == Part(kind="batch", rate=0.2)
    assert build(Nested, {"quick": {}}) == Nested()
    deeper = build(Deeper, {"nested": {"quick": {"kind": "group"}}})
    assert deeper.nested == Nested(quick=Part(kind="group", rate=0.9), patience=3)
    assert build(Nested, {"quick": Part(rate=0.2)}).quick == Part(rate=0.2)


@pytest.mark.fault("C3")
def test_what_is_turned_off_stays_so_in_the_file():
    off = Nested(patience=None)
    assert plain(off) == {"quick": {"kind": "batch", "rate": 0.7}, "patience": "none"}
    assert build(Nested, tomllib.loads(to_toml(plain(off)))) == off
    assert build(Nested, override(plain(Nested()), ("patience=none",))) == off


def test_the_text_is_readable():
    text = to_toml({"name": "r", "odd name": 1, "part": {"rate": 0.5, "deep": {"on": True}}})
    assert text == 'name = "r"\n"odd name" = 1\n\n[part]\nrate = 0.5\n\n[part.deep]\non = true\n'


def test_a_setting_says_what_it_is_about():
    (rate,) = [item for item in dataclasses.fields(Part) if item.name == "rate"]
    assert rate.metadata == {"about": "a rate", "low": 0.0, "high": 1.0}
