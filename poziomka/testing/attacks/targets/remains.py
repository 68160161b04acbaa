"""Finds and removes remains of an attack, by its mark: processes, files, shared memory, keys."""

import ctypes
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from poziomka.core.safety.processes import signalled, state_of

PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run")  # noqa: S108 only searched, never written to
SHARED = ("shm", "sem", "msg")  # System V: memory, semaphores, messages
WAIT = 0.5  # seconds that killed processes may take to disappear
SURE = 5  # consecutive searches that must find nothing: a process can fork and exit between two searches


def there() -> frozenset[str]:
    """Returns the ids of all processes in decimal digits; an empty set without /proc."""
    with suppress(OSError):
        return frozenset(entry.name for entry in os.scandir("/proc") if entry.name.isdigit())
    return frozenset()


def processes(mark: str, before: frozenset[str]) -> list[int]:
    """Returns the ids of living processes with a mark in their name or command line, except those in `before`."""
    found = []
    for number in sorted(there() - before):
        with suppress(OSError, ValueError):  # the process has ended
            words = Path(f"/proc/{number}/comm").read_bytes() + Path(f"/proc/{number}/cmdline").read_bytes()
            if mark.encode() in words and state_of(int(number))[0] not in "ZX":
                found.append(int(number))
    return found


def left(mark: str, key: int, before: frozenset[str], own: Path) -> list[str]:
    """Returns a sentence for each thing that an attack left behind; kills processes, removes files and shared memory.

    Processes get half a second to end by themselves; keys of the kernel's keyring are not removed.

    Args:
        mark: part of the name of everything that the attack leaves.
        key: key of System V objects, which have no name.
        before: ids of the processes before the attack.
        own: folder of the test, which is ignored.
    """
    until = time.monotonic() + WAIT
    living, none = processes(mark, before), 0
    while living and none < SURE and time.monotonic() < until:
        time.sleep(0.01)
        found = processes(mark, before)
        none = 0 if found else none + 1
        living = found or living
    told = [] if not living or none == SURE else [f"{len(living)} of its processes live on"]
    if told:
        _end(mark, before)
    for path in _files(mark):
        if own not in (path, *path.parents):
            told.append(f"it left {path}")
            with suppress(OSError):
                path.unlink() if not path.is_dir() else path.rmdir()
    return [*told, *_shared(key), *_keys(mark)]


def _end(mark: str, before: frozenset[str]) -> None:
    """Kills all processes with a mark until none is left; repeated, because each may fork another before it ends."""
    none = 0
    for _ in range(1000):
        found = processes(mark, before)
        for process in found:
            signalled(process, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(process, os.WNOHANG)
        none = 0 if found else none + 1
        if none == SURE:
            return


def _files(mark: str) -> Iterator[Path]:
    for place in sorted({*PLACES, tempfile.gettempdir(), str(Path.cwd()), str(Path.home())}):
        with suppress(OSError):
            yield from (Path(entry.path) for entry in os.scandir(place) if mark in entry.name)


def _shared(key: int) -> Iterator[str]:
    for kind in SHARED:
        with suppress(OSError, ValueError):
            lines = Path(f"/proc/sysvipc/{kind}").read_text(encoding="ascii").splitlines()[1:]
            found = [line.split()[1] for line in lines if int(line.split()[0]) == key]
            for identifier in found:
                _remove(kind, int(identifier))
                yield f"it left shared memory, semaphores or messages of System V ({kind})"


def _remove(kind: str, identifier: int) -> None:
    library = ctypes.CDLL(None)
    match kind:
        case "shm":
            library.shmctl(identifier, 0, None)
        case "sem":
            library.semctl(identifier, 0, 0)
        case _:
            library.msgctl(identifier, 0, None)


def _keys(mark: str) -> Iterator[str]:
    with suppress(OSError):
        text = Path("/proc/keys").read_text(encoding="latin-1")
        if mark in text:
            yield "it left a key in the kernel's keyring"
