"""`poziomka settings`: lists the settings of a recipe, and of each kind of stage, with default, type and meaning."""

import re

from poziomka.app.settings.aliases import ALIASES, settings_of
from poziomka.app.settings.recipe import STAGES, Recipe
from poziomka.core.errors import SettingsError, nearest
from poziomka.core.settings import to_toml


def list_settings(prefix: str = "") -> str:
    """Returns two lines for each setting: name, default, type and range, then its meaning.

    Args:
        prefix: prefix of the settings' names, or another library's name of a setting; "" for all.

    Raises:
        SettingsError: no setting's name has this prefix.
    """
    known = list(settings_of(Recipe(stage=tuple(made() for made in STAGES.values()))))
    found = [each for each in known if each.name.startswith(ALIASES.get(prefix, prefix))]
    if not found:
        names = {part for each in known for part in (each.name, each.name.rpartition(".")[0])} - {""}
        message = f"no setting begins with {prefix!r}{nearest(prefix, names)}"
        raise SettingsError(message)
    lines = []
    for each in found:
        value = "none" if each.default is None else to_toml({"x": each.default}).partition(" = ")[2].strip() or "{}"
        lines.append(f"{each.name} = {value}   {_type(each.kind)}{f', {each.range}' if each.range else ''}")
        lines += [f"    {each.about}"] if each.about else []
    return "\n".join(lines)


def _type(kind: str) -> str:
    """Returns a type hint in words: "tuple[int, ...] | None" as "list of int, or none"."""
    words = re.sub(r"tuple\[(\w+), \.\.\.\]", r"list of \1", kind)
    words = re.sub(r"Literal\[(.*?)\]", lambda found: "one of " + found[1].replace("'", ""), words)
    words = re.sub(r"collections\.abc\.Mapping\[.*\]", "table", words)
    return words.replace(" | None", ", or none")
