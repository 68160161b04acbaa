"""What runs inside: an interpreter that waits, and forks a child for each program that it is told to run.

It is started without site-packages and without an environment, and this module, `roles` and `plain` are all of
Poziomka that it holds. What a child is to run it reads from its own descriptors, so that no program, no test and no
answer is ever in the memory that another is forked from.

    asked        [role, limits, places] with descriptors, and the number under which the child is to have each
    answered     ["started"] or ["failed", why]
                 ["ended", status, seconds, bytes] where the child ends by itself
    asked        "end"
    answered     ["over", processes and folders that could not be removed, CPU seconds, seconds of waiting for a
                 processor], after everything else that the child left behind is gone

It runs one child at a time, so whatever descends from it belongs to that child: as a subreaper it inherits processes
that left their session and their parents, and it ends them all.
"""

import ctypes
import gc
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import cast

from poziomka.environments import roles
from poziomka.environments.plain import Channel, NotPlainError, receive, send

Asked = tuple[str, dict[str, int], list[int]]  # role, limits, places
Role = Callable[[Channel], int]
CONTROL = 3  # the descriptor on which it is asked
LIBRARIES = 8  # the first descriptor of the standard library's folders, where a program runs as another user
DESCRIPTORS = 1024  # the highest that is closed in a child
FIRST_USER, USERS = 61184, 4336  # users that nobody has: the range that systemd keeps for transient ones
SLACK = 256  # processes a user may start beside those that are there, where a program runs as the same user
PATIENCE = 3.0  # seconds in which killed processes must be gone, and then a folder
SET_DEATH_SIGNAL, SET_DUMPABLE, SET_SUBREAPER, SET_NO_NEW_RIGHTS = 1, 4, 36, 38  # linux/prctl.h


def main(*, separate: bool, folders: str) -> None:
    """Serves until the other side closes.

    Args:
        separate: run programs as a user of their own, where this process may.
        folders: how the paths of programs' folders begin.
    """
    _FOLDERS[0] = folders
    os.closerange(CONTROL + 1, DESCRIPTORS)
    os.setsid()
    control = socket.socket(fileno=CONTROL)
    control.set_inheritable(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    bell, ring = os.pipe()
    os.set_blocking(bell, False)
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring)
    _process(SET_SUBREAPER, 1)
    _process(SET_DUMPABLE, 0)  # a program that runs as the same user may not look into this process
    user = _own_user() if separate else None
    _THERE[0] = _tasks_of(os.getuid())
    watch = _Watch(control, bell, os.getppid())
    for name in [name for name in sys.modules if name.startswith("poziomka")]:
        sys.modules[name].__dict__["__path__"] = []  # a program can import no more of it
    gc.collect()
    gc.freeze()
    send(control, ["here", user])
    while watch.asked(None):
        try:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 8)
            _serve(watch, cast("Asked", receive(control)), descriptors, user)
        except (EOFError, OSError, NotPlainError):
            return


class _Watch:
    """Waits for a request, for the end of a child, or for the end of whoever asks."""

    def __init__(self, control: socket.socket, bell: int, parent: int) -> None:
        """Listens on both."""
        self.control = control
        self.bell = bell
        self.parent = parent
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._poll.register(bell, select.POLLIN)

    def asked(self, child: int | None) -> bool:
        """Returns True once something is asked, False once the child ended or the parent is gone."""
        while True:
            ready = dict(self._poll.poll(1000))
            if self.bell in ready:
                with suppress(BlockingIOError):
                    os.read(self.bell, 4096)
            if child is not None and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return False
            if self.control.fileno() in ready:
                return True
            if os.getppid() != self.parent:
                return False


def _serve(watch: _Watch, asked: Asked, descriptors: Sequence[int], user: int | None) -> None:
    """Runs one child from its start until nothing of it is left."""
    folder = "/"  # tests write nothing
    if asked[0] != "tests":
        folder = tempfile.mkdtemp(prefix=Path(_FOLDERS[0]).name, dir=Path(_FOLDERS[0]).parent)
        if asked[1]["file"] == 0:
            os.chmod(folder, 0o555)  # noqa: PTH101, S103 nobody writes into it
        elif user is not None:
            os.chown(folder, user, user)
    ready, status = os.pipe()
    child = os.fork()
    if child == 0:
        _be(asked, descriptors, folder, user, status)
    for descriptor in (status, *descriptors):
        os.close(descriptor)
    spent = (0.0, 0.0)
    try:
        spent = _accompany(watch, child, ready)
    finally:
        left = _end_all()
        if folder != "/":
            left += remove(folder)
    send(watch.control, ["over", left, *spent])


