"""Runs Python's core in an interpreter written in Rust (pydantic-monty), which reaches no files, network or processes.

A call takes a fraction of a millisecond. The code never runs in CPython: there is no module to import that touches the
machine, and no object graph that leads to one. It runs in worker processes, so that a crash of the interpreter itself
is contained. More consoles than workers may be open: the least recently used ones are parked as bytes.
"""

import os
import time
import weakref
from collections import OrderedDict
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.environments.sandbox.interpreter import CALL, Isolation, Output, Surface
from poziomka.environments.sandbox.limits import Limits

if TYPE_CHECKING:
    from types import ModuleType

    import pydantic_monty

WORKERS = 64  # processes with one console each, under a megabyte of their own; further consoles are parked
GRACE = 1.0  # seconds beyond the time limit after which a worker that does not stop by itself is killed
DEPTH = 500  # maximum recursion depth
NEVER = 2**31 - 1  # lookups that a console may make: no limit
# faults after which the interpreter's state must not be used, or its process is gone
ABORTED = ("TimeoutError: ", "MemoryError: memory limit exceeded", "MemoryError: the worker exceeded its memory limit")
TOO_LARGE = "MemoryError: the variables took too much memory to be kept from call to call"
NOT_PROTECTED = (
    "The interpreter is young and called experimental by its makers; its process is not held by the kernel.",
    "Code can read the clock.",
)
HELD = {
    Surface.FILES: "there is no file system",
    Surface.NETWORK: "there is no module that reaches it",
    Surface.PROCESSES: "there is no module that reaches them",
    Surface.VARIABLES: "they cannot be read",
    Surface.MEMORY: "counted by the interpreter",
    Surface.TIME: "counted by the interpreter; its process is killed a second later",
    Surface.DISK: "nothing can be written",
    Surface.OUTPUT: "counted by the interpreter",
}


def reason(where: str = "") -> str:
    """Returns the reason why the interpreter monty cannot be used; "" if it can.

    Args:
        where: must be "": unlike docker, this interpreter has no variants to choose from.
    """
    if where:
        return f"it has no kinds, and {where!r} was named"
    if find_spec("pydantic_monty") is None:
        return "pydantic-monty is not installed: pip install 'poziomka[sandbox]'"
    return ""


def interpreter(where: str = "", limits: Limits = CALL, seed: int = 0) -> "Monty":
    """Returns an interpreter that runs Python's core in Rust (pydantic-monty).

    Args:
        where: must be "": unlike docker, this interpreter has no variants to choose from.
        limits: limits of each call.
        seed: seed of the code's random numbers.

    Raises:
        SettingsError: `where` is not "".
    """
    if where:
        raise SettingsError(reason(where))
    return Monty(limits, seed)


