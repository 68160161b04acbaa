"""Every error a user can meet, one class a boundary.

    PoziomkaError
    ├── SettingsError      (ValueError)    a recipe, a setting, an argument
    ├── TaskError          (ValueError)    a source of problems, a scorer
    │   └── ProblemError                   one problem that cannot be drawn
    ├── EnvironmentFailure (RuntimeError)  a session that an exchange talks to
    ├── SamplerError       (RuntimeError)  whoever writes the replies
    │   └── TranscriptError                one transcript that cannot be continued
    ├── ModelError         (ValueError)    an architecture, weights, a tokenizer
    ├── LearningError      (RuntimeError)  a loop that must not go on
    └── RunError           (RuntimeError)  the folder of a run
        └── CheckpointError                a saved state that is damaged, or of another kind

A message says what was wrong, what was received, and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 400  # characters of an exception's text that a message quotes


class PoziomkaError(Exception):
    """Base of every error that is the user's to mend; the command line prints it as one sentence."""


class SettingsError(PoziomkaError, ValueError):
    """A recipe, a setting or an argument is wrong."""


class TaskError(PoziomkaError, ValueError):
    """A task's source or scorer does not keep its contract."""


class ProblemError(TaskError):
    """One problem cannot be drawn; the task can still give others."""


class EnvironmentFailure(PoziomkaError, RuntimeError):
    """A session failed, or cannot do what was asked of it (fork, say)."""


class SamplerError(PoziomkaError, RuntimeError):
    """A sampler cannot write the reply that was asked for."""


class TranscriptError(SamplerError):
    """One transcript cannot be continued; the sampler can still continue others."""


class ModelError(PoziomkaError, ValueError):
    """An architecture, its weights or its tokenizer do not fit together."""


class LearningError(PoziomkaError, RuntimeError):
    """A loop stopped itself: a gate not passed, a loss that is not a number, too many failures."""


class RunError(PoziomkaError, RuntimeError):
    """The folder of a run cannot be read or written, or belongs to another recipe."""


class CheckpointError(RunError):
    """A checkpoint is damaged, or of a kind that this version cannot read."""


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
