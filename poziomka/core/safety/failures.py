"""The boundary around user code: any exception of an environment, a session or a tool becomes an EnvironmentFailure."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from poziomka.core.errors import EnvironmentFailure, PoziomkaError, reason_of


@contextmanager
def failures_of(
    what: str, kind: type[PoziomkaError] = EnvironmentFailure, *, passes: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Raises `kind` in place of any exception that the block raises, SystemExit included.

    Some exceptions pass as they are: those of class `kind`, KeyboardInterrupt, and those that come from outside the
    block (the cancellation of the task that runs the block, or the closing of its coroutine).

    Args:
        what: the part of user code that runs in the block; the message begins with it.
        kind: the class that is raised.
        passes: further classes that pass.

    Raises:
        PoziomkaError: of class `kind`: the block raised.
    """
    task = _current_task()
    passing: tuple[type[BaseException], ...] = (kind, KeyboardInterrupt, *passes)
    try:
        yield
    except passing:
        raise
    except BaseException as error:
        if _comes_from_outside(error, task):
            raise
        message = f"{what} raised {reason_of(error)}"
        raise kind(message) from error


def _comes_from_outside(error: BaseException, task: "asyncio.Task[Any] | None") -> bool:
    """Whether `task` is being cancelled or its coroutine closed; user code can raise the same classes itself."""
    if isinstance(error, asyncio.CancelledError):
        return task is not None and task.cancelling() > 0
    return isinstance(error, GeneratorExit) and task is not _current_task()


def _current_task() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None
