"""Validation of the numbers in a model's files before they size any allocation.

The bounds are far above every known model; they stop a damaged or hostile file from allocating terabytes.
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
    """Returns `facts[name]` as an integer from 1 to `most`; `default` replaces a missing value.

    Raises:
        KeyError: the value is missing and there is no default.
        ValueError: the value is not such a number.
    """
    value = facts[name] if default is None else facts.get(name, default)
    number = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    if not number or not 1 <= value <= most:
        message = f"{name} must be a whole number from 1 to {most:,}: received {str(value)[:40]}"
        raise ValueError(message)
    return int(value)


def real(facts: Mapping[str, Any], name: str, default: float | None = None, *, zero: bool = False) -> float:
    """Returns `facts[name]` as a finite float above 0 (with `zero`, from 0 on); `default` replaces a missing value.

    Raises:
        KeyError: the value is missing and there is no default.
        ValueError: the value is not such a number.
    """
    value = facts[name] if default is None else facts.get(name, default)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (value == 0 and not zero):
        message = f"{name} must be a finite number {'from 0 on' if zero else 'above 0'}: received {str(value)[:40]}"
        raise ValueError(message)
    return float(value)
