"""Lazy imports of the package reasoning-gym: it is an optional extra and takes seconds to import."""

import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from poziomka.core.errors import TaskError


def installed() -> bool:
    """Whether the package reasoning-gym is installed, found without importing it."""
    return find_spec("reasoning_gym") is not None


@cache
def library(name: str) -> Any:
    """Imports and returns a module of reasoning-gym or of one of its dependencies, such as "sympy".

    Raises:
        TaskError: the module is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of third-party code
            return import_module(name)
    except ImportError as error:
        message = f"tasks of reasoning_gym need the package reasoning-gym ({error}): install poziomka[tasks]"
        raise TaskError(message) from error


def registry() -> tuple[dict[str, tuple[Any, Any]], dict[str, Any]]:
    """Returns two dictionaries by data set name: its (class, config class), and its curriculum class if it has one.

    Raises:
        TaskError: the package reasoning-gym is not installed.
    """
    library("reasoning_gym")
    factory = library("reasoning_gym.factory")
    return factory.DATASETS, factory.CURRICULA
