"""Writing that neither a kill nor a full disk can leave half done, and a lock that dies with its process."""

import errno
import fcntl
import os
import shutil
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path

from poziomka.core.errors import PoziomkaError, RunError

TEMPORARY = ".tmp-"  # begins the name of whatever is not finished; the next run in the folder clears it away

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# What safetensors (Rust) and torch (C++) say of a failed write: they raise no OSError.
FAILED_WRITES = ("os error", "No space left", "inline_container", "write failed", "iostream error")

PATIENCE = 0.5  # seconds that a process just killed, or its child just forked, may take to let a folder go


@contextmanager
def in_words(doing: str) -> Iterator[None]:
    """Turns an error of the operating system into one sentence: "cannot `doing`: …".

    Raises:
        RunError: the body raised OSError, or a library's word for a failed write.
    """
    try:
        yield
    except PoziomkaError:
        raise
    except OSError as error:
        if error.errno in FULL:
            advice = "what was saved before is intact; free some space and start the same command again"
        elif error.errno in FORBIDDEN:
            advice = "choose a folder that you may write to"
        else:
            advice = "check the path and the disk"
        message = f"cannot {doing}: {(error.strerror or str(error)).lower()}; {advice}"
        raise RunError(message) from error
    except Exception as error:
        if not any(words in str(error) for words in FAILED_WRITES):
            raise
        reason = (str(error).splitlines() or [""])[0]
        message = f"cannot {doing}: {reason}; what was saved before is intact; see that the disk has space"
        raise RunError(message) from error


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file so that it holds either what it held before or all of `data`, through a kill and a power cut."""
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file's contents, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_temporaries(folder: Path) -> None:
    """Removes what a killed process left unfinished in `folder`."""
    for path in folder.glob(f"{TEMPORARY}*"):
        remove(path)


def remove(path: Path) -> None:
    """Removes a file, or a folder with all it holds."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Lock:
    """Holds a run's folder for one process; the system lets go of it when the process dies, however it dies.

    Raises:
        RunError: another process, or another Run of this one, holds it.
    """

    def __init__(self, path: Path) -> None:
        """Takes the lock, or says who has it."""
        self._file = path.open("a+b", buffering=0)
        end = time.monotonic() + PATIENCE
        while not self._taken():
            if time.monotonic() > end:
                self._file.seek(0)
                holder = self._file.read(20).decode("ascii", "replace").strip() or "unknown"
                self._file.close()
                message = (
                    f"another process (id {holder}) is writing the run {path.parent}: "
                    "wait until it ends, stop it, or give another folder"
                )
                raise RunError(message)
            time.sleep(PATIENCE / 20)
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n".encode())
        # A forked child (a scorer's worker) inherits the descriptor and with it the lock. If it outlived us,
        # the run could not be resumed: so it closes its copy, which does not unlock ours.
        os.register_at_fork(after_in_child=partial(_close, weakref.ref(self._file)))

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @property
    def released(self) -> bool:
        """Whether the folder was let go."""
        return self._file.closed

    def release(self) -> None:
        """Lets the folder go; may be called twice."""
        if not self._file.closed:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()


def _close(reference: "weakref.ref[FileIO]") -> None:
    file = reference()
    if file is not None:
        file.close()
