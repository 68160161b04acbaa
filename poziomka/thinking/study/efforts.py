"""Efforts: levels of thinking by cost, each of which names a strategy; a study can choose the strategies."""

from pathlib import Path

from poziomka.core.errors import RunError, SettingsError
from poziomka.core.safety.untrusted import parse_json
from poziomka.thinking.registry import reads_gold

EFFORT = "effort.json"  # file of a study
SINGLE = "single"
LEVELS = ("low", "medium", "high", "auto")
LIMITS = {"low": 1.25, "medium": 4.5}  # highest cost of an effort level, in single replies
FIXED = {"low": SINGLE, "medium": "majority:4", "high": "majority:16", "auto": "adaptive:16"}  # without a study


def strategy_at(effort: str, study: Path | None) -> str:
    """Returns the text that names the strategy of an effort level.

    Args:
        effort: low, medium, high or auto.
        study: folder of a study that chose the levels; None for fixed ones.

    Raises:
        SettingsError: there is no such level.
        RunError: the folder is not that of a study, or its strategy may use gold answers, which a study never chooses.
    """
    if effort not in LEVELS:
        message = f"unknown effort {effort!r}: choose one of {', '.join(LEVELS)}"
        raise SettingsError(message)
    if study is None:
        return FIXED[effort]
    path = study / EFFORT
    text = _read(study).get(effort)
    if not isinstance(text, str):
        message = f"{path} has no strategy for effort {effort!r}: make the study again"
        raise RunError(message)
    if reads_gold(text):
        message = (
            f"{path} has a strategy that may use gold answers for effort {effort!r}, {text!r}: make the study again"
        )
        raise RunError(message)
    return text


def other_study(study: Path | None, model: str, task: str) -> list[str]:
    """Returns a note if a study was made with another model or task than those named; [] otherwise or without one."""
    if study is None:
        return []
    made = _read(study)
    if (made.get("model"), made.get("task")) == (model, task):
        return []
    return [f"the study {study} was made of {made.get('model')} on {made.get('task')}, not of {model} on {task}"]


def _read(study: Path) -> dict[str, object]:
    path = study / EFFORT
    if not path.is_file():
        message = f"there is no study in {study}: it has no {EFFORT}; `poziomka think MODEL --task T` makes one"
        raise RunError(message)
    levels = parse_json(path.read_bytes(), str(path), RunError)
    return levels if isinstance(levels, dict) else {}
