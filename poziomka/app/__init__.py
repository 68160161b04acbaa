"""Application layer: runs a recipe through warm start, gate, reinforcement, evaluation and report.

Importing this package does not import torch; using one of its names does.
"""

from typing import Any

__all__ = ["Recipe", "read_recipe", "train_task"]


def __getattr__(name: str) -> Any:
    """Imports a name of `__all__`, and torch with it, when it is used."""
    if name == "train_task":
        from poziomka.app.train import train_task  # noqa: PLC0415 imports torch

        return train_task
    if name in __all__:
        from poziomka.app.settings import recipe  # noqa: PLC0415 imports torch

        return getattr(recipe, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
