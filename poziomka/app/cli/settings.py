"""`poziomka settings`: lists the settings of a recipe, and of each kind of stage, with default, type and meaning."""

from poziomka.app.settings.aliases import ALIASES, Setting, settings_of
from poziomka.app.settings.recipe import STAGES, Recipe
from poziomka.core.errors import SettingsError, nearest
from poziomka.reports.words import NOTHING, brief


def every_setting() -> list[Setting]:
    """Returns the settings of a recipe with one stage of each kind."""
    return list(settings_of(Recipe(stage=tuple(made() for made in STAGES.values()))))


def value_of(setting: Setting) -> str:
    """Returns the default value of a setting as text."""
    return "none" if setting.default is None else brief(setting.default) or NOTHING


def list_settings(prefix: str = "") -> str:
    """Returns two lines for each setting: name, default, type and range, then its meaning.

    Args:
        prefix: prefix of the settings' names, or another library's name of a setting; "" for all.

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
        lines.append(f"{each.name} = {value_of(each)}   {each.kind}{f', {each.range}' if each.range else ''}")
        lines += [f"    {each.about}"] if each.about else []
    return "\n".join(lines)
