"""Settings: frozen dataclasses parsed from TOML, overridden by name, checked for types and ranges, and serialized.

Each settings class is defined beside the code that it configures; this module is generic.
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
from poziomka.core.safety.untrusted import BITS, read_regular

T = TypeVar("T")
SHOWN = 200  # characters of a value that an error quotes
NONE = "none"  # None in a file, for a setting with another default; TOML has no null


def setting(default: Any, about: str, *, low: float | None = None, high: float | None = None) -> Any:
    """Declares a settings field.

    Args:
        default: default value.
        about: meaning and unit, as `poziomka settings` prints it.
        low: minimum, inclusive; None for no minimum.
        high: maximum, inclusive; None for no maximum.

    Returns:
        A dataclass field.
    """
    return dataclasses.field(default=default, metadata={"about": about, "low": low, "high": high})


def read_toml(path: Path) -> dict[str, Any]:
    """Returns the parsed contents of a TOML file.

    Raises:
        SettingsError: the file is missing, unreadable or not valid TOML.
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
    except (ValueError, RecursionError) as error:  # invalid TOML, an integer of thousands of digits, deep nesting
        message = f"{path} is not valid TOML: {str(error).partition(';')[0]}"
        raise SettingsError(message) from error


def build(kind: type[T], values: Mapping[str, Any], where: str = "settings", base: T | None = None) -> T:
    """Returns a settings object built from plain values: mappings, lists, strings, numbers and booleans, as in TOML.

    Args:
        kind: settings dataclass.
        values: values by field name. A nested mapping changes only the fields of the nested settings that it names; the
            other fields keep the values of the outer field's default.
        where: path of the table, for error messages.
        base: settings object with the values of all other fields. `base=None`: they have their defaults.

    Raises:
        SettingsError: a name is unknown (the message suggests the nearest), a field without a default is missing, or a
            value has a wrong type or is out of range.
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
    """Returns the default value of a field; None if the field has no default."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def is_forgotten(field: dataclasses.Field[Any], hint: Any) -> bool:
    """Returns whether a field can be None but has another default.

    A settings file must then contain the None, written "none", or reading the file would restore the default.
    """
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
    """Returns `value` checked against the type hint `kind`, and converted to it.

    Integers become floats if `kind` is float, sequences become tuples, and mappings become settings objects.

    Args:
        value: the value, as read from TOML.
        kind: type hint of the settings field.
        where: path of the field, for error messages.
        base: settings object with the values that a mapping leaves out. `base=None`: those have their defaults.

    Raises:
        SettingsError: the value has another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if _holds_huge(value):
        message = f"{where} must have no number of more than 300 digits: received {shown(value)}"
        raise SettingsError(message)
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
        message = f"{where} must be a list, written [a, b]: received {shown(value)} ({type(value).__name__})"
        raise SettingsError(message)
    if origin is not None and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            return dict(value)
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif kind is Any or (isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)):
        return value
    wanted = getattr(kind, "__name__", str(kind))
    message = f"{where} must be {wanted}: received {shown(value)} ({type(value).__name__})"
    raise SettingsError(message)


def _holds_huge(value: Any) -> bool:
    """Returns whether a value is or contains an integer of more than BITS (1000) bits."""
    if isinstance(value, Mapping):
        return any(map(_holds_huge, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_huge, value))
    return isinstance(value, int) and value.bit_length() > BITS


def shown(value: Any) -> str:
    """Returns the repr of a value for an error message, truncated to SHOWN (200) characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or deep nesting
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
    """Returns a copy of nested settings values with overrides applied.

    Args:
        values: settings as nested mappings of plain values, as read from TOML.
        changes: overrides, each `name=value` or `table.name=value`. The value is TOML; other text is taken as a string,
            and "none" as None.

    Raises:
        SettingsError: an override has no "=", or its path leads through a value that is not a table.
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
    except (ValueError, RecursionError):  # as in read_toml
        return None if text == NONE else text


def plain(settings: Any) -> dict[str, Any]:
    """Returns a settings dataclass as nested mappings of plain values, as in TOML; `build` restores it from them.

    A field that is None is left out, or is "none" if its default is another value.
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
    """Returns nested mappings of plain values as TOML text; `read_toml` parses the text back to equal values.

    A list of mappings becomes an array of tables, [[name]].

    Args:
        values: values by name; None is not allowed, because TOML has no null.
        table: dotted path of the table that `values` is; "" for a whole file.
    """
    lines = [f"{_key(name)} = {_literal(value)}" for name, value in values.items() if not _tables(value)]
    for name, value in values.items():
        path = f"{table}.{_key(name)}" if table else _key(name)
        for each in _tables(value):
            only_tables = bool(each) and all(_tables(inner) for inner in each.values())
            header = [] if each is value and only_tables else [f"[{path}]" if each is value else f"[[{path}]]"]
            lines += ["", *header, to_toml(each, path)]
    return "\n".join(lines).strip() + ("" if table else "\n")


def _tables(value: Any) -> list[Mapping[str, Any]]:
    """Returns the TOML tables of a value: [value] for a mapping, the list for a list of mappings, else []."""
    if isinstance(value, Mapping):
        return [value]
    listed = isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value)
    return list(value) if listed else []


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _literal(name)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # DEL: in JSON, not in TOML
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(name)} = {_literal(item)}" for name, item in value.items()) + "}"
    if isinstance(value, int | float):
        return repr(value)
    return "[" + ", ".join(_literal(item) for item in value) + "]"
