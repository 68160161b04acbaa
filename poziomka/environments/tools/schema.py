"""JSON schemas of tools: made from a function's type hints, and used to validate the arguments that a model wrote.

Supported keywords of JSON schema: type (one or several), enum, items, properties, required, additionalProperties,
nullable, anyOf. They are used as transformers does for chat templates (`transformers.utils.get_json_schema`,
documentation "Tool use"), so that a checkpoint reads the format that it was trained on.
"""

import inspect
import json
import re
import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from poziomka.core.errors import SettingsError, nearest

Schema = Mapping[str, Any]

PLAIN: dict[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
SECTION = re.compile(r"^\s*(Args|Arguments|Returns|Yields|Raises|Examples?|Notes?):\s*$")
ENTRY = re.compile(r"^(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
SAID = 60  # maximum characters of a wrong value in an error message
ARTICLES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


# ------------------------------------------------------------------------------------------------------ from a function
def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns the JSON schema of a function's parameters, with their descriptions from the docstring.

    Raises:
        SettingsError: a parameter cannot be passed by name, has no type hint, or one that JSON cannot express; or the
            docstring describes a parameter that does not exist.
    """
    name = getattr(function, "__name__", repr(function))
    hints = _hints(function, name)
    said = arguments_said(function)
    properties: dict[str, Any] = {}
    required = []
    for parameter in inspect.signature(function).parameters.values():
        where = f"parameter {parameter.name!r} of the tool {name!r}"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            message = f"{where} has no name that a call could give: received {parameter}; name every parameter"
            raise SettingsError(message)
        if parameter.name not in hints:
            message = f"{where} has no type hint: a model could not know what to write; add one"
            raise SettingsError(message)
        schema = schema_of_hint(hints[parameter.name], where)
        if parameter.name in said:
            schema["description"] = said.pop(parameter.name)
        properties[parameter.name] = schema
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    if said:
        unknown = next(iter(said))
        message = f"the docstring of the tool {name!r} explains {unknown!r}, which it does not take"
        raise SettingsError(message + nearest(unknown, properties))
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def schema_of_hint(hint: object, where: str) -> dict[str, Any]:
    """Returns the JSON schema of one type hint.

    Args:
        hint: the type hint.
        where: name of the parameter, for the error message.

    Raises:
        SettingsError: JSON cannot express the type.
    """
    origin, arms = get_origin(hint), get_args(hint)
    if hint in PLAIN:
        return {"type": PLAIN[hint]}
    if hint is list or origin is list:
        return {"type": "array"} | ({"items": schema_of_hint(arms[0], where)} if arms else {})
    if hint is dict or origin is dict:
        if arms and arms[0] is not str:
            message = f"{where} is {hint}: the names of an object are strings; write dict[str, …]"
            raise SettingsError(message)
        return {"type": "object"} | ({"additionalProperties": schema_of_hint(arms[1], where)} if arms else {})
    if origin is Literal:
        return _of_values(arms, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _of_values(tuple(member.value for member in hint), where)
    if origin in (Union, types.UnionType):
        return _of_union(arms, where)
    message = (
        f"{where} is {getattr(hint, '__name__', hint)}, which a model cannot write as JSON; use str, int, float, bool, "
        f"list, dict[str, …], Literal, an Enum, or one of these or None"
    )
    raise SettingsError(message)


def _of_values(values: tuple[object, ...], where: str) -> dict[str, Any]:
    kinds = {PLAIN.get(type(value)) for value in values}
    if None in kinds or not values:
        message = f"{where} is one of {list(values)}: JSON knows strings, numbers, true and false"
        raise SettingsError(message)
    kind = kinds.pop() if len(kinds) == 1 else sorted(map(str, kinds))
    return {"type": kind, "enum": list(values)}


def _of_union(arms: tuple[object, ...], where: str) -> dict[str, Any]:
    kinds = [schema_of_hint(arm, where) for arm in arms if arm is not type(None)]
    if len(kinds) == 1:
        schema = kinds[0]
    elif all(set(kind) == {"type"} for kind in kinds):
        schema = {"type": sorted(kind["type"] for kind in kinds)}
    else:
        schema = {"anyOf": kinds}
    return schema | ({"nullable": True} if type(None) in arms else {})


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return get_type_hints(inspect.unwrap(function) if inspect.isroutine(function) else type(function).__call__)
    except (NameError, TypeError, AttributeError) as error:
        message = f"the type hints of the tool {name!r} cannot be read: {error}"
        raise SettingsError(message) from error


def summary(function: Callable[..., Any]) -> str:
    """Returns the text of a function's docstring before its sections (Args, Returns, …), in one line."""
    lines = (inspect.getdoc(function) or "").splitlines()
    end = next((number for number, line in enumerate(lines) if SECTION.match(line)), len(lines))
    return " ".join(" ".join(lines[:end]).split())


def arguments_said(function: Callable[..., Any]) -> dict[str, str]:
    """Returns the description of each parameter in a Google-style docstring, by name, in one line each."""
    said: dict[str, str] = {}
    inside, depth, name = False, None, ""
    for line in (inspect.getdoc(function) or "").splitlines():
        if SECTION.match(line):
            inside = line.strip().startswith("Arg")
            depth = None
        elif inside and line.strip():
            indent = len(line) - len(line.lstrip())
            depth = indent if depth is None else depth
            entry = ENTRY.match(line.strip()) if indent <= depth else None
            if entry:
                name = entry[1]
                said[name] = entry[2]
            elif name:
                said[name] = f"{said[name]} {line.strip()}".strip()
    return said


# ---------------------------------------------------------------------------------------------- validation of arguments
def fault_in(arguments: object, schema: Schema) -> str:
    """Validates the arguments of a call; returns the first error in one line, or "" if they match the schema.

    Args:
        arguments: the arguments as the model wrote them, normally a mapping by name.
        schema: JSON schema of an object.
    """
    if not isinstance(arguments, Mapping):
        return f"the arguments must be an object: received {_shown(arguments)}"
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for name in arguments:
        if name not in properties:
            return f"unknown argument {_shown(name)}{nearest(str(name)[:SAID], properties)}"
    missing = [name for name in schema.get("required", ()) if name not in arguments]
    if missing:
        return f"the argument {missing[0]!r} is missing"
    faults = (_fault(value, properties[name], f"the argument {name!r}") for name, value in arguments.items())
    return next(filter(None, faults), "")


def _fault(value: object, schema: Schema, where: str) -> str:
    if value is None and schema.get("nullable"):
        return ""
    if "anyOf" in schema:
        arms = [_fault(value, kind, where) for kind in schema["anyOf"]]
        return "" if "" in arms else arms[0]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{where} must be {' or '.join(ARTICLES[kind] for kind in kinds)}: received {_shown(value)}"
    if "enum" in schema and not any(type(value) is type(known) and value == known for known in schema["enum"]):
        known = ", ".join(json.dumps(known, ensure_ascii=False) for known in schema["enum"])
        return f"{where} must be one of {known}: received {_shown(value)}"
    if isinstance(value, list) and "items" in schema:
        faults = (_fault(item, schema["items"], f"{where}[{number}]") for number, item in enumerate(value))
        return next(filter(None, faults), "")
    if isinstance(value, dict):
        return _fault_of_object(value, schema, where)
    return ""


def _fault_of_object(value: dict[str, object], schema: Schema, where: str) -> str:
    if "properties" in schema:
        fault = fault_in(value, schema)
        return f"{where}: {fault}" if fault else ""
    if isinstance(schema.get("additionalProperties"), Mapping):
        kind = schema["additionalProperties"]
        faults = (_fault(item, kind, f"{where}[{_shown(name)}]") for name, item in value.items())
        return next(filter(None, faults), "")
    return ""


def _is(value: object, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            whole = isinstance(value, float) and value.is_integer()
            return (isinstance(value, int) and not isinstance(value, bool)) or whole
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
    return value is None


def _shown(value: object) -> str:
    """Returns a wrong value as JSON, cut to SAID characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= SAID else f"{text[: SAID - 1]}…"


# ----------------------------------------------------------------------------------------------------------- conversion
def as_hinted(value: Any, hint: object) -> Any:
    """Converts a value that matches the JSON schema of a type hint to the type of the hint, and returns it.

    For example, it returns a member for an Enum, and 2.0 for the value 2 if the hint is float.
    """
    origin, arms = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if hint in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return int(value) if hint is int else float(value)
    if origin is list and isinstance(value, list):
        return [as_hinted(item, arms[0]) for item in value]
    if origin is dict and isinstance(value, dict):
        return {name: as_hinted(item, arms[1]) for name, item in value.items()}
    if origin in (Union, types.UnionType):
        for arm in arms:
            if arm is not type(None) and value is not None and not _fault(value, schema_of_hint(arm, ""), ""):
                return as_hinted(value, arm)
    return value


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns the type hints of a function's parameters and return value, by name.

    Raises:
        SettingsError: they cannot be read.
    """
    return _hints(function, getattr(function, "__name__", repr(function)))
