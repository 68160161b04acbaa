"""`poziomka settings`: lists the settings of a recipe, and of each kind of stage, with default, type and meaning."""

from poziomka.app.settings.aliases import ALIASES, settings_of
from poziomka.app.settings.recipe import STAGES, Recipe
from poziomka.core.errors import SettingsError, nearest
from poziomka.reports.words import NOTHING, brief


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
        value = "none" if each.default is None else brief(each.default) or NOTHING
        lines.append(f"{each.name} = {value}   {each.kind}{f', {each.range}' if each.range else ''}")
        lines += [f"    {each.about}"] if each.about else []
    return "\n".join(lines)
