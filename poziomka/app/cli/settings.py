"""`poziomka settings`: lists the settings of a recipe, and of each kind of stage, with default, type and meaning."""

import re
from typing import Any

from poziomka.app.settings.aliases import ALIASES, Setting, settings_of
from poziomka.app.settings.recipe import STAGES, recipe_of
from poziomka.core.errors import SettingsError, nearest
from poziomka.core.settings import to_toml

DERIVED = {"evaluate.every": "a quarter of the last stage's steps for a loaded model"}
LOADED = "the name of any model"  # its files are not read


def every_setting(**model: Any) -> list[Setting]:
    """Returns the settings of a recipe with one stage of each kind, with their defaults for a model.

    Args:
        model: settings of the model; none: a new model.
    """
    return list(settings_of(recipe_of({"model": model, "stage": [{"kind": kind} for kind in STAGES]})))


def of_loaded_models() -> dict[str, str]:
    """Returns the defaults for loaded models by a setting's name, in words, where they are not those of a new model."""
    kinds: list[dict[str, Any]] = [{}, {"load": LOADED}, {"load": LOADED, "thinks": True}, {"load": LOADED, "lora": {}}]
    found = {}
    for new, loaded, thinking, lora in zip(*(every_setting(**model) for model in kinds), strict=True):
        told = [] if new.default == loaded.default else [f"{value_of(loaded)} for a loaded model"]
        told += [] if thinking.default == loaded.default else [f"{value_of(thinking)} for one that thinks"]
        told += [] if lora.default == loaded.default else [f"{value_of(lora)} with LoRA"]
        if told and loaded.default != LOADED and new.name != "model.thinks":
            found[new.name] = ", ".join(told)
    return found | DERIVED


def value_of(setting: Setting) -> str:
    """Returns the default value of a setting as TOML; "none" for None."""
    if setting.default is None:
        return "none"
    return to_toml({"x": setting.default}).partition(" = ")[2].strip() or "{}"  # an empty table has no line


def type_of(setting: Setting) -> str:
    """Returns the type of a setting in words: "tuple[int, ...] | None" as "list of int, or none"."""
    words = re.sub(r"tuple\[(\w+), \.\.\.\]", r"list of \1", setting.kind)
    words = re.sub(r"Literal\[(.*?)\]", lambda found: "one of " + found[1].replace("'", ""), words)
    words = re.sub(r"collections\.abc\.Mapping\[.*\]", "table", words)
    return words.replace(" | None", ", or none")


def list_settings(prefix: str = "") -> str:
    """Returns lines for each setting of recipes: name, default, type and range, its meaning, defaults by kind of model.

    Args:
        prefix: prefix of the settings' names, or a setting's name in another library, such as "lr"; "" lists all.

    Raises:
        SettingsError: no setting's name has this prefix.
    """
    known = every_setting()
    found = [each for each in known if each.name.startswith(ALIASES.get(prefix, prefix))]
    if not found:
        names = {part for each in known for part in (each.name, each.name.rpartition(".")[0])} - {""}
        message = f"no setting begins with {prefix!r}{nearest(prefix, names)}"
        raise SettingsError(message)
    lines, others = [], of_loaded_models()
    for each in found:
        lines.append(f"{each.name} = {value_of(each)}   {type_of(each)}{f', {each.range}' if each.range else ''}")
        lines += [f"    {each.about}"] if each.about else []
        lines += [f"    default: {others[each.name]}"] if each.name in others else []
    return "\n".join(lines)
