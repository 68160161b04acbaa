"""results/NAME.json and similar files: small JSON objects with a schema version."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poziomka.core.errors import RunError
from poziomka.core.safety.untrusted import read_object
from poziomka.runs.storage.disk import in_words, replace_file
from poziomka.runs.storage.schema import SCHEMA, demand_schema


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes a JSON object with a schema_version to a file, atomically; numbers that are not finite become null.

    Raises:
        RunError: the data is not JSON, or the file cannot be written.
    """
    try:
        text = json.dumps({"schema_version": SCHEMA, **_finite(data)}, ensure_ascii=False, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        message = f"what is recorded in {path.name} must be plain JSON values: {error}"
        raise RunError(message) from error
    with in_words(f"write {path}"):
        replace_file(path, text.encode(errors="replace") + b"\n")  # lone surrogates, which UTF-8 lacks, become "?"


def read_json(path: Path) -> dict[str, Any] | None:
    """Returns the object that `write_json` wrote, without its schema_version; None if there is no such file.

    Raises:
        RunError: the file is damaged, or has another schema version.
    """
    try:
        data = read_object(path, RunError)
    except FileNotFoundError:
        return None
    except RunError as error:
        message = f"{path} is damaged ({error}): restore it from a copy, or remove it"
        raise RunError(message) from error
    demand_schema(data.pop("schema_version", None), str(path))
    return data


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
