"""The targets of attacks: files, sockets, a process, variables and memory, all of them monitored."""

import hashlib
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self
from uuid import uuid4

from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.sandbox.limits import Limits
from poziomka.testing.attacks.attack import Evidence, Seen
from poziomka.testing.attacks.targets.field import HIDDEN, Field
from poziomka.testing.attacks.targets.listeners import Listeners, free_port
from poziomka.testing.attacks.targets.remains import left, there
from poziomka.testing.attacks.targets.victim import Victim

VARIABLE = "POZIOMKA_CANARY"
GROWTH = 128 * 2**20  # bytes by which this process may grow during an attack, beyond the output limit
CALLS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def syscall(number, *arguments):
    return libc.syscall(ctypes.c_long(number), *[a if isinstance(a, (bytes, ctypes.Array)) else ctypes.c_long(a)
        for a in arguments])
"""  # prepended to attacks that use `syscall` or `libc`
NAMING = """
def named():
    import ctypes, os
    ctypes.CDLL(None).prctl(15, MARK.encode(), 0, 0, 0)
    signals = __import__("signal")
    for number in (1, 2, 15):
        signals.signal(number, signals.SIG_IGN)
"""  # prepended to attacks that use `named`, which names a process by its mark and makes it ignore signals


def _digest(path: str) -> str:
    """Returns the SHA-256 digest of a file of /proc; "" if it is empty or cannot be read."""
    with suppress(OSError):
        content = Path(path).read_bytes()
        return hashlib.sha256(content).hexdigest() if content else ""
    return ""


def _address() -> str:
    """Returns the hardware address of a network card, in hexadecimal digits; "" if there is none."""
    for path in sorted(Path("/sys/class/net").glob("*/address")):
        with suppress(OSError):
            digits = path.read_text(encoding="ascii").strip().replace(":", "")
            if digits.strip("0"):
                return digits
    return ""


def _ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as end:
        end.bind(("::1", 0))
        return True
    return False


def _io_uring() -> bool:
    with suppress(OSError):
        return Path("/proc/sys/kernel/io_uring_disabled").read_text(encoding="ascii").strip() == "0"
    return False


def _marked_users() -> bool:
    """Whether files in the temporary folder support extended attributes."""
    with tempfile.NamedTemporaryFile() as file:
        try:
            os.setxattr(file.name, "user.poziomka", b"1")
        except OSError:
            return False
        return True


# requirements of attacks: (whether this machine has it, message if not)
NEEDS: Mapping[str, tuple[Callable[[], bool], str]] = {
    "linux": (lambda: sys.platform == "linux", "it needs Linux"),
    "x86": (lambda: os.uname().machine == "x86_64", "its numbers of system calls are those of x86-64"),
    "root": (lambda: os.geteuid() == 0, "only root can do it anywhere: run the check as root"),
    "ipv6": (_ipv6, "this machine has no IPv6"),
    "io_uring": (_io_uring, "io_uring is switched off on this machine"),
    "address": (lambda: bool(_address()), "this machine has no network card"),
    "first process": (lambda: bool(_digest("/proc/1/environ")), "the environment of process 1 is closed, or empty"),
    "own environment": (lambda: bool(_digest("/proc/self/environ")), "this process was started without variables"),
    "attributes": (_marked_users, "the temporary folder's disk knows no extended attributes"),
    "shared memory": (lambda: os.access("/dev/shm", os.W_OK), "there is no /dev/shm to write to"),  # noqa: S108 only queried
    "system v": (lambda: Path("/proc/sysvipc/shm").exists(), "the kernel has no shared memory of System V"),
    "keys": (lambda: Path("/proc/keys").exists(), "the kernel shows no keys"),
    "processors": (lambda: (os.cpu_count() or 1) > 1, "this machine has one processor"),
    "kcmp": (lambda: Path("/proc/self/map_files").exists(), "the kernel compares no processes"),  # CONFIG_KCMP with it
    "perf": (lambda: Path("/proc/sys/kernel/perf_event_paranoid").exists(), "the kernel counts no events"),
    "bpf": (lambda: Path("/proc/sys/kernel/unprivileged_bpf_disabled").exists(), "the kernel takes no programs"),
    "userfaultfd": (lambda: Path("/proc/sys/vm/unprivileged_userfaultfd").exists(), "faults are the kernel's alone"),
    "ps": (lambda: shutil.which("ps") is not None, "there is no ps"),
    "bash": (lambda: shutil.which("bash") is not None, "there is no bash"),
    "namespaces": (lambda: Path("/proc/self/ns/user").exists(), "the kernel has no namespaces of users"),
    "kernel log": (lambda: os.access("/dev/kmsg", os.R_OK), "/dev/kmsg is closed"),
    "kernel memory": (lambda: os.access("/dev/mem", os.R_OK), "/dev/mem is closed"),
}


def lacks(needs: tuple[str, ...]) -> str:
    """Returns a message about the first of an attack's `needs` that this machine lacks; "" if it has all of them."""
    return next((why for name in needs for here, why in [NEEDS[name]] if not here()), "")


