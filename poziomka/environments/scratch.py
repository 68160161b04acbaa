"""A folder for one program: watched while it runs, removed with all that is in it."""

import os
import stat
import tempfile
import time
from contextlib import suppress

ENTRIES = 2000  # files and folders; more are too many
PATIENCE = 3.0  # seconds within which a folder must be gone


class Scratch:
    """A new folder that only its owner can read.

    Nothing in it is followed: links lead out of it, and whoever wrote them may have meant us to.
    """

    def __init__(self) -> None:
        """Makes it."""
        self.path = tempfile.mkdtemp(prefix="poziomka-")

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

    def remove(self) -> bool:
        """Removes it, however deep it is, by walking down and up again; returns whether it is gone."""
        until = time.monotonic() + PATIENCE
        rooms: list[str] = []
        try:
            here = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return True
        try:
            while time.monotonic() < until:
                inner = _first_room(here)
                if inner is not None:
                    here = _moved(here, inner)
                    rooms.append(inner)
                elif rooms:
                    here = _moved(here, "..")
                    os.rmdir(rooms.pop(), dir_fd=here)
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


def _moved(here: int, name: str) -> int:
    there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    os.close(here)
    return there


def _first_room(here: int) -> str | None:
    """Returns a folder in an open folder, opened to us, or None; removes the files that it meets."""
    os.fchmod(here, 0o700)
    for name in os.listdir(here):
        if stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            os.chmod(name, 0o700, dir_fd=here)
            return name
        os.unlink(name, dir_fd=here)
    return None
