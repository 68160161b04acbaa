"""SIGINT handling: Ctrl-C stops a run after the current step, with its state saved."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from poziomka.learning.session import Interrupted, TrainingSession


@contextmanager
def interruptible(progress: TrainingSession) -> Iterator[None]:
    """Within the context, the first Ctrl-C lets the present step finish and save; a second one interrupts at once.

    Outside of the main thread, which alone can handle signals, the context does nothing.

    Raises:
        Interrupted: at the end of the context, if Ctrl-C stopped the run after a step.
        KeyboardInterrupt: at a second Ctrl-C.
    """

    def handle(_number: int, _frame: FrameType | None) -> None:
        if progress.stop:
            raise KeyboardInterrupt
        progress.stop = True

    try:
        before: Callable[[int, FrameType | None], object] | int | None = signal.signal(signal.SIGINT, handle)
    except ValueError:  # only the main thread can handle signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if progress.stop:
        message = f"stopped; resume with: {progress.again}"
        raise Interrupted(message)
