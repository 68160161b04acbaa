"""Looks up call formats by name, and by chat template."""

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
    """Makes the call format with a name.

    Args:
        name: a key of FORMATS: "plain", "spelled", "hermes", "hermes:inside", "llama", "mistral", "gemma" or "fenced".

    Raises:
        SettingsError: no format has this name.
    """
    if name not in FORMATS:
        message = f"unknown format of calls {name!r}{nearest(name, FORMATS)}"
        raise SettingsError(message)
    return FORMATS[name]()


def format_of(told: str) -> str:
    """Returns the name of the call format that a chat template describes; "plain" if it describes none.

    Args:
        told: source of the template (Jinja); "" if the tokenizer has no template.
    """
    return next((family.name for family in FAMILIES if any(sign in told for sign in family.signs)), "plain")
