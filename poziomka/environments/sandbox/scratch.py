"""A folder for one program: watched while it runs, removed with all that is in it."""

import math
import os
import stat
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

ENTRIES = 2000  # files and folders; more are too many
PATIENCE = 3.0  # seconds in which a caller waits for a folder to be removed
ATTEMPTS = 10  # that the reaper makes; a folder that is left then, `sweep` removes when another process starts
PAUSE = 1.0  # seconds between two of them

PREFIX = "poziomka-held-"  # then the process that made it


def sweep() -> int:
    """Removes the folders of processes that are gone, as one that was killed leaves them; returns how many."""
    count = 0
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = path.name[len(PREFIX) :].partition("-")[0]
        with suppress(OSError):
            if owner.isdigit() and path.stat().st_uid == os.getuid() and not Path(f"/proc/{owner}").exists():
                count += Scratch(str(path)).remove()
    return count


class Scratch:
    """A new folder that only its owner can read, or one that is there.

    Nothing in it is followed: links lead out of it, and whoever wrote them may have meant us to.
    """

    def __init__(self, path: str | None = None) -> None:
        """Makes it where no path is given."""
        self.path = path or tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")

    def overfull(self, most: int) -> bool:
        """Whether it holds more bytes on the disk than `most`, or more than ENTRIES files and folders."""
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
            except OSError:  # closed to us, or deeper than a path can say
                return True
        return False

    def remove(self, seconds: float | None = None) -> bool:
        """Removes it, however deep it is, by walking down and up again; returns whether it is gone.

        The work is proportional to what it holds.

        Args:
            seconds: in which it must be gone; None: PATIENCE.
        """
        until = time.monotonic() + (PATIENCE if seconds is None else seconds)
        try:
            here = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return True
        except OSError:  # no descriptor is free, for one
            return False
        try:
            above: list[tuple[str, list[str]]] = []  # folders on the way here, each with those left beside it
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
        """Removes it; where that takes longer than PATIENCE, a thread goes on."""
        if not self.remove():
            with suppress(RuntimeError):  # no thread can be had, as at the end of this process: `sweep` finds it later
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
    """Removes the files and empty folders in an open folder; returns the names of its other folders, opened to us."""
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
