"""recipe.toml: the resolved settings of a run, and the check that a run is resumed with the same settings."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poziomka.core.errors import RunError, SettingsError
from poziomka.core.settings import read_toml, to_toml
from poziomka.runs.storage.schema import demand_schema

RECIPE = "recipe.toml"
EVALUATION = "evaluation"  # `kind` in the recipe.toml of a saved evaluation, which has no stages and no weights
SCHEMA, OLDER = 2, 1  # schema versions of recipe.toml: the present one, and the one that is still read
# Kinds of the stages that runs of schema 1 have; "learn" is that of `poziomka learn` in runs of any schema.
FIXED = {"warm_start": "sft", "reinforce": "rl", "learn": "offline"}


def as_toml(recipe: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Returns (contents of a recipe.toml, the recipe parsed back from them without `schema_version`).

    Args:
        recipe: settings as nested mappings of plain values; a `schema_version` is checked and may be absent.

    Raises:
        RunError: a value has no TOML type, or the recipe has another schema version.
    """
    values = {name: value for name, value in recipe.items() if name != "schema_version"}
    demand_schema(recipe.get("schema_version", SCHEMA), "the recipe", known=SCHEMA)
    try:
        data = to_toml({"schema_version": SCHEMA, **values}).encode()
        plain = tomllib.loads(data.decode())
    except (TypeError, ValueError, SettingsError) as error:
        message = f"the recipe cannot be written as TOML: {error}; use tables of plain values, and leave None out"
        raise RunError(message) from error
    del plain["schema_version"]
    return data, plain


def read_recipe(folder: Path) -> dict[str, Any]:
    """Returns the recipe of the run in `folder`, as nested plain values.

    `schema_version` is removed if it is the present version; a recipe of the older version 1 keeps it.

    Raises:
        RunError: there is no run, its recipe is damaged, or the recipe has an unknown schema version.
    """
    path = folder / RECIPE
    if not path.is_file():
        message = f"there is no run in {folder}: it holds no {RECIPE}; `poziomka runs` lists the runs there are"
        raise RunError(message)
    try:
        recipe = read_toml(path)
    except SettingsError as error:
        message = f"the run {folder} cannot be read: {error}"
        raise RunError(message) from error
    if recipe.get("schema_version") == OLDER:
        return recipe
    demand_schema(recipe.pop("schema_version", None), str(path), known=SCHEMA)
    return recipe


def demand_present(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Checks that the recipe of a run has the present schema version, so that the run can be continued.

    Args:
        folder: the run's folder, for the message.
        recipe: recipe from `read_recipe`.

    Raises:
        RunError: the recipe has the older schema version 1; such a run can only be read.
    """
    if recipe.get("schema_version") == OLDER:
        message = (
            f"the run {folder} has a recipe of schema_version {OLDER}: it can be read (report, show, evaluate, chat), "
            f"not continued; `poziomka recipes convert {folder / RECIPE} NEW.toml` writes a recipe for another run"
        )
        raise RunError(message)


def stage_kinds(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Returns the kind of each stage ("sft", "rl", …), by the stage's name in the run's metrics.

    Args:
        recipe: recipe from `read_recipe`.
    """
    stages = recipe.get("stage")
    tables = [each for each in stages if isinstance(each, Mapping)] if isinstance(stages, list) else []
    return FIXED | {str(each.get("name", each.get("kind"))): str(each.get("kind")) for each in tables}


def opens_thoughts(recipe: Mapping[str, Any]) -> bool:
    """Returns whether replies of a run begin with an open thought: those of a new model, or of one that `thinks`.

    Args:
        recipe: recipe from `read_recipe`.
    """
    model = recipe.get("model")
    table = model if isinstance(model, Mapping) else {}
    return table.get("load") is None or table.get("thinks") is not False


def demand_same(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Checks that a run is resumed with the settings that it was created with.

    Args:
        folder: the run's folder, for the message.
        there: settings in the folder's recipe.toml, as nested plain values.
        here: settings with which the run is now started, as nested plain values.

    Raises:
        RunError: the recipes differ; the message lists the settings.
    """
    old, new = _flat(there), _flat(here)
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name) or (name in old) != (name in new))
    if names:
        evaluation = here.get("kind") == EVALUATION
        names = [name.removeprefix("evaluate.") for name in names] if evaluation else names
        old, new = ({name.removeprefix("evaluate."): value for name, value in each.items()} for each in (old, new))
        shown = [f"{name} ({old.get(name, 'absent')!r} there, {new.get(name, 'absent')!r} here)" for name in names[:5]]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        message = (
            f"the {'evaluation' if evaluation else 'run'} {folder} was made with another "
            f"{'model, task or setting' if evaluation else 'recipe'}, differing in {', '.join(shown)}{more}: "
            "give another folder, or the same settings; nothing was changed"
        )
        raise RunError(message)


def _flat(values: Mapping[str, Any], table: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{table}{name}.")
        elif isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            for number, each in enumerate(value):  # stages, known by their names
                flat |= _flat(each, f"{each.get('name', f'{table}{name}[{number}]')}.")
        else:
            flat[f"{table}{name}"] = value
    return flat
