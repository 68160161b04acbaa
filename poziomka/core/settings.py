"""Settings: frozen dataclasses read from TOML, changed by name, checked by type and range, and written back.

This module knows no settings class: each lives beside the code it sets.
"""

import copy
import dataclasses
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from poziomka.core.errors import SettingsError, nearest
from poziomka.core.untrusted import BITS, read_regular

T = TypeVar("T")
SHOWN = 200  # characters of a value that an error quotes
NONE = "none"  # how a file writes None where a setting has another default; TOML has no word for it


def setting(default: Any, about: str, *, low: float | None = None, high: float | None = None) -> Any:
    """Declares a field with its meaning, unit and inclusive range."""
    return dataclasses.field(default=default, metadata={"about": about, "low": low, "high": high})


def read_toml(path: Path) -> dict[str, Any]:
    """Returns a TOML file's contents.

    Raises:
        SettingsError: the file is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(read_regular(path, SettingsError).decode())
    except FileNotFoundError as error:
        message = (
            f"there is no file {path}; give the path of a recipe, or the name of one that `poziomka recipes` lists"
        )
        raise SettingsError(message) from error
    except UnicodeDecodeError as error:
        message = f"cannot read {path}: its byte {error.start} is no UTF-8 text"
        raise SettingsError(message) from error
    except SettingsError:
        raise
    except (ValueError, RecursionError) as error:  # no TOML, a number of thousands of digits, [[[[…
        message = f"{path} is not valid TOML: {str(error).partition(';')[0]}"
        raise SettingsError(message) from error


def build(kind: type[T], values: Mapping[str, Any], where: str = "settings", base: T | None = None) -> T:
    """Returns `kind` made from plain values.

    Args:
        kind: a dataclass.
        values: of some or all of its fields. A table of a field that is a dataclass itself changes the values that it
            names; the others are those of the field's default, not of the dataclass.
        where: what an error calls them.
        base: where the values of all other fields come from; None for their defaults.

    Raises:
        SettingsError: an unknown name (with the nearest known one), a wrong type, a value out of range.
    """
    if not isinstance(values, Mapping):
        message = f"{where} must be a table of settings: received {values!r}"
        raise SettingsError(message)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # `kind` is a dataclass
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in fields:
            message = f"unknown setting {name!r} in {where}{nearest(name, fields)}"
            raise SettingsError(message)
    defaults = {name: _default(field) if base is None else getattr(base, name) for name, field in fields.items()}
    checked = {
        name: None
        if value == NONE and is_forgotten(fields[name], hints[name])
        else check(value, hints[name], f"{where}.{name}", defaults[name])
        for name, value in values.items()
    }
    for name, value in checked.items():
        _check_range(value, fields[name].metadata, f"{where}.{name}")
    missing = [
        name
        for name, field in fields.items()
        if name not in checked and base is None and field.default is field.default_factory is dataclasses.MISSING
    ]
    if missing:
        message = f"{where} lacks {', '.join(map(repr, missing))}"
        raise SettingsError(message)
    return kind(**checked if base is None else {**defaults, **checked})


def _default(field: dataclasses.Field[Any]) -> Any:
    """Returns the default of a field; None where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def is_forgotten(field: dataclasses.Field[Any], hint: Any) -> bool:
    """Whether None is a value of a field that has another default, so that a file must not leave it out."""
    return types.NoneType in typing.get_args(hint) and _default(field) is not None


def _check_range(value: Any, metadata: Mapping[str, Any], where: str) -> None:
    low, high = metadata.get("low"), metadata.get("high")
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return
    if (low is not None and value < low) or (high is not None and value > high) or math.isnan(value):
        bounds = f"at least {low}" if high is None else f"at most {high}" if low is None else f"from {low} to {high}"
        bounds = "a number" if low is high is None else bounds
        message = f"{where} must be {bounds}: received {shown(value)}"
        raise SettingsError(message)


def check(value: Any, kind: Any, where: str, base: Any = None) -> Any:
    """Returns `value` as `kind`; an integer is taken where a float is wanted, nothing else is converted.

    Where `kind` is a dataclass, a table's other values come from `base`, or are their defaults.

    Raises:
        SettingsError: the value is of another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else build(kind, value, where, base if isinstance(base, kind) else None)
    if origin in (typing.Union, types.UnionType):
        return _check_union(value, arguments, where, base)
    if origin is typing.Literal:
        if value in arguments:
            return value
        words = [word for word in arguments if isinstance(word, str)]
        hint = nearest(value, words) if words and isinstance(value, str) else ""
        message = f"{where} must be one of {', '.join(map(repr, arguments))}: received {shown(value)}{hint}"
        raise SettingsError(message)
    if origin is tuple:
        if isinstance(value, Sequence) and not isinstance(value, str):
            return tuple(check(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    elif origin is not None and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            return dict(value)
    elif kind is float and isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= BITS:
        return float(value)
    elif kind is Any or (isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)):
        return value
    wanted = getattr(kind, "__name__", str(kind))
    message = f"{where} must be {wanted}: received {shown(value)} ({type(value).__name__})"
    raise SettingsError(message)


def shown(value: Any) -> str:
    """Returns a value as an error quotes it, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, or lists in lists
        return f"a {type(value).__name__} too long to be shown"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _check_union(value: Any, kinds: Sequence[Any], where: str, base: Any) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not types.NoneType]
    if len(others) == 1:
        return check(value, others[0], where, base)
    for kind in others:
        try:
            return check(value, kind, where, base)
        except SettingsError:
            continue
    wanted = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
    message = f"{where} must be {wanted}: received {shown(value)} ({type(value).__name__})"
    raise SettingsError(message)


def override(values: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Returns nested `values` with changes written `name=value` or `table.name=value`; values are TOML, or bare words.

    Raises:
        SettingsError: a change without "=", or a path through something that is no table.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(values))
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path.strip():
            message = f"a change is written name=value: received {shown(change)}"
            raise SettingsError(message)
        *tables, name = path.strip().split(".")
        table = changed
        for part in tables:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                message = f"{part!r} in {shown(change)} is a value, not a table of settings"
                raise SettingsError(message)
        table[name] = _parse(text.strip())
    return changed


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, a number of thousands of digits, [[[[…
        return None if text == NONE else text


def plain(settings: Any) -> dict[str, Any]:
    """Returns a settings dataclass as nested plain values that `build` makes it from.

    None is left out, and is "none" where a field that is left out would have another default.
    """
    hints = typing.get_type_hints(type(settings))
    values = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is not None:
            values[field.name] = _plain(value)
        elif is_forgotten(field, hints[field.name]):
            values[field.name] = NONE
    return values


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return plain(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def to_toml(values: Mapping[str, Any], table: str = "") -> str:
    """Returns nested plain values as TOML text that `read_toml` reads back equal."""
    lines = [f"{_key(name)} = {_literal(value)}" for name, value in values.items() if not isinstance(value, Mapping)]
    for name, value in values.items():
        if isinstance(value, Mapping):
            path = f"{table}.{_key(name)}" if table else _key(name)
            lines += ["", f"[{path}]", to_toml(value, path)]
    return "\n".join(lines).strip() + ("" if table else "\n")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _literal(name)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON allows it bare, TOML does not
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(name)} = {_literal(item)}" for name, item in value.items()) + "}"
    if isinstance(value, int | float):
        return repr(value)
    return "[" + ", ".join(_literal(item) for item in value) + "]"
