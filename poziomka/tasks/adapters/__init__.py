"""Adapters that turn tasks of other libraries into Tasks.

The library's own scorer computes the reward; verdicts, and the trial of the scorer (`check_task`), are Poziomka's.
"""

from collections.abc import Callable

from poziomka.core.task import Task
from poziomka.tasks.adapters.gymnasium import from_gymnasium
from poziomka.tasks.adapters.reading import after_thought, one_box, whole
from poziomka.tasks.adapters.scale import Scale
from poziomka.tasks.adapters.taskset import from_taskset
from poziomka.tasks.adapters.trl import from_trl
from poziomka.tasks.adapters.verifiers import from_verifiers
from poziomka.tasks.adapters.verl import from_verl

__all__ = [
    "ADAPTERS",
    "Scale",
    "after_thought",
    "from_gymnasium",
    "from_taskset",
    "from_trl",
    "from_verifiers",
    "from_verl",
    "one_box",
    "whole",
]

ADAPTERS: dict[str, Callable[..., Task]] = {
    "trl": from_trl,  # data sets and reward functions
    "taskset": from_taskset,  # verifiers' present interface, verifiers.v1
    "verifiers": from_verifiers,  # verifiers' older interface, verifiers.legacy
    "verl": from_verl,  # rows and compute_score
    "gymnasium": from_gymnasium,  # environments whose actions are text or a few choices
}
