"""Numbers that a model's files state, checked before anything is made of them.

The bounds lie far above every known model: they keep a damaged or hostile file from asking for terabytes.
"""

import math
from collections.abc import Mapping
from typing import Any

LAYERS = 4096
HEADS = 1 << 16
WIDTH = 1 << 20
VOCABULARY = 1 << 24
LENGTH = 1 << 40  # tokens of a context or a window: nothing is allocated for them


def whole(facts: Mapping[str, Any], name: str, most: int, default: int | None = None) -> int:
    """Returns a whole number from 1 to `most`.

    Raises:
        KeyError: the file does not state it, and there is no default.
        ValueError: it is something else.
    """
    value = facts[name] if default is None else facts.get(name, default)
    number = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    if not number or not 1 <= value <= most:
        message = f"{name} must be a whole number from 1 to {most:,}: received {str(value)[:40]}"
        raise ValueError(message)
    return int(value)


def real(facts: Mapping[str, Any], name: str, default: float | None = None, *, zero: bool = False) -> float:
    """Returns a finite number above 0, or from 0 on where `zero` is set; raises as `whole`."""
    value = facts[name] if default is None else facts.get(name, default)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (value == 0 and not zero):
        message = f"{name} must be a finite number {'from 0 on' if zero else 'above 0'}: received {str(value)[:40]}"
        raise ValueError(message)
    return float(value)