def _accompany(watch: _Watch, child: int, ready: int) -> tuple[float, float]:
    """Tells how a child begins and how it ends, until its end is asked for, or nobody is left who could ask.

    Returns:
        CPU seconds of the child's main thread, and seconds in which it could run and had no processor.
    """
    began = time.monotonic()
    try:
        said = os.read(ready, 1000)
        os.close(ready)
        well = said == b"ready"
        why = said.decode(errors="replace") or "the process ended before it was set up"
        send(watch.control, ["started"] if well else ["failed", why])
        asked = watch.asked(child)
        seconds = time.monotonic() - began
        spent = _spent(child)
    finally:
        _end_group(child)  # before the child is waited for: until then its number is its own
        _, code, usage = os.wait4(child, 0)
    if not asked and os.getppid() == watch.parent:
        if well:
            send(watch.control, ["ended", os.waitstatus_to_exitcode(code), seconds, usage.ru_maxrss * 1024])
        asked = watch.asked(None)
    if asked:
        with suppress(EOFError, NotPlainError):
            receive(watch.control)
    return spent


def _spent(child: int) -> tuple[float, float]:
    """Returns CPU seconds, and seconds of waiting for a processor that nothing of its own took."""
    with suppress(OSError, ValueError, IndexError):
        used, waited = (int(word) * 1e-9 for word in Path(f"/proc/{child}/schedstat").read_text("ascii").split()[:2])
        alone = waited < 0.25 or (len(list(Path(f"/proc/{child}/task").iterdir())) == 1 and _descendants() == [child])
        return used, waited if alone else 0.0
    return 0.0, 0.0


# ---------------------------------------------------------------------------------------------------------- the child
def _be(asked: Asked, descriptors: Sequence[int], folder: str, user: int | None, status: int) -> None:
    """Makes this process the child; never returns."""
    try:
        role = _set_up(asked, descriptors, folder, user, status)
        os.write(status, b"ready")
    except BaseException as error:  # noqa: BLE001 whatever it is, the program has not begun, and it is told
        os.write(status, f"{type(error).__name__}: {error}".encode()[:1000])
        os._exit(1)
    os.close(status)
    code = 1
    try:
        code = role(roles.asker())
    finally:
        os._exit(code)


def _set_up(asked: Asked, descriptors: Sequence[int], folder: str, user: int | None, status: int) -> Role:
    """Gives the child its session, folder, descriptors, limits and user; returns what it is to do."""
    name, limits, places = asked
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.umask(0o077)
    os.chdir(folder)
    for descriptor, place in zip(descriptors, places, strict=True):
        os.dup2(descriptor, place)
    kept = {0, 1, 2, status, *places, *range(LIBRARIES, LIBRARIES + len(_HELD))}
    for one, following in pairwise([*sorted(kept), DESCRIPTORS]):
        os.closerange(one + 1, following)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")  # where memory ends, this process does
    os.environ.clear()
    processes = limits["processes"] if user is not None else _THERE[0] + limits["processes"] + SLACK
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, limits["cpu"]),
        (resource.RLIMIT_FSIZE, limits["file"]),
        (resource.RLIMIT_NOFILE, limits["files"]),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_AS, limits["memory"]),
    ):
        hard = resource.getrlimit(what)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bound, bound))
    if user is not None:
        _become(user)
    role = roles.ROLES[name]
    _process(SET_NO_NEW_RIGHTS, 1)
    _process(SET_DEATH_SIGNAL, signal.SIGKILL)
    _process(SET_DUMPABLE, 0 if role is roles.tests else 1)  # the tests are not to be looked into; a program may
    gc.enable()
    return role


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


# ----------------------------------------------------------------------------------------------- a user of their own
_HELD: list[str] = []  # the folders of the standard library that are held open
_FOLDERS = [""]  # how the paths of programs' folders begin
_THERE = [0]  # processes and threads that the user had when this one began


