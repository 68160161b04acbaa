"""recipe.toml: the resolved settings of a run, and the check that a folder is resumed with the same ones."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poziomka.core.errors import RunError, SettingsError
from poziomka.core.settings import read_toml, to_toml
from poziomka.runs.storage.schema import SCHEMA, demand_schema

RECIPE = "recipe.toml"


def as_toml(recipe: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Returns the file of a recipe, and the values that are read back from it; both leave schema_version to the file.

    Raises:
        RunError: a value has no place in TOML, or the recipe was written by another version.
    """
    values = {name: value for name, value in recipe.items() if name != "schema_version"}
    demand_schema(recipe.get("schema_version", SCHEMA), "the recipe")
    try:
        data = to_toml({"schema_version": SCHEMA, **values}).encode()
        plain = tomllib.loads(data.decode())
    except (TypeError, ValueError, SettingsError) as error:
        message = f"the recipe cannot be written as TOML: {error}; use tables of plain values, and leave None out"
        raise RunError(message) from error
    del plain["schema_version"]
    return data, plain


def read_recipe(folder: Path) -> dict[str, Any]:
    """Returns the recipe of the run in `folder`, without its schema_version.

    Raises:
        RunError: there is no run, its recipe is damaged, or another version wrote it.
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
    demand_schema(recipe.pop("schema_version", None), str(path))
    return recipe


def demand_same(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuses to go on with a run under other settings.

    Raises:
        RunError: they differ; the message names the settings.
    """
    old, new = _flat(there), _flat(here)
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name) or (name in old) != (name in new))
    if names:
        shown = [f"{name} ({old.get(name, 'absent')!r} there, {new.get(name, 'absent')!r} here)" for name in names[:5]]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        message = (
            f"the run {folder} was made with another recipe, differing in {', '.join(shown)}{more}: "
            "give another folder, or the same settings; nothing was changed"
        )
        raise RunError(message)


def _flat(values: Mapping[str, Any], table: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{table}{name}.")
        else:
            flat[f"{table}{name}"] = value
    return flat
