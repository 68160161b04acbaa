"""Conformance checks and fakes for users' tests and our own; importing this module does not import torch."""

from typing import Any

from poziomka.testing.attacks import check_interpreter
from poziomka.testing.conformance.environment import check_environment
from poziomka.testing.conformance.sampler import check_sampler
from poziomka.testing.conformance.task import check_task
from poziomka.testing.fakes import ScriptedSampler
from poziomka.testing.negatives import near_miss
from poziomka.testing.trial import trial
from poziomka.testing.trial_record import Trial

__all__ = [
    "ScriptedSampler",
    "Trial",
    "check_architecture",
    "check_environment",
    "check_interpreter",
    "check_sampler",
    "check_task",
    "near_miss",
    "trial",
]


def __getattr__(name: str) -> Any:
    """Imports `check_architecture`, and torch with it, on first access."""
    if name == "check_architecture":
        from poziomka.testing.conformance.architecture import check_architecture  # noqa: PLC0415 it imports torch

        return check_architecture
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