class Ground:
    """Sets up the targets of attacks and observes what attacks do to them; a context manager.

    Args:
        limits: limits of the interpreter; attacks exceed them a little.

    Raises:
        EnvironmentFailure: the targets cannot be set up.
    """

    def __init__(self, limits: Limits) -> None:
        """Stores the limits; nothing is set up."""
        self.limits = limits
        self._kept = f"canary-{uuid4().hex}"  # a secret that is only in the memory of this process
        self._number = 0

    def __enter__(self) -> Self:
        """Sets up the targets."""
        self.folder = Path(tempfile.mkdtemp(prefix="poziomka-ground-"))
        self.folder.chmod(0o777)
        self.secrets = {
            "this process's memory": self._kept,
            "a process's memory": f"canary-{uuid4().hex}",
            "a process's environment": f"canary-{uuid4().hex}",
            "a process's command line": f"canary-{uuid4().hex}",
            "a variable": f"canary-{uuid4().hex}",
            "another console": f"canary-{uuid4().hex}",
            "an inherited file": f"canary-{uuid4().hex}",
            "the environment of process 1": _digest("/proc/1/environ"),
            "the environment of this process": _digest("/proc/self/environ"),
            "a network card's address": _address(),
        }
        self._before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = self.secrets["a variable"]
        inherited = self.folder / "inherited"
        inherited.write_text(self.secrets["an inherited file"], encoding="utf-8")
        reading, writing = os.pipe()
        self._ends = (os.open(inherited, os.O_RDONLY), writing, reading)
        os.set_blocking(reading, False)
        for end in self._ends[:2]:
            os.set_inheritable(end, True)  # as in a careless program
        self.listeners = Listeners(str(self.folder), f"poziomka-{uuid4().hex[:12]}")
        try:
            self._start_victim()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """Removes the targets."""
        self.victim.close()
        self._remove()

    def _remove(self) -> None:
        self.listeners.close()
        for end in self._ends:
            os.close(end)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = self._before

    def begin(self) -> None:
        """Sets up fresh names and files for the next attack."""
        self._number += 1
        word = uuid4().hex
        self.proof, self.mark, self.key = word[:16], f"pz{word[16:28]}", int(word[:7], 16) + 1
        self.field = Field(self.folder / str(self._number), word)
        self.port = free_port()
        self._size, self._there = _resident(), there()

    def names(self, code: str, *, secret: bool = False) -> str:
        """Returns definitions to prepend to an attack: locations of the targets, `proof`, and the helpers that it uses.

        Args:
            code: the attack's code; only names that it uses are defined.
            secret: whether to define SECRET, the secret of the second console.
        """
        folder, bounds = str(self.field.path), self.limits
        known: dict[str, object] = {
            "PROOF": self.proof[::-1],
            "MARK": self.mark,
            "KEY": self.key,
            "FOLDER": folder,
            "CANARY": f"{folder}/canary",
            "PLANTED": f"{folder}/planted.py",
            "BASE": f"{folder}/planted.db",
            "HIDDEN": HIDDEN,
            "TEMPORARY": tempfile.gettempdir(),
            "TCP": self.listeners.tcp,
            "TCP6": self.listeners.tcp6,
            "UDP": self.listeners.udp,
            "UNIX": self.listeners.unix,
            "LETTERS": self.listeners.letters,
            "ABSTRACT": self.listeners.abstract,
            "LISTEN": self.port,
            "HOST": os.getpid(),
            "VICTIM": self.victim.process,
            "ADDRESS": self.victim.address,
            "OPENED": self.victim.opened,
            "PIPE": self.victim.pipe,
            "VARIABLE": VARIABLE,
            "SECONDS": bounds.seconds,
            "MEMORY": bounds.memory,
            "OUTPUT": bounds.output,
            "FILE": bounds.file,
            "FILES": bounds.files,
            "PROCESSES": bounds.processes,
        }
        if secret:
            known["SECRET"] = self.secrets["another console"]
        used = {name: value for name, value in known.items() if re.search(rf"\b{name}\b", code + NAMING)}
        lines = [f"{name} = {value!r}" for name, value in (used | {"PROOF": known["PROOF"]}).items()]
        lines.append("def proof():\n    print(PROOF[::-1])")
        more = [text for text, words in ((CALLS, ("syscall(", "libc.")), (NAMING, ("named()",)))
                if any(word in code for word in words)]  # fmt: skip
        return "\n".join([*lines, *more, ""])

    def seen(self, text: str) -> list[Seen]:
        """Returns evidence that an attack succeeded, as (kind, sentence); call it when its consoles are closed.

        Args:
            text: the whole output of the attack.
        """
        secrets = {**self.secrets, **self.field.secrets}
        told = [f"its output holds {what}" for what, secret in secrets.items() if secret and secret in text]
        proven = ["it proved that it succeeded"] if self.proof in text else []
        called = self.listeners.heard() + self._piped()
        sentences = {
            Evidence.TOLD: told,
            Evidence.PROVEN: proven,
            Evidence.CALLED: called,
            Evidence.CHANGED: self.field.changes(),
            Evidence.HARMED: self._victim_changes(),
            Evidence.LEFT: left(self.mark, self.key, self._there, self.folder),
            Evidence.DISTURBED: self._grown(),
        }
        self.field.close()
        return [(evidence, sentence) for evidence, found in sentences.items() for sentence in found]

    def _grown(self) -> list[str]:
        grown = _resident() - self._size
        return [f"this process grew by {grown / 2**20:.0f} MB"] if grown > GROWTH + 4 * self.limits.output else []

    def _piped(self) -> list[str]:
        with suppress(BlockingIOError):
            if os.read(self._ends[2], 65536):
                return ["it wrote to a descriptor that it inherited"]
        return []

    def _victim_changes(self) -> list[str]:
        found = self.victim.changes()
        if found:
            self.victim.close()
            self._start_victim()
        return found

    def _start_victim(self) -> None:
        names = ("a process's memory", "a process's environment", "a process's command line")
        memory, variable, words = (self.secrets[name] for name in names)
        self.victim = Victim(memory, variable, words, str(self.folder / "inherited"))
        if not self.victim.alive():
            message = "the process that attacks are to reach for ended by itself"
            raise EnvironmentFailure(message)


def _resident() -> int:
    """Returns the resident memory of this process in bytes; 0 if the system does not report it."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
