"""Interfaces of interpreters for model-written code: isolated consoles that keep variables between calls and can fork.

    monty       an interpreter of Python's core in Rust: no files, no network, no processes, well under a millisecond
    sandlock    CPython with numpy in a process sandboxed by the kernel (Landlock, seccomp)
    docker      the same in a container without a network, by the name of an image

`Interpreter.isolation` describes the protection of each surface. Requesting an unavailable interpreter raises an error
with the reason and the alternatives: code never runs with less isolation than was requested. `registry` maps names to
interpreters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from poziomka.environments.sandbox.limits import Limits

CALL = Limits(seconds=2.0, memory=256 * 2**20, output=20_000, file=2**20, files=32, processes=1)


class Surface(StrEnum):
    """A resource that untrusted code could reach or exhaust."""

    FILES = "files"
    NETWORK = "network"
    PROCESSES = "processes"  # signals to and memory of other processes; the number of its own
    VARIABLES = "variables"  # environment variables
    MEMORY = "memory"
    TIME = "time"
    DISK = "disk"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Isolation:
    """Description of the isolation that an interpreter provides.

    Attributes:
        name: name of the interpreter.
        held: for each Surface, the mechanism that protects it, in a few words.
        not_protected: sentences, each about something that code can do despite the isolation.
    """

    name: str
    held: Mapping[Surface, str]
    not_protected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """Result of one call of a console.

    Attributes:
        text: printed output, then the `repr` of the last expression's value unless that is None.
        fault: error in one line ("ZeroDivisionError: division by zero"); "" if the code ended normally.
        lost: whether the variables are lost, so that the next call starts with none.
        seconds: wall-clock seconds of the call.
    """

    text: str
    fault: str = ""
    lost: bool = False
    seconds: float = 0.0


class Console(Protocol):
    """Interface of an interpreter session that keeps variables between calls.

    Methods raise EnvironmentFailure for failures of the sandbox, never for errors of the code.
    """

    def run(self, code: str) -> Output:
        """Runs code within the interpreter's limits and returns its output; an error of the code is in `Output.fault`.

        Args:
            code: Python source.
        """

    def fork(self) -> "Console":
        """Returns a console with a copy of the variables; later changes in one do not affect the other."""

    def close(self) -> None:
        """Ends the console and every process that it started; may be called twice."""


class Interpreter(Protocol):
    """Interface of an interpreter, which opens consoles in which model-written code runs.

    Attributes:
        name: name of the interpreter.
        limits: limits of each call.
    """

    name: str
    limits: Limits

    def isolation(self) -> Isolation:
        """Returns a description of the protection of each resource (files, network, memory, …) from the code."""

    def open(self) -> Console:
        """Returns a new console without variables; many may be open at a time."""

    def close(self) -> None:
        """Ends the processes that are kept ready for consoles; may be called twice."""
