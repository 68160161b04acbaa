"""Formatting of numbers, durations and texts for reports; standard library only."""

import math
from typing import Any

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"
PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def finite(value: Any) -> float | None:
    """Returns `value` as a float, or None if it is no finite number (missing, text, boolean, NaN)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def percent(value: float, digits: int = 0) -> str:
    """Formats a fraction from 0 to 1 as a percentage: 0.873 → "87 %"."""
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def scaled(value: Any, unit: str = "") -> str:
    """Formats a number with three digits and an SI prefix: 2.31e12, "FLOPs" → "2.31 TFLOPs"; a dash for no number."""
    number = finite(value)
    if number is None:
        return NOTHING
    factor, prefix = next(((f, p) for f, p in PREFIXES if abs(number) >= 0.9995 * f), (1.0, ""))  # 999.6 M is 1.00 G
    shown = f"{number / factor:.3g}"
    if factor > 1 and abs(number) / factor < 99.95:  # three digits: keep their zeros, 1.50 not 1.5
        shown = f"{number / factor:#.3g}"
    return f"{shown}\N{NO-BREAK SPACE}{prefix}{unit}".rstrip("\N{NO-BREAK SPACE}").replace("-", MINUS)


def counted(count: int, noun: str, several: str = "") -> str:
    """Formats a count with its noun, given in the singular: "1 token", "3 tokens".

    Args:
        count: the count.
        noun: the noun in the singular.
        several: the noun in the plural; "" for the singular with an "s".
    """
    return f"{count:,} {noun if count == 1 else several or f'{noun}s'}"


def duration(seconds: Any) -> str:
    """Formats a duration given in seconds: 3.42 → "3.4 s", 157 → "2 min 37 s"; a dash if it is no number."""
    number = finite(seconds)
    if number is None:
        return NOTHING
    if number < 60:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def brief(value: Any) -> str:
    """Formats a setting or a number for a table: floats with up to six digits, lists with commas, booleans as words."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NOTHING}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(brief(item) for item in value)
    return str(value)


def shortened(text: str, limit: int = 4000) -> str:
    """Returns a text; if it is longer than about `limit` characters, only its beginning and its end."""
    if len(text) <= 1.2 * limit:  # cutting a few words would not help
        return text
    half = limit // 2
    return f"{text[:half]} […{len(text) - 2 * half} characters…] {text[-half:]}"
