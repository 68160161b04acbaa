"""Runs CPython with numpy in a process sandboxed by the kernel (the package sandlock: Landlock and seccomp).

A console is a process. It starts within a tenth of a second, a call takes a fraction of a millisecond, and between
calls the process is stopped. It can read Python's standard library, system libraries and numpy, and write to a folder
that is removed with it.
"""

import sys
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.sandbox.console_ipc import PipedConsole, ask, started
from poziomka.environments.sandbox.interpreter import CALL, Isolation, Surface
from poziomka.environments.sandbox.landlock_process import HeldProcess, Ready, loaded
from poziomka.environments.sandbox.limits import Limits

HELD = {
    Surface.FILES: "Landlock: it reads Python's library, the system's libraries and numpy, and writes its own folder; "
    "seccomp: no locks, leases or watches",
    Surface.NETWORK: "seccomp: no socket can be made",
    Surface.PROCESSES: "Landlock: signals and memory of its own only; seccomp: as many processes as the limit says",
    Surface.VARIABLES: "they are not passed on; /proc is closed",
    Surface.MEMORY: "a hard limit of its address space; sandlock counts where it may start processes, and kills them",
    Surface.TIME: "by our clock; then it is killed with all that it started, and between calls it is stopped",
    Surface.DISK: "a hard limit for each file; its folder is measured while it runs, and removed with it",
    Surface.OUTPUT: "cut at the limit; who writes on is killed",
}
NOT_PROTECTED = (
    "Code can learn whether a file exists outside its folder, its size, its owner and its times.",
    "Where the limits allow several processes, memory is bounded for each and not for all of them together.",
    "Code can read the clock, and learn what the kernel and the processor are.",
    "Code that runs at the same time can signal to other code: by load, by the disk's free space, by the page cache.",
    "Where the limits allow several processes, code can learn which numbers of processes are in use.",
    "Code can learn the names of packages that lie within Python's own library, and read none of them but numpy.",
    "It shares a kernel with us: a fault in the kernel can let it out.",
)
# actions that must fail in a sandboxed process, tried before any code runs
TRIED = replace(CALL, seconds=20.0)  # generous: nothing in the trial can hang, and the machine may be busy
TRIAL = """
import fcntl, os, socket
library, other = open(os.__file__), open(os.__file__)
def lock():
    fcntl.flock(library, fcntl.LOCK_EX)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    raise PermissionError
def find(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
def could(what):
    try:
        what()
    except OSError:
        return False
    return True
[name for name, what in {{
    "read a file outside": lambda: open({ours!r}),
    "write a file outside": lambda: open("/tmp/poziomka-trial", "w"),
    "make a socket": lambda: socket.socket(),
    "start a process": os.fork,
    "send a signal": lambda: os.kill(os.getppid(), 0),
    "change a mode": lambda: os.chmod(".", 0o777),
    "leave a lock on a file": lock,
    "hold a file that we open": lambda: fcntl.fcntl(library, fcntl.F_SETLEASE, fcntl.F_RDLCK),
    "watch a folder": lambda: fcntl.fcntl(os.open(os.path.dirname(os.__file__), 0), fcntl.F_NOTIFY, 1),
    "ask about a process": lambda: os.sched_getaffinity(os.getppid()),
    "find out which processes there are": lambda: find(2 ** 22 + 1),
}}.items() if could(what)]
"""


def reason(where: str = "") -> str:
    """Returns the reason why processes cannot be sandboxed on this machine; "" if they can.

    The first call tries forbidden actions in a sandboxed process; the result is cached.

    Args:
        where: must be "": unlike docker, this interpreter has no variants to choose from.
    """
    if where:
        return f"it has no kinds, and {where!r} was named"
    try:
        return _reason()
    except EnvironmentFailure as error:
        return str(error)


@cache
def _reason() -> str:
    """Returns the reason why processes cannot be sandboxed on this machine, cached; "" if they can.

    Raises:
        EnvironmentFailure: the check itself failed, on a busy machine for example; the next call repeats it.
    """
    if sys.platform != "linux":
        return f"Landlock and seccomp are of Linux, and this is {sys.platform}"
    if find_spec("sandlock") is None:
        return "sandlock is not installed: pip install 'poziomka[sandbox]'"
    try:
        sandlock = loaded()
    except (ImportError, OSError) as error:
        return f"sandlock cannot be loaded: {error}"
    has, needs = sandlock.landlock_abi_version(), sandlock.min_landlock_abi()
    if has < needs:
        found = "has no Landlock" if has < 1 else f"has Landlock ABI {has}"
        return f"the kernel {found}, and sandlock needs ABI {needs} (Linux 6.12)"
    held = HeldProcess(TRIED, 0)
    try:
        started(held)
        tried = ask(held, TRIAL.format(ours=str(Path(__file__).resolve())), TRIED)
    finally:
        held.end()
        held.free()
    if tried.text != "[]\n" or tried.fault:
        return f"a process that should be held is not: {tried.fault or f'it could {tried.text.strip()}'}"
    return ""


def interpreter(where: str = "", limits: Limits = CALL, seed: int = 0) -> "Sandlock":  # noqa: ARG001 it has no kinds
    """Returns an interpreter that runs CPython with numpy in processes sandboxed by the kernel.

    Args:
        where: unused: unlike docker, this interpreter has no variants to choose from.
        limits: limits of each call.
        seed: seed of Python's random numbers and of string hashing.
    """
    return Sandlock(limits, seed)


class Sandlock:
    """An Interpreter that runs CPython with numpy in processes sandboxed by the kernel, one for each console.

    Args:
        limits: limits of each call; those of memory, files and processes are set once, when a process starts.
        seed: seed of Python's random numbers and of string hashing.
        spare: number of processes kept ready for the next consoles, 10 MB each.
    """

    name = "sandlock"

    def __init__(self, limits: Limits = CALL, seed: int = 0, spare: int = 1) -> None:
        """Stores the settings; the first call of a console starts its process."""
        self.limits = limits
        self.seed = seed
        self._ready = Ready(lambda: HeldProcess(limits, seed), spare)

    def isolation(self) -> Isolation:
        """Returns a description of the protection of each resource (files, network, memory, …) from the code."""
        return Isolation(self.name, HELD, NOT_PROTECTED)

    def open(self) -> PipedConsole:
        """Returns a new console without variables; it gets a process at its first call."""
        return PipedConsole(self._ready.take, self.limits)

    def close(self) -> None:
        """Ends the processes that are kept ready; those of open consoles end when these are closed."""
        self._ready.close()
