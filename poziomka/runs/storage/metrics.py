"""metrics.jsonl: one JSON object for each logged step and stage. A truncated last line is skipped by readers."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poziomka.core.errors import RunError
from poziomka.core.safety.untrusted import LARGE, parse_json, read_regular
from poziomka.runs.storage.disk import replace_file
from poziomka.runs.storage.schema import SCHEMA, demand_schema

RENAMED = {  # metrics of runs written before their names followed other libraries
    "answers/most_common_share": "answers/mode_share",
    "learning/rate": "optim/lr",
    "length/right": "length/correct",
    "policy/grad_norm": "optim/grad_norm",
    "tokens/real_share": "perf/packing_efficiency",
}
OWN = ("schema_version", "step", "stage")  # reserved keys of a line


def line_of(step: int, stage: str, metrics: Mapping[str, Any]) -> bytes:
    """Returns a line of metrics.jsonl as bytes; numbers that are not finite become null.

    Args:
        step: step of the metrics.
        stage: name of the stage.
        metrics: numbers or texts by name.

    Raises:
        RunError: a metric has a reserved name, or is neither a number nor text.
    """
    line: dict[str, Any] = {"schema_version": SCHEMA, "step": step, "stage": stage}
    for name, value in metrics.items():
        if name in OWN:
            message = f"a metric may not be called {name!r}, which every line has already; name it noun/noun"
            raise RunError(message)
        line[name] = _plain(name, value)
    return json.dumps(line, ensure_ascii=False, allow_nan=False).encode(errors="replace") + b"\n"


def _plain(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    try:
        number = float(value)  # also for a scalar of numpy or torch
    except (TypeError, ValueError, RuntimeError) as error:
        message = f"metric {name!r} must be a number or text: received {value!r} ({type(value).__name__})"
        raise RunError(message) from error
    return number if math.isfinite(number) else None


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns (complete lines of a metrics file as dicts, one sentence for each part that was skipped).

    Both lists are empty if there is no such file. Metrics of older runs have their present names.

    Raises:
        RunError: the file cannot be read, or a line has another schema_version.
    """
    pairs, notes = _lines(path)
    return [{RENAMED.get(name, name): value for name, value in line.items()} for _, line in pairs], notes


def trim_metrics(path: Path, last: int | None) -> list[str]:
    """Removes damaged lines and the lines of steps after `last` from a metrics file.

    Args:
        path: the file.
        last: step of the checkpoint from which a run resumes. `last=None`: there is no checkpoint, and all lines are
            removed.

    Returns:
        Sentences for the user about the removed lines; [] if none was removed.

    Raises:
        RunError: the file cannot be read, or a line has another schema_version.
        OSError: the file cannot be written.
    """
    pairs, notes = _lines(path)
    kept = [raw for raw, line in pairs if last is not None and line["step"] <= last]
    if dropped := len(pairs) - len(kept):
        after = "no checkpoint had been saved" if last is None else f"they lie after the checkpoint of step {last}"
        notes.append(f"{dropped} lines of {path.name} dropped: {after}; they will be written again")
    if notes:
        replace_file(path, b"".join(raw + b"\n" for raw in kept))
    return notes


def _lines(path: Path) -> tuple[list[tuple[bytes, dict[str, Any]]], list[str]]:
    try:
        data = read_regular(path, RunError, LARGE)
    except FileNotFoundError:
        return [], []
    *whole, rest = data.split(b"\n")
    notes = [f"the last {len(rest)} bytes of {path.name} are half a line and were left out"] if rest else []
    pairs: list[tuple[bytes, dict[str, Any]]] = []
    for number, raw in enumerate(whole, 1):
        try:
            line = parse_json(raw, path.name, RunError)
        except RunError:
            line = None
        if not isinstance(line, dict) or type(line.get("step")) is not int or line["step"] < 0:
            notes.append(f"line {number} of {path.name} is damaged ({len(raw)} bytes) and was left out")
            continue
        demand_schema(line.get("schema_version"), f"line {number} of {path}")
        pairs.append((raw, line))
    return pairs, notes
