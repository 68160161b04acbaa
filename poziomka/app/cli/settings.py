"""`poziomka settings`: lists the settings of a recipe, and of each kind of stage, with default, type and meaning."""

import re

from poziomka.app.settings.aliases import ALIASES, Setting, settings_of
from poziomka.app.settings.recipe import STAGES, Recipe
from poziomka.core.errors import SettingsError, nearest
from poziomka.core.settings import to_toml


def every_setting() -> list[Setting]:
    """Returns the settings of a recipe with one stage of each kind."""
    return list(settings_of(Recipe(stage=tuple(made() for made in STAGES.values()))))


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
    """Returns two lines for each setting of recipes: name, default, type and range, then its meaning.

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
    lines = []
    for each in found:
        lines.append(f"{each.name} = {value_of(each)}   {type_of(each)}{f', {each.range}' if each.range else ''}")
        lines += [f"    {each.about}"] if each.about else []
    return "\n".join(lines)
