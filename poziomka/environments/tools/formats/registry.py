"""The formats of calls by their names."""

from collections.abc import Callable

from poziomka.core.errors import SettingsError, nearest
from poziomka.environments.tools.formats.call_format import CallFormat, Plain
from poziomka.environments.tools.formats.fenced_calls import Fenced, Gemma
from poziomka.environments.tools.formats.native import Hermes, Llama, Mistral

FORMATS: dict[str, Callable[[], CallFormat]] = {
    "plain": Plain,
    "spelled": lambda: Plain(spelled=True),
    "hermes": Hermes,
    "hermes:inside": lambda: Hermes(inside=True),
    "llama": Llama,
    "mistral": Mistral,
    "gemma": Gemma,
    "fenced": Fenced,
}
FAMILIES: tuple[CallFormat, ...] = (Mistral(), Hermes(), Llama())  # those with the most specific signs come first


def format_named(name: str) -> CallFormat:
    """Returns a format by its name.

    Raises:
        SettingsError: there is none of this name.
    """
    if name not in FORMATS:
        message = f"unknown format of calls {name!r}{nearest(name, FORMATS)}"
        raise SettingsError(message)
    return FORMATS[name]()


def format_of(told: str) -> str:
    """Returns the name of the format in which a chat template describes tools.

    Args:
        told: the template's source; "" for none.
    """
    return next((family.name for family in FAMILIES if any(sign in told for sign in family.signs)), "plain")
