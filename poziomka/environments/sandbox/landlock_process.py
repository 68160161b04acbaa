"""Starts Python interpreters sandboxed by the kernel: Landlock for files and signals, seccomp for system calls.

The package sandlock applies both before the interpreter starts, and supervises the system calls that need a decision;
`worker` then limits the process further from inside and drops its remaining privileges.
"""

import atexit
import marshal
import os
import signal
import site
import sys
import sysconfig
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from poziomka.core.errors import EnvironmentFailure
from poziomka.core.safety.processes import descendants
from poziomka.environments.sandbox.limits import Ended, Limits
from poziomka.environments.sandbox.scratch import Scratch, sweep
from poziomka.environments.sandbox.worker import worker
from poziomka.environments.sandbox.worker.seccomp import filter_words
from poziomka.environments.sandbox.worker.wire_format import is_readable

if TYPE_CHECKING:
    from types import ModuleType

FLAGS = ("-s", "-S", "-P", "-B", "-X", "utf8")  # like -I, but PYTHONHASHSEED is read
FILES = 64  # limit on the size of all files together, as a multiple of the limit on one
CODE = Path(worker.__file__).read_text(encoding="utf-8")
BEGIN = "import sys, marshal\nexec(marshal.loads(bytes.fromhex(sys.argv.pop(1))))"
PACKAGES = ("numpy",)  # packages that code may import besides the standard library
CONSOLE = ("role=console",)
LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/urandom", "/dev/null")
# in addition to sandlock's own list: calls that Landlock does not restrict, or that reach processes of the same user
DENIED = (
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat"),
    *("utime", "utimes", "utimensat", "futimesat", "mknod", "mknodat"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
    *("memfd_create", "memfd_secret", "mq_open", "mq_unlink", "keyctl", "add_key", "request_key"),
    *("inotify_init", "inotify_init1", "inotify_add_watch", "fanotify_init", "fanotify_mark"),
    *("name_to_handle_at", "open_by_handle_at", "userfaultfd", "perf_event_open", "bpf"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_open", "pidfd_getfd"),
    *("pidfd_send_signal", "migrate_pages", "move_pages", "mount", "umount2", "unshare", "setns", "personality"),
    *("move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "pivot_root"),
    *("setpriority", "ioprio_set", "sched_setscheduler", "sched_setparam"),
)


def loaded() -> "ModuleType":
    """Imports and returns the package sandlock.

    Raises:
        ImportError: it is not installed.
        OSError: its library does not load.
    """
    import sandlock  # type: ignore[import-untyped]  # noqa: PLC0415 an extra without types; its library takes 20 MB

    package: ModuleType = sandlock
    return package


def command() -> str:
    """Returns the path of the Python executable, with the links of a virtual environment resolved."""
    return os.path.realpath(sys.executable)


def packages() -> dict[str, str]:
    """Returns the folder of each package that sandboxed code may import (PACKAGES: numpy), by package name."""
    found = {name: find_spec(name) for name in PACKAGES}
    return {name: str(Path(spec.origin).parent) for name, spec in found.items() if spec is not None and spec.origin}


@cache
def readable() -> tuple[str, ...]:
    """Returns the paths that a sandboxed interpreter must read: Python's standard library, system libraries, numpy."""
    again = str(Path(sys.base_exec_prefix) / sys.platlibdir)
    beside = [path for folder in packages().values() for path in (folder, f"{folder}.libs")]
    paths = (*LIBRARIES, command(), sysconfig.get_path("stdlib"), again, *beside)
    return tuple(dict.fromkeys(os.path.realpath(path) for path in paths if Path(path).exists()))


@cache
def opened() -> dict[str, str]:
    """Returns the arguments of `worker.py` with the paths that it makes accessible, one path a line in each value.

    The names are "read.folders", "read.files" and "read.listed". Folders of installed packages other than PACKAGES are
    excluded, and so is this package's own.
    """
    lib = sysconfig.get_path("stdlib")
    others = [
        *site.getsitepackages(),
        f"{lib}/site-packages",
        f"{lib}/dist-packages",
        str(Path(__file__).parents[2]),
    ]
    closed = [Path(os.path.realpath(path)) for path in others]
    paths = [found for path in readable() for found in split(Path(path), closed)]
    found = {
        "read.folders": [path for path in paths if path.is_dir()],
        "read.files": [path for path in paths if not path.is_dir()],
        "read.listed": [Path(lib)],  # an import lists this folder
    }
    return {name: "\n".join(map(str, held)) for name, held in found.items()}


def split(path: Path, closed: Sequence[Path]) -> list[Path]:
    """Returns the parts of a path that are outside the closed folders; the path itself if it contains none of them.

    A package inside a closed folder stays accessible if `path` is its own path.
    """
    if path in closed:
        return []
    if not any(other.is_relative_to(path) for other in closed):
        return [path]
    return [found for entry in sorted(path.iterdir()) if not entry.is_symlink() for found in split(entry, closed)]


def asked(limits: Limits, seed: int, folders: Mapping[str, str]) -> list[str]:
    """Returns command-line arguments NAME=VALUE of `worker.py`: limits, seed, folders of packages by name, filters."""
    numbers = {
        "seed": seed,
        "memory": limits.memory,
        "file": limits.file,
        "files": limits.files,
        "processes": limits.processes,
    }
    several = limits.processes > 1
    return [
        *(f"{name}={value}" for name, value in numbers.items()),
        *(f"package.{n}={f}" for n, f in folders.items()),
        *filter_words(processes=several, threads=several),
    ]


@cache
def coded(module: "ModuleType") -> str:
    """Returns the compiled code of a module, marshalled and in hex, for a sandboxed process to load.

    Compiling it in each process would take longer than everything else at its start.
    """
    path = Path(str(module.__file__))
    return marshal.dumps(compile(path.read_text(encoding="utf-8"), f"<{path.stem}>", "exec", dont_inherit=True)).hex()


def spent(process: int) -> tuple[float, float]:
    """Returns CPU seconds of all threads of a process ID, and seconds that its first thread waited for a processor."""
    with suppress(OSError, ValueError, IndexError):
        waited = Path(f"/proc/{process}/schedstat").read_text("ascii").split()[1]
        return time.clock_gettime(~process << 3 | 2), int(waited) * 1e-9  # the process's CPU clock
    return 0.0, 0.0


class HeldProcess:
    """Starts a Python interpreter sandboxed by the kernel, with a temporary folder of its own (implements Held).

    Args:
        limits: limits of the process; `processes` also counts those that it starts.
        seed: seed of Python's random numbers and of string hashing.
        more: further arguments NAME=VALUE of `worker.py`, at least its role ("role=console" or "role=nest").

    Raises:
        EnvironmentFailure: the process cannot be started.
    """

    def __init__(self, limits: Limits, seed: int, more: Sequence[str] = CONSOLE) -> None:
        """Starts the process, without waiting until it is set up."""
        self.forks = "role=console" in more  # the code in it may start processes
        self.limits = limits
        self.scratch = Scratch()
        self.owner = os.getpid()
        words = [
            command(),
            *FLAGS,
            "-c",
            BEGIN,
            coded(worker),
            *asked(limits, seed, packages()),
            *(f"{n}={p}" for n, p in opened().items()),
            *more,
        ]
        try:
            self.process = _starter().submit(_popen, self._sandbox(seed), words).result()
            self.pid = self.process.pid or 0
            self.signalling = os.pidfd_open(self.pid)  # readable once the process has ended
        except BaseException as error:
            self.scratch.discard()
            if not isinstance(error, Exception):
                raise
            message = f"sandlock cannot start a process: {type(error).__name__}: {error}"
            raise EnvironmentFailure(message) from error
        _LIVE.add(self)
        pipes = (self.process.stdin, self.process.stdout, self.process.stderr)
        self.asking, self.answering, self.writing = (pipe.fileno() for pipe in pipes if pipe is not None)
        self._paused = False
        self._before = (0.0, 0.0)
        self._ended: str | None = None

    def _sandbox(self, seed: int) -> Any:
        limits = self.limits
        # a single process has its own limit and gets a MemoryError; sandlock counts several together and kills them
        together = limits.memory * 3 // 2 if limits.processes > 1 and self.forks else None
        own = [self.scratch.path]
        return loaded().Sandbox(
            fs_readable=[*readable(), *(own if limits.file == 0 else [])],
            fs_writable=[*(own if limits.file else []), os.devnull],
            cwd=self.scratch.path,
            clean_env=True,
            env={"PATH": "/usr/bin", "HOME": "/", "USER": "code", "PYTHONHASHSEED": str(seed), **ONE_THREAD},
            extra_deny_syscalls=DENIED,
            max_processes=limits.processes,
            max_memory=together,
            no_coredump=True,
            name=f"code-{token_hex(6)}",  # the host name inside the sandbox
        )

    # ------------------------------------------------------------------------------------------------ while it runs
    def resume(self) -> None:
        """Resumes the process after `pause`; `starved` measures processor time from here."""
        self._before = self._spent()
        if self._paused:
            self._paused = False
            self._signal(signal.SIGCONT)

    def pause(self) -> None:
        """Stops the process and all that it started until `resume`, so that nothing runs between two calls."""
        self._paused = True
        self._signal(signal.SIGSTOP)

    def over(self, seconds: float) -> bool:
        """Waits up to `seconds` for the process to exit by itself; returns whether it has."""
        return is_readable(self.signalling, seconds)

    def excess(self) -> str:
        """Returns an error message if the process's folder exceeds its size limit; "" if it does not."""
        most = FILES * self.limits.file
        return f"wrote more than {most} bytes, or too many files, into its folder" if self._full(most) else ""

    def _full(self, most: int) -> bool:
        return self.scratch.overfull(most + 2**16)  # the folders themselves take space

    def starved(self, seconds: float) -> str:
        """Returns an error message if lack of processor time explains that a call took `seconds`; "" otherwise."""
        used, waited = (after - before for after, before in zip(self._spent(), self._before, strict=True))
        if self.limits.processes > 1:  # waiting while its own children run is not starvation
            used += sum(spent(process)[0] for process in descendants(self.pid))
        if not Ended(used=used, waited=waited).starved(seconds):
            return ""
        return (
            f"the machine is too busy to run code: in {seconds:.3g} s it was given {used:.1f} s of a processor and "
            f"waited {waited:.1f} s for one; run less beside it"
        )

    def _spent(self) -> tuple[float, float]:
        return spent(self.pid)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    # ----------------------------------------------------------------------------------------------------- its end
    def end(self, patience: float = 0.0) -> str:
        """Kills the process and all that it started, and removes its folder; returns its exit status in words.

        Its output can still be read until `free`. May be called twice.

        Args:
            patience: seconds to wait first for the process to exit by itself.
        """
        if self._ended is not None or self.owner != os.getpid():
            return self._ended or ""
        self._ended = ""
        _LIVE.discard(self)
        if patience > 0:
            self.over(patience)
        self.process.kill()
        result = self.process.wait(timeout=WAIT)
        if result.exit_code >= 0:
            self._ended = f"the process ended with status {result.exit_code}"
        else:
            self._ended = f"the process was ended by signal {result.signal}" if result.signal > 0 else KILLED
        self.scratch.discard()
        return self._ended

    def free(self) -> None:
        """Closes the pipes of the process; to be called after `end`."""
        with suppress(OSError):
            os.close(self.signalling)
            self.signalling = -1
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None and not pipe.closed:
                with suppress(OSError):
                    pipe.close()


class Ready:
    """A pool of sandboxed processes that are started before they are needed; each one taken is replaced.

    Args:
        begin: function that starts a process.
        spare: number of processes to keep ready; 0: none.
    """

    def __init__(self, begin: Callable[[], HeldProcess], spare: int = 1) -> None:
        """Starts no process; the first `take` does."""
        self._begin = begin
        self._spare = spare
        self._waiting: list[HeldProcess] = []  # pop and append are atomic, so no lock is needed
        self._finalizer = weakref.finalize(self, _end_these, self._waiting)

    def take(self) -> HeldProcess:
        """Takes a process from the pool, or starts one; its set-up may still be in progress.

        Raises:
            EnvironmentFailure: no process can be started.
        """
        taken = None
        while taken is None and self._waiting:
            with suppress(IndexError):
                taken = self._waiting.pop(0)
            if taken is not None and (taken.owner != os.getpid() or taken.over(0)):
                taken.end()
                taken.free()
                taken = None
        if taken is None:
            taken = self._begin()
        if len(self._waiting) < self._spare:
            self._waiting.append(self._begin())
        return taken

    def close(self) -> None:
        """Ends the processes in the pool; may be called twice, and the pool can be used again."""
        _end_these(self._waiting)


def _end_these(waiting: list[HeldProcess]) -> None:
    while waiting:
        held = waiting.pop()
        held.end()
        held.free()


WAIT = 5.0  # seconds; timeout for the exit of a killed process
KILLED = "the process was killed"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_LIVE: "weakref.WeakSet[HeldProcess]" = weakref.WeakSet()


def _popen(sandbox: Any, words: Sequence[str]) -> Any:
    piped = loaded().StdioMode.PIPED
    return sandbox.popen(words, stdin=piped, stdout=piped, stderr=piped)


# a sandboxed process dies with the thread that started it, so one thread that lives as long as this process starts all
_STARTERS: dict[int, ThreadPoolExecutor] = {}
_LOCK = [threading.Lock()]


def _starter() -> ThreadPoolExecutor:
    with _LOCK[0]:
        if os.getpid() not in _STARTERS:
            if not _STARTERS:
                sweep()
                atexit.register(_end_all)
                os.register_at_fork(after_in_child=_forget)
            _STARTERS.clear()
            _STARTERS[os.getpid()] = ThreadPoolExecutor(1, thread_name_prefix="poziomka-held")
        return _STARTERS[os.getpid()]


def _end_all() -> None:
    """Ends the sandboxed processes of consoles that were not closed, when this process exits."""
    for held in list(_LIVE):
        with suppress(EnvironmentFailure):
            held.end()


def _forget() -> None:
    """Drops the sandboxed processes in a fork of this process: they belong to the parent."""
    _LOCK[0] = threading.Lock()  # another thread may have held the old lock at the fork
    for held in list(_LIVE):
        held.process._handle = None  # noqa: SLF001 its finalizer would kill the process
    _LIVE.clear()
