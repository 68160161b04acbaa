"""The package reasoning-gym and what it brings: imported on first use, as it is an extra and takes seconds."""

import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from poziomka.core.errors import TaskError


def installed() -> bool:
    """Whether the package is there; nothing is imported."""
    return find_spec("reasoning_gym") is not None


@cache
def library(name: str) -> Any:
    """Returns a module of reasoning-gym or of what it depends on.

    Raises:
        TaskError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's code
            return import_module(name)
    except ImportError as error:
        message = f"tasks of reasoning_gym need the package reasoning-gym ({error}): install poziomka[tasks]"
        raise TaskError(message) from error


def registry() -> tuple[dict[str, tuple[Any, Any]], dict[str, Any]]:
    """Returns the package's data sets, each a class with its class of settings, and its curricula, by name.

    Raises:
        TaskError: the package is not installed.
    """
    library("reasoning_gym")
    factory = library("reasoning_gym.factory")
    return factory.DATASETS, factory.CURRICULA
