"""Checks of a run's folder before anything in it is opened, written or deleted."""

import stat
from collections.abc import Callable
from pathlib import Path

from poziomka.core.errors import RunError
from poziomka.runs.recipe import RECIPE
from poziomka.runs.storage.disk import TEMPORARY

METRICS, NOTES, LOCK = "metrics.jsonl", "notes.log", ".lock"
SAVED = ".saved"  # marks a run that has saved a checkpoint and therefore must not start over without one
JOURNAL, CHECKPOINTS, RESULTS = "journal", "checkpoints", "results"
PROVENANCE = "provenance.json"
FILES = (RECIPE, METRICS, NOTES, LOCK, SAVED, PROVENANCE)
FOLDERS = (JOURNAL, CHECKPOINTS, RESULTS)
MARKS = (LOCK, PROVENANCE)  # files that only a run writes; the lock is written first


def demand_usable(folder: Path) -> None:
    """Checks that a run can be created or resumed in an existing folder.

    Raises:
        RunError: the folder has files and is no run, or a part of the run is a symbolic link, a pipe or a device (a
            run's folder may come from another machine, and writing to it must not change or delete anything elsewhere).
    """
    for names, is_kind, kind in ((FILES, stat.S_ISREG, "a regular file"), (FOLDERS, stat.S_ISDIR, "a folder")):
        for name in names:
            _demand_kind(folder / name, is_kind, kind)
    others = sorted(
        path.name for path in folder.iterdir() if path.name not in (LOCK, RECIPE) and TEMPORARY not in path.name
    )
    is_run = (folder / RECIPE).exists() and any((folder / mark).exists() for mark in MARKS)
    if others and not is_run:
        message = f"{folder} is not empty and holds no run (it holds {', '.join(others[:3])}): give another folder"
        raise RunError(message)


def _demand_kind(path: Path, is_kind: Callable[[int], bool], kind: str) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not is_kind(mode):
        found = "a symbolic link" if stat.S_ISLNK(mode) else "something else"
        message = f"{path} must be {kind} and is {found}: move the run's own files there, or give another folder"
        raise RunError(message)


def demand_utf8(folder: Path) -> None:
    """Raises RunError for a folder whose name is not UTF-8, in which the tokenizer library cannot save a model."""
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        message = f"the name of the folder {str(folder)!r} is not UTF-8, and a model cannot be saved in it: rename it"
        raise RunError(message) from error
