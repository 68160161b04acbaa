"""The interpreters by their names."""

from collections.abc import Callable

from poziomka.core.errors import EnvironmentFailure, SettingsError, nearest
from poziomka.environments.sandbox import container, monty
from poziomka.environments.sandbox import sandlock_interpreter as sandlocked
from poziomka.environments.sandbox.interpreter import CALL, Interpreter
from poziomka.environments.sandbox.limits import Limits

# name: (what makes one, why one cannot be had here: "" where it can)
INTERPRETERS: dict[str, tuple[Callable[[str, Limits, int], Interpreter], Callable[[str], str]]] = {
    "monty": (monty.interpreter, monty.reason),
    "sandlock": (sandlocked.interpreter, sandlocked.reason),
    "docker": (container.interpreter, container.reason),
}


def interpreter_named(name: str, limits: Limits = CALL, seed: int = 0) -> Interpreter:
    """Returns the interpreter of a name: monty, sandlock, or docker:IMAGE.

    Args:
        name: see above.
        limits: of every call.
        seed: of Python's random numbers and of the order of sets of texts.

    Raises:
        SettingsError: no interpreter has this name.
        EnvironmentFailure: it cannot run here, and why; what else can.
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
    """Returns, by name, why an interpreter cannot be had here; "" for one that can."""
    return {name: reason("") for name, (_, reason) in INTERPRETERS.items()}
