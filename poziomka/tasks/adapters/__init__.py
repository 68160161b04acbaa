"""Other libraries' tasks as ours: the scorer stays theirs, the trial of the scorer and the verdicts are ours."""

from collections.abc import Callable

from poziomka.core.problem import Task
from poziomka.tasks.adapters.reading import after_thought, one_box, whole
from poziomka.tasks.adapters.scale import Scale
from poziomka.tasks.adapters.trl import from_trl

__all__ = ["ADAPTERS", "Scale", "after_thought", "from_trl", "one_box", "whole"]

ADAPTERS: dict[str, Callable[..., Task]] = {  # by the peer whose tasks they take
    "trl": from_trl,
}
