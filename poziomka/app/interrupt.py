"""Ctrl-C: a run stops after the step under way, with everything saved."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from poziomka.learning.session import Interrupted, Progress


@contextmanager
def interruptible(progress: Progress) -> Iterator[None]:
    """Lets Ctrl-C stop after the step under way, saved; a second one stops at once."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        if progress.stop:
            raise KeyboardInterrupt
        progress.stop = True

    try:
        before: Callable[[int, FrameType | None], object] | int | None = signal.signal(signal.SIGINT, handle)
    except ValueError:  # signals reach the main thread only
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if progress.stop:
        message = f"stopped; go on with: {progress.again}"
        raise Interrupted(message)
