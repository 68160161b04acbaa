"""Exception classes, one for each boundary of the library.

    PoziomkaError
    ├── SettingsError      (ValueError)    a recipe, a setting, an argument
    ├── TaskError          (ValueError)    a source of problems, a scorer
    │   └── ProblemError                   one problem that cannot be drawn
    ├── EnvironmentFailure (RuntimeError)  a session of an environment
    ├── SamplerError       (RuntimeError)  a sampler
    │   └── TranscriptError                one transcript that cannot be continued
    ├── ModelError         (ValueError)    an architecture, weights, a tokenizer
    ├── LearningError      (RuntimeError)  a training loop that must stop
    └── RunError           (RuntimeError)  the folder of a run
        └── CheckpointError                a damaged or unsupported checkpoint

Messages contain the fault, the received value and a remedy.
"""

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 400  # characters of an exception's text that a message quotes


class PoziomkaError(Exception):
    """Base class of errors that the user can fix; the command line prints the message without a traceback."""


class SettingsError(PoziomkaError, ValueError):
    """A recipe, a setting or an argument is wrong."""


class TaskError(PoziomkaError, ValueError):
    """A task is wrong: its source or its scorer violates its interface, or a split, index or level does not exist."""


class ProblemError(TaskError):
    """A task cannot return one problem, for example because its source raised; other problems are not affected."""


class EnvironmentFailure(PoziomkaError, RuntimeError):
    """A session of an environment (tools, a game) failed, or does not support an operation such as `fork`."""


class SamplerError(PoziomkaError, RuntimeError):
    """A sampler cannot fulfil a request, for example because the model cannot be reached."""


class TranscriptError(SamplerError):
    """A sampler cannot continue one transcript, for example a too long one, or one request to an endpoint failed.

    The sampler can still continue others.
    """


class ModelError(PoziomkaError, ValueError):
    """An architecture, its weights or its tokenizer do not fit together."""


class LearningError(PoziomkaError, RuntimeError):
    """A training loop stopped.

    For example: a stage missed its required result, a loss is not finite, or too many scorings failed.
    """


class RunError(PoziomkaError, RuntimeError):
    """The folder of a run cannot be read or written, or was made with another recipe."""


class CheckpointError(RunError):
    """A checkpoint is damaged, or has a format that this version cannot read."""


def reason_of(error: BaseException) -> str:
    """Returns "ClassName: message" for any exception, truncated to LONGEST (400) characters.

    If the exception's `__str__` raises, a fixed text replaces the message.
    """
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 an exception of user code may have a __str__ that raises
        text = "its text cannot be read"
    return f"{type(error).__name__}: {text}"[:LONGEST]


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the end of an error message about an unknown name: `"; did you mean 'x'?"` with the closest known name.

    If no known name is similar, returns the list of known names; "" if there are none.
    """
    known = sorted(known)
    return guess(name, known) or (f"; known: {', '.join(known)}" if known else "")


def guess(name: str, known: Iterable[str]) -> str:
    """Returns `"; did you mean 'x'?"` with the closest known name, for the end of a clause; "" if none is similar."""
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
