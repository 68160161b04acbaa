"""Looks up interpreters by name."""

from collections.abc import Callable

from poziomka.core.errors import EnvironmentFailure, SettingsError, nearest
from poziomka.environments.sandbox import container, monty
from poziomka.environments.sandbox import sandlock_interpreter as sandlocked
from poziomka.environments.sandbox.interpreter import CALL, Interpreter
from poziomka.environments.sandbox.limits import Limits

# name: (factory, function that returns the reason why it is unavailable, or "")
INTERPRETERS: dict[str, tuple[Callable[[str, Limits, int], Interpreter], Callable[[str], str]]] = {
    "monty": (monty.interpreter, monty.reason),
    "sandlock": (sandlocked.interpreter, sandlocked.reason),
    "docker": (container.interpreter, container.reason),
}


def interpreter_named(name: str, limits: Limits = CALL, seed: int = 0) -> Interpreter:
    """Returns the interpreter with a name, if it can run on this machine.

    Args:
        name: "monty", "sandlock", or "docker:IMAGE".
        limits: limits of each call.
        seed: seed of Python's random numbers and of string hashing.

    Raises:
        SettingsError: no interpreter has this name.
        EnvironmentFailure: it cannot run on this machine; the message has the reason and the alternatives.
    """
    kind, _, where = name.partition(":")
    if kind not in INTERPRETERS:
        message = f"unknown interpreter {name!r}{nearest(kind, INTERPRETERS)}"
        raise SettingsError(message)
    make, reason = INTERPRETERS[kind]
    why = reason(where)
    if why:
        others = [other for other, absent in reasons().items() if not absent and other != kind]
        instead = f"name {' or '.join(others)} instead" if others else "no other interpreter is here either"
        message = f"code cannot run in {name!r} here: {why}; {instead}"
        raise EnvironmentFailure(message)
    return make(where, limits, seed)


def reasons() -> dict[str, str]:
    """Returns, for the name of each interpreter, the reason why it cannot run on this machine; "" if it can."""
    return {name: reason("") for name, (_, reason) in INTERPRETERS.items()}
