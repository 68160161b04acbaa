"""The boundary around user code: what it raises is an EnvironmentFailure, and what stops us from outside passes."""

import asyncio

import pytest

from poziomka.core.errors import EnvironmentFailure, ProblemError, reason_of
from poziomka.core.safety.failures import failures_of


class Unspeakable(Exception):
    """An exception whose text raises."""

    def __str__(self):
        raise KeyError


def raised(error, **how):
    with failures_of("the door", **how):
        raise error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("key"), "the door raised KeyError: 'key'"),
        (SystemExit(3), "the door raised SystemExit: 3"),
        (GeneratorExit(), "the door raised GeneratorExit: "),
        (asyncio.CancelledError(), "the door raised CancelledError: "),
        (BaseException("all"), "the door raised BaseException: all"),
        (Unspeakable(), "the door raised Unspeakable: its text cannot be read"),
    ],
)
def test_any_exception_is_a_failure_that_names_what_raised(error, said):
    with pytest.raises(EnvironmentFailure) as failure:
        raised(error)
    assert str(failure.value) == said
    assert failure.value.__cause__ is error


def test_a_failure_of_the_same_class_is_kept():
    with pytest.raises(EnvironmentFailure, match=r"^shut$"):
        raised(EnvironmentFailure("shut"))
    with pytest.raises(ProblemError, match=r"^the door raised EnvironmentFailure: shut$"):
        raised(EnvironmentFailure("shut"), kind=ProblemError)


def test_ctrl_c_and_named_classes_pass():
    with pytest.raises(KeyboardInterrupt):
        raised(KeyboardInterrupt())
    with pytest.raises(LookupError):
        raised(KeyError("key"), passes=(LookupError,))


async def _wait(error=None):
    with failures_of("the session"):
        if error is not None:
            raise error
        await asyncio.sleep(3600)


def test_a_task_that_is_cancelled_ends_cancelled():
    async def cancel():
        task = asyncio.create_task(_wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit(), SystemExit(0)])
def test_a_session_that_raises_what_the_event_loop_raises_has_failed(error):
    with pytest.raises(EnvironmentFailure, match=f"the session raised {type(error).__name__}"):
        asyncio.run(_wait(error))


def test_a_long_text_is_cut():
    assert len(reason_of(ValueError("x" * 10_000))) == 400
