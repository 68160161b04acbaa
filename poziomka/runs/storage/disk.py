"""Atomic writes that survive a kill and a full disk, and a file lock that ends with its process."""

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

TEMPORARY = ".tmp-"  # prefix of unfinished files and folders; the next run in the folder removes them

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# Parts of the messages of failed writes in safetensors (Rust) and torch (C++), which raise no OSError.
FAILED_WRITES = ("os error", "No space left", "inline_container", "write failed", "iostream error")

PATIENCE = 0.5  # seconds to wait for a lock: a process just killed, or its child just forked, may still have it


@contextmanager
def in_words(doing: str) -> Iterator[None]:
    """Context manager that converts errors of writing files into a RunError "cannot `doing`: …" with advice.

    Args:
        doing: the action in its body, such as "save the checkpoint runs/a/checkpoints/step-000010".

    Raises:
        RunError: the body raised OSError, or an error of safetensors or torch for a failed write.
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
    """Replaces a file atomically: even after a kill or a power cut it contains its old contents or all of `data`."""
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
    """Waits until the contents of a file, or the entries of a folder, are on the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_temporaries(folder: Path) -> None:
    """Removes from `folder` the unfinished files and folders that a killed process left."""
    for path in folder.glob(f"{TEMPORARY}*"):
        remove(path)


def remove(path: Path) -> None:
    """Removes a file, or a folder with its contents."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Lock:
    """Exclusive lock on a run's folder; the operating system releases it when the process ends for any reason.

    Args:
        path: the lock file; created if it does not exist.

    Raises:
        RunError: another process, or another `Run` of this process, has the lock.
    """

    def __init__(self, path: Path) -> None:
        """Acquires the lock; retries for PATIENCE (0.5) seconds."""
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
        close_in_children(self._file)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @property
    def released(self) -> bool:
        """Whether the lock was released."""
        return self._file.closed

    def release(self) -> None:
        """Releases the lock; may be called twice."""
        if not self._file.closed:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()


def close_in_children(file: FileIO) -> None:
    """Makes forked children close their copy of a locked file, which does not release the parent's lock.

    A forked child (a scorer's worker) inherits the descriptor and with it the lock. If it outlived its parent, the run
    could not be resumed.
    """
    os.register_at_fork(after_in_child=partial(_close, weakref.ref(file)))


def _close(reference: "weakref.ref[FileIO]") -> None:
    file = reference()
    if file is not None:
        file.close()
