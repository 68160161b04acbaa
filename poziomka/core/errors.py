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
    """A task's source or scorer violates its interface."""


class ProblemError(TaskError):
    """One problem cannot be drawn; others of the task can."""


class EnvironmentFailure(PoziomkaError, RuntimeError):
    """A session failed, or does not support an operation such as `fork`."""


class SamplerError(PoziomkaError, RuntimeError):
    """A sampler cannot fulfil a request."""


class TranscriptError(SamplerError):
    """One transcript cannot be continued; the sampler can still continue others."""


class ModelError(PoziomkaError, ValueError):
    """An architecture, its weights or its tokenizer do not fit together."""


class LearningError(PoziomkaError, RuntimeError):
    """A training loop stopped: a gate was not passed, a loss is not finite, too many checks failed."""


class RunError(PoziomkaError, RuntimeError):
    """The folder of a run cannot be read or written, or was made with another recipe."""


class CheckpointError(RunError):
    """A checkpoint is damaged, or has a format that this version cannot read."""


def reason_of(error: BaseException) -> str:
    """Returns the class and the text of an exception, at most LONGEST characters, for an exception of any origin."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 an exception of user code may have a __str__ that raises
        text = "its text cannot be read"
    return f"{type(error).__name__}: {text}"[:LONGEST]


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns `"; did you mean 'x'?"` for the known name closest to `name`, else the list of known names."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""