class Monty:
    """An Interpreter that runs Python's core in Rust (pydantic-monty), without files, network and processes.

    Args:
        limits: limits of each call; those of files and processes are unused, since the code has neither.
        seed: seed of the code's random numbers.
        workers: number of processes with one console each; further consoles are parked as bytes, about 20 kB each.
    """

    name = "monty"

    def __init__(self, limits: Limits = CALL, seed: int = 0, workers: int = WORKERS) -> None:
        """Stores the settings; the first call of a console starts a worker process."""
        self.limits = limits
        self.seed = seed
        self.workers = workers
        self.held: OrderedDict[int, MontyConsole] = OrderedDict()  # consoles with a worker, least recently used first
        self._pool: pydantic_monty.Monty | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    def isolation(self) -> Isolation:
        """Returns a description of the protection of each resource (files, network, memory, …) from the code."""
        return Isolation(self.name, HELD, NOT_PROTECTED)

    def open(self) -> "MontyConsole":
        """Returns a new console without variables; it gets a worker process at its first call."""
        return MontyConsole(self)

    def close(self) -> None:
        """Ends the worker processes; may be called twice.

        A console that is still open starts without variables if it is used again.
        """
        for console in list(self.held.values()):
            console.drop()
        if self._finalizer is not None:
            self._finalizer()
        self._pool = None

    def session(self) -> "pydantic_monty.MontySession":
        """Returns a new session in a worker process, without variables.

        If no worker is free, the least recently used console is parked: its variables are kept as bytes, and its worker
        is used.

        Raises:
            EnvironmentFailure: no worker can be started.
        """
        pool = self._warm()
        while len(self.held) >= self.workers:
            next(iter(self.held.values())).park()
        session = pool.checkout(
            limits={
                "max_feed_duration_secs": self.limits.seconds,
                "max_memory": self.limits.memory,
                "max_recursion_depth": DEPTH,
                "max_suspensions": NEVER,
            },
            os_policy={"sleep": "zero", "random_start": {"seed": self.seed}},
        )
        try:
            session.__enter__()
        except (_library().MontyError, OSError, RuntimeError, TimeoutError) as error:
            message = f"monty cannot start a console: {error}"
            raise EnvironmentFailure(message) from error
        return session

    def _warm(self) -> "pydantic_monty.Monty":
        """Returns the pool of worker processes; starts it at the first call.

        Raises:
            EnvironmentFailure: the pool cannot be started, or the library was used before this process was forked.
        """
        if _STARTED.setdefault("in", os.getpid()) != os.getpid():
            message = (
                "monty was used before this process was forked, and its library would wait without end here: "
                "use it in the process that began, or in one that is started anew"
            )
            raise EnvironmentFailure(message)
        if self._pool is None:
            pool = _library().Monty(
                min_processes=1,
                max_processes=self.workers + 1,
                request_timeout=self.limits.seconds + 2 * GRACE,
                feed_duration_limit_grace=GRACE,
            )
            try:
                pool.__enter__()
            except (_library().MontyError, OSError, RuntimeError) as error:
                message = f"monty cannot start: {error}"
                raise EnvironmentFailure(message) from error
            self._pool = pool
            self._finalizer = weakref.finalize(self, _end, pool)
        return self._pool


@cache
def _library() -> "ModuleType":
    """Imports and returns pydantic_monty; MontyError is the base class of its errors."""
    import pydantic_monty  # noqa: PLC0415 an optional dependency of 10 MB

    return pydantic_monty


_STARTED: dict[str, int] = {}  # ID of the process in which the library's threads run


def _of_this_process() -> bool:
    """Whether the library may be called in this process: a fork has none of its threads."""
    return _STARTED.get("in") == os.getpid()


def _end(pool: "pydantic_monty.Monty") -> None:
    if _of_this_process():
        with suppress(Exception):  # the workers may have ended already
            pool.__exit__(None, None, None)


class _Printed:
    """Collects printed output up to a limit; stops code that prints more."""

    def __init__(self, most: int) -> None:
        self.text = ""
        self.over = False
        self._most = most

    def __call__(self, _: str, text: str) -> None:
        self.text += text[: self._most + 1 - len(self.text)]
        self.over = len(self.text) > self._most
        if self.over:
            raise RuntimeError


