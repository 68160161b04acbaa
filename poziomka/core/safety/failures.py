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
    """Context manager that converts any exception raised in its body, SystemExit included, into one of class `kind`.

    Not converted are exceptions of class `kind`, KeyboardInterrupt, and those that come from outside the body: the
    cancellation of the asyncio task that runs it, or the closing of its coroutine.

    Args:
        what: name of the user code that runs in the body; the message is "`what` raised …".
        kind: class of the exception that is raised.
        passes: further classes of exceptions that are not converted.

    Raises:
        PoziomkaError: of class `kind`: the body raised.
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
    """Returns whether an exception was raised by the cancellation of `task` or the closing of its coroutine.

    User code can raise CancelledError and GeneratorExit itself; those do not come from outside.
    """
    if isinstance(error, asyncio.CancelledError):
        return task is not None and task.cancelling() > 0
    return isinstance(error, GeneratorExit) and task is not _current_task()


def _current_task() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None
