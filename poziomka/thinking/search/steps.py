"""Steps: how a search divides a reply, and where it stops to divide it."""

from dataclasses import dataclass

from poziomka.core.errors import SettingsError
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.strategy import Strategy


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How a search divides a reply into steps.

    A step ends after one of the strings `stops`, after `tokens` tokens, or with the reply, whichever comes first. With
    an environment a step is a turn of the model with the session's reply, and `stops` and `tokens` are not used.

    Attributes:
        stops: strings after which a step ends; they are kept in the text.
        tokens: maximum number of tokens of a step; None for no maximum.
        depth: maximum number of steps of a reply, 1 or more. The last one is the whole rest of the reply, so a reply of
            one step is a reply without search.
        rest: strategy that samples the last step. A strategy with several branches has one answer, which is judged.

    Raises:
        SettingsError: a value is out of range, or there is neither a string nor a number of tokens to end a step.
    """

    stops: tuple[str, ...] = ("\n\n",)
    tokens: int | None = None
    depth: int = 40
    rest: Strategy = SINGLE_REPLY

    def __post_init__(self) -> None:
        """Raises SettingsError if a value is out of range, or if nothing ends a step."""
        demand("steps.depth", self.depth, "1 or more", holds=self.depth >= 1)
        demand("steps.tokens", self.tokens, "1 or more, or None", holds=self.tokens is None or self.tokens >= 1)
        stops: object = self.stops
        texts = isinstance(stops, tuple) and all(isinstance(stop, str) and stop for stop in stops)
        demand("steps.stops", stops, "a tuple of strings that are not empty", holds=texts)
        divides = bool(self.stops) or self.tokens is not None
        demand("steps.stops", self.stops, "at least one string if steps.tokens is None", holds=divides)


def demand(name: str, value: object, range_: str, *, holds: bool) -> None:
    """Raises SettingsError "`name` must be `range_`: received `value`" unless `holds`."""
    if not holds:
        message = f"{name} must be {range_}: received {value!r}"
        raise SettingsError(message)