class MontyConsole:
    """A Console whose code runs in the Rust interpreter pydantic-monty.

    Args:
        interpreter: the interpreter, which has the workers and limits.
        state: snapshot of another console's variables; None: no variables.
    """

    def __init__(self, interpreter: Monty, state: bytes | None = None) -> None:
        """Stores the arguments; the first call takes a worker process."""
        self._interpreter = interpreter
        self._state = state  # snapshot of the variables while there is no session; None: none
        self._session: pydantic_monty.MontySession | None = None
        self._lost = ""  # fault if the variables were lost between two calls; the next call returns it

    def run(self, code: str) -> Output:
        """Runs code within the interpreter's limits and returns its output; an error of the code is in `Output.fault`.

        Args:
            code: Python source.

        Raises:
            EnvironmentFailure: no worker can be started.
        """
        session = self._held()
        if session is None:
            fault, self._lost = self._lost, ""
            return Output("", fault, lost=True)
        printed = _Printed(self._interpreter.limits.output)
        began = time.perf_counter()
        fault, lost = "", False
        text = ""
        try:
            value = session.feed_run(code, print_callback=printed)
            text = "" if value is None else _shown(value)
        except _library().MontyCrashedError as error:
            fault, lost = self._ran_long() if error.timed_out else "the interpreter crashed", True
        except _library().MontyError as error:
            fault = "" if printed.over else _words(error)
            lost = fault.startswith(ABORTED)
        except RuntimeError as error:  # of a session whose process is gone
            fault, lost = f"the interpreter crashed: {error}", True
        seconds = time.perf_counter() - began
        if lost:
            self.drop()
            self._state = None
            fault = self._ran_long() if fault.startswith("TimeoutError: ") else fault
        return self._output(printed.text + text, fault, lost=lost, seconds=seconds)

    def fork(self) -> "MontyConsole":
        """Returns a console with a copy of the variables, made by a snapshot.

        If the variables take too much memory for a snapshot, both consoles lose them, and the next call of each returns
        an error in `Output.fault`.
        """
        fork = MontyConsole(self._interpreter, self._snapshot())
        fork._lost = self._lost
        return fork

    def close(self) -> None:
        """Releases the worker process and drops the variables; may be called twice."""
        self.drop()
        self._state, self._lost = None, ""

    def park(self) -> None:
        """Releases the worker process and keeps the variables as a snapshot, which the next call loads."""
        self._state = self._snapshot()
        self.drop()

    def drop(self) -> None:
        """Releases the worker process without a snapshot; the variables in it are lost."""
        session, self._session = self._session, None
        self._interpreter.held.pop(id(self), None)
        if session is not None and _of_this_process():
            with suppress(Exception):  # the worker may have crashed
                session.__exit__(None, None, None)

    def _held(self) -> "pydantic_monty.MontySession | None":
        """Returns the session with the variables loaded; None if they were lost since the last call.

        Raises:
            EnvironmentFailure: no worker can be started.
        """
        if not self._lost and (self._session is None or not _of_this_process()):
            self._session = self._interpreter.session()
            self._load()
        if self._lost:
            return None
        self._interpreter.held[id(self)] = self
        self._interpreter.held.move_to_end(id(self))
        return self._session

    def _load(self) -> None:
        """Loads the variables of the snapshot into a fresh session."""
        state, self._state = self._state, None
        if state is None or self._session is None:
            return
        try:
            self._session.load_session(state)
        except (_library().MontyError, OSError, RuntimeError):
            self._forget()

    def _snapshot(self) -> bytes | None:
        """Returns the variables as bytes; if that fails, mostly for their size, this console loses them."""
        if self._session is None:
            return self._state
        try:
            return self._session.dump()
        except (_library().MontyError, OSError, RuntimeError):
            self._forget()
            return None

    def _forget(self) -> None:
        self.drop()
        self._state, self._lost = None, TOO_LARGE

    def _output(self, text: str, fault: str, *, lost: bool, seconds: float) -> Output:
        most = self._interpreter.limits.output
        if len(text) > most:
            text, fault = text[:most], fault or f"wrote more than {most} characters"
        return Output(text, fault, lost, seconds)

    def _ran_long(self) -> str:
        return f"ran longer than {self._interpreter.limits.seconds:g} s"


def _shown(value: object) -> str:
    try:
        return f"{value!r}\n"
    except (ValueError, RecursionError) as error:  # an integer with more digits than Python writes
        return f"{type(value).__name__} that cannot be written: {error}\n"


def _words(error: "pydantic_monty.MontyError") -> str:
    """Formats an error as "ValueError: message (line 3)"."""
    inner = error.exception()
    said = " ".join(str(error).split("\n"))[:300]
    name = type(inner).__name__
    text = said if said.startswith(name) else f"{name}: {said}" if said else name
    frames = error.traceback() if hasattr(error, "traceback") else []
    return f"{text} (line {frames[-1].line})" if frames else text