def _own_user() -> int | None:
    """Returns a user that nobody else has, for programs to run as; None where this process may not, or it cannot be.

    Such a user cannot read below a folder that is closed to others, and an interpreter may lie there. So the folders
    of the standard library are opened now and are found by their descriptors.
    """
    if os.geteuid() != 0:
        return None
    user = FIRST_USER + os.getpid() % USERS
    before = list(sys.path)
    folders = [path for path in before if Path(path).is_dir()]
    for number, path in enumerate(folders):
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        os.dup2(opened, LIBRARIES + number)
        os.close(opened)
    moved = {path: f"/proc/self/fd/{LIBRARIES + number}" for number, path in enumerate(folders)}
    sys.path[:] = moved.values()
    _HELD[:] = folders
    for module in list(sys.modules.values()):
        paths = getattr(module, "__path__", None)
        if isinstance(paths, list):
            module.__dict__["__path__"] = [_moved(path, moved) for path in paths]
    child = os.fork()
    if child == 0:
        _try_user(user)
    if os.waitpid(child, 0)[1] == 0:
        return user
    sys.path[:] = before
    return None


def _moved(path: str, moved: Mapping[str, str]) -> str:
    for old, new in moved.items():
        if path.startswith(old + os.sep):
            return new + path[len(old) :]
    return path


def _try_user(user: int) -> None:
    """Ends with status 0 where that user can read the standard library."""
    code = 1
    try:
        _become(user)
        for folder in sys.path:
            if os.path.isdir(folder):  # noqa: PTH112 a Path would do no better
                file = next(entry.path for entry in os.scandir(folder) if entry.is_file())
                Path(file).read_bytes()
        code = 0
    finally:
        os._exit(code)


# ------------------------------------------------------------------------------------------------------ the end of all
def _end_group(child: int) -> None:
    """Kills a child and the processes that stayed in its session's group."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(child, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


def _end_all() -> int:
    """Ends whatever a child left behind; returns how many processes could not be ended."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return 0
        found = _descendants()
        if time.monotonic() > until:
            return len(found)
        for process in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.0005)


def _descendants() -> list[int]:
    """Returns the processes that descend from this one."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 a Path for each process would take longer than all the rest
        if entry.isdigit():
            with suppress(OSError, ValueError, IndexError):
                line = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8", errors="replace")
                children.setdefault(int(line.rpartition(")")[2].split()[1]), []).append(int(entry))
    found, new = [], children.get(os.getpid(), [])
    while new:
        found += new
        new = [process for parent in new for process in children.get(parent, [])]
    return found


def _tasks_of(user: int) -> int:
    """Returns how many processes and threads a user has."""
    count = 0
    for entry in os.listdir("/proc"):  # noqa: PTH208 as above
        if entry.isdigit():
            with suppress(OSError):
                if os.stat(f"/proc/{entry}").st_uid == user:  # noqa: PTH116 as above
                    count += os.stat(f"/proc/{entry}/task").st_nlink - 2  # noqa: PTH116 as above
    return count


def remove(folder: str) -> int:
    """Removes a folder with all that a program left in it, however deep, by walking down and up again.

    Returns:
        1 where something is left, for one as more than PATIENCE allows; else 0.
    """
    until = time.monotonic() + PATIENCE
    rooms: list[str] = []
    with suppress(OSError):
        os.chdir(folder)
        while time.monotonic() < until:
            inner = _first_room()
            if inner is not None:
                os.chdir(inner)
                rooms.append(inner)
            elif rooms:
                os.chdir("..")
                os.rmdir(rooms.pop())  # noqa: PTH106 a Path would take longer
            else:
                break
    os.chdir("/")
    with suppress(OSError):
        os.rmdir(folder)  # noqa: PTH106 as above
        return 0
    return 1


def _first_room() -> str | None:
    """Returns a folder in the working folder, opened to us, or None; removes the files that it meets."""
    os.chmod(".", 0o700)  # noqa: PTH101 as above
    for entry in os.scandir("."):
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.name, 0o700)  # noqa: PTH101 as above
            return entry.name
        os.unlink(entry.name)  # noqa: PTH108 as above
    return None


_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def _process(option: int, value: int) -> None:
    """Calls prctl(2); does nothing where there is none."""
    if _PRCTL is not None:
        _PRCTL(option, value, 0, 0, 0)
