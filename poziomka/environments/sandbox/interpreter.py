"""Where a model's code runs while it thinks: interpreters that keep state, hold what runs in them, and fork.

    monty       an interpreter of Python's core in Rust: no files, no network, no processes, well under a millisecond
    sandlock    CPython with numpy in a process that the kernel holds (Landlock, seccomp)
    docker      the same in a container without a network, by the name of an image

What an interpreter promises to hold, its `isolation` says surface by surface. One that is not there is refused with
the reason and what else there is: nothing ever runs with less than was asked for. `registry` knows their names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from poziomka.environments.sandbox.limits import Limits

CALL = Limits(seconds=2.0, memory=256 * 2**20, output=20_000, file=2**20, files=32, processes=1)


class Surface(StrEnum):
    """What code could reach for."""

    FILES = "files"
    NETWORK = "network"
    PROCESSES = "processes"  # ours: signals, memory; and how many of its own
    VARIABLES = "variables"  # of our environment
    MEMORY = "memory"
    TIME = "time"
    DISK = "disk"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Isolation:
    """What holds the code.

    Attributes:
        name: of the interpreter.
        held: for each surface, in a few words, by what it is held.
        not_protected: sentences: what code can do nevertheless.
    """

    name: str
    held: Mapping[Surface, str]
    not_protected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """What came of one call.

    Attributes:
        text: what the code printed, then the value of its last expression as `repr` writes it, unless that is None.
        fault: why it did not end in good order, in a line ("ZeroDivisionError: division by zero"); "" where it did.
        lost: whether the variables are gone with it, so that the next call begins anew.
        seconds: how long it took.
    """

    text: str
    fault: str = ""
    lost: bool = False
    seconds: float = 0.0


class Console(Protocol):
    """One interpreter's state, kept from call to call.

    EnvironmentFailure is raised for what we failed at, never for what the code did.
    """

    def run(self, code: str) -> Output:
        """Runs code within the interpreter's limits; its faults are in the output."""

    def fork(self) -> "Console":
        """Returns a console with the same variables; neither sees what the other does from now on."""

    def close(self) -> None:
        """Ends it and all that it left behind; may be called twice."""


class Interpreter(Protocol):
    """Opens consoles."""

    name: str
    limits: Limits  # of every call

    def isolation(self) -> Isolation:
        """Returns what holds the code."""

    def open(self) -> Console:
        """Returns a fresh console. Many may be open at a time."""

    def close(self) -> None:
        """Ends what is kept warm; may be called twice."""
