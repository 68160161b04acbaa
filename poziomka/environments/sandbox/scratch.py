"""A temporary folder for one program: its size is checked during the run, and it is removed with its contents."""

import math
import os
import stat
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

ENTRIES = 2000  # maximum number of files and folders
PATIENCE = 3.0  # seconds that a caller waits for the removal of a folder
ATTEMPTS = 10  # of the background thread; a folder that remains is removed by `sweep` when another process starts
PAUSE = 1.0  # seconds between two attempts

PREFIX = "poziomka-held-"  # followed by the ID of the process that made the folder


def sweep() -> int:
    """Removes Scratch folders of processes that no longer run, for example killed ones; returns the number removed."""
    count = 0
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = path.name[len(PREFIX) :].partition("-")[0]
        with suppress(OSError):
            if owner.isdigit() and path.stat().st_uid == os.getuid() and not Path(f"/proc/{owner}").exists():
                count += Scratch(str(path)).remove()
    return count


class Scratch:
    """A temporary folder for one program, which only its owner can read.

    Symbolic links in it are never followed: untrusted code may have made them to point outside.

    Args:
        path: an existing folder to use; None: make a new one.
    """

    def __init__(self, path: str | None = None) -> None:
        """Makes the folder if no path is given."""
        self.path = path or tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")

    def overfull(self, most: int) -> bool:
        """Returns whether the folder takes more than `most` bytes on disk, or has more than 2,000 entries (ENTRIES).

        Entries are files and folders at any depth. A folder that cannot be read counts as overfull.
        """
        left, entries = most, ENTRIES
        waiting = [self.path]
        while waiting:
            try:
                with os.scandir(waiting.pop()) as found:
                    for entry in found:
                        left -= entry.stat(follow_symlinks=False).st_blocks * 512
                        entries -= 1
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        if left < 0 or entries < 0:
                            return True
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError:  # not readable, or deeper than the longest path
                return True
        return False

    def remove(self, seconds: float | None = None) -> bool:
        """Removes the folder with its contents, however deep; returns whether it is gone.

        The time is proportional to the number of its entries.

        Args:
            seconds: timeout in seconds; None: 3 seconds (PATIENCE).
        """
        until = time.monotonic() + (PATIENCE if seconds is None else seconds)
        try:
            here = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return True
        except OSError:  # too many open files, for example
            return False
        try:
            above: list[tuple[str, list[str]]] = []  # folders above `here`, each with its remaining siblings
            left = _emptied(here, until)
            while time.monotonic() < until:
                if left:
                    name = left.pop()
                    here = _moved(here, name)
                    above.append((name, left))
                    left = _emptied(here, until)
                elif above:
                    name, left = above.pop()
                    here = _moved(here, "..")
                    os.rmdir(name, dir_fd=here)
                else:
                    break
        except OSError:
            return False
        finally:
            os.close(here)
        with suppress(OSError):
            os.rmdir(self.path)  # noqa: PTH106 a Path would do no better
            return True
        return False

    def discard(self) -> None:
        """Removes the folder; if that takes longer than 3 seconds (PATIENCE), a background thread continues."""
        if not self.remove():
            with suppress(RuntimeError):  # no thread can start while this process exits: `sweep` removes it later
                threading.Thread(target=self._reap, name="poziomka-reaper", daemon=True).start()

    def _reap(self) -> None:
        for _ in range(ATTEMPTS):
            if self.remove(math.inf):
                return
            time.sleep(PAUSE)


def _moved(here: int, name: str) -> int:
    there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    os.close(here)
    return there


def _emptied(here: int, until: float) -> list[str]:
    """Removes the files and empty folders in an open folder; returns the names of the rest, made accessible."""
    os.fchmod(here, 0o700)
    folders = []
    for name in os.listdir(here):
        if time.monotonic() > until:
            break
        if not stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=here)
            continue
        try:
            os.rmdir(name, dir_fd=here)
        except OSError:  # something is in it
            os.chmod(name, 0o700, dir_fd=here)
            folders.append(name)
    return folders
