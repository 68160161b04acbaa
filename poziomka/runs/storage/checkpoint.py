"""Atomic checkpoints: written to a temporary folder, checksummed, synced, then renamed."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from poziomka.core.errors import CheckpointError
from poziomka.core.safety.untrusted import open_regular, parse_object, read_regular
from poziomka.runs.storage.disk import TEMPORARY, clear_temporaries, in_words, remove, sync
from poziomka.runs.storage.schema import SCHEMA, demand_schema

MANIFEST, STATE = "manifest.json", "state.json"
REPLACED, DAMAGED = ".replaced", ".damaged"  # suffixes of folders that were moved aside
BLOCK = 1 << 20  # bytes hashed at a time


class OtherVersion(CheckpointError):
    """A checkpoint is intact but has another schema version.

    A run must then not continue from an older checkpoint, as it does if the newest one is damaged.
    """


@dataclass(frozen=True)
class Checkpoint:
    """A saved state from which a run can be resumed.

    Attributes:
        folder: folder of the files that the learner wrote (model.safetensors, config.json, …).
        step: number of completed steps.
        state: state of the training loop beside the weights, as plain JSON values.
        score: score that determines the best checkpoint, higher is better; None if not measured.
    """

    folder: Path
    step: int
    state: dict[str, Any]
    score: float | None

    @classmethod
    def read(cls, folder: Path) -> "Checkpoint":
        """Returns the checkpoint in `folder` after verifying the checksums of all its files.

        Raises:
            CheckpointError: a file is missing, truncated or changed, or the schema version is another one.
        """
        manifest = _verified(folder)
        state = parse_object(read_regular(folder / STATE, CheckpointError), str(folder / STATE), CheckpointError)
        return cls(folder, manifest["step"], state, manifest["score"])

    def verify(self) -> None:
        """Verifies the checksums of all files again.

        Raises:
            CheckpointError: a file is missing, truncated or changed, or the schema version is another one.
        """
        _verified(self.folder)


def write_checkpoint(
    root: Path, step: int, write: Callable[[Path], None], state: Mapping[str, Any], score: float | None
) -> Checkpoint:
    """Saves a checkpoint in `root` and returns it; its folder appears only when it is complete.

    Args:
        root: the run's folder of checkpoints.
        step: number of completed steps, part of the folder's name; an earlier checkpoint of this step is replaced.
        write: called as write(folder); writes the learner's files into that folder. It must not use the names
            state.json and manifest.json.
        state: state of the training loop, as plain JSON values.
        score: score of the checkpoint, higher is better; None, or a number that is not finite, for no score.

    Raises:
        CheckpointError: `state` is not JSON.
        RunError: the disk is full, or the folder is not writable.
    """
    final = root / f"step-{step:06d}"
    temporary = root / f"{TEMPORARY}{final.name}"
    score = float(score) if score is not None and math.isfinite(score) else None
    text = _state_text(step, state)
    with in_words(f"save the checkpoint {final}"):
        try:
            root.mkdir(exist_ok=True)
            remove(temporary)
            temporary.mkdir()
            write(temporary)
            (temporary / STATE).write_text(text, encoding="utf-8")
            _seal(temporary, step, score)
        except BaseException:
            remove(temporary)
            raise
        _put(temporary, final)
    return Checkpoint(final, step, json.loads(text), score)


def _state_text(step: int, state: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(state), ensure_ascii=False, indent=1)
    except (TypeError, ValueError) as error:
        message = f"the state of step {step} must be plain JSON values: {error}; write tensors as files instead"
        raise CheckpointError(message) from error


def _seal(folder: Path, step: int, score: float | None) -> None:
    """Syncs every file and folder of a checkpoint, then writes its manifest with their sizes and checksums."""
    inside = sorted(folder.rglob("*"))
    files: dict[str, list[int | str]] = {}
    for path in inside:
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = [path.stat().st_size, _digest(path)]
        sync(path)
    manifest: dict[str, Any] = {"schema_version": SCHEMA, "step": step, "score": score, "files": files}
    manifest["sha256"] = _own_digest(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    sync(folder / MANIFEST)
    sync(folder)


def _put(temporary: Path, final: Path) -> None:
    """Renames a finished checkpoint to its final name.

    An earlier checkpoint of that name is first renamed, and removed only at the end.
    """
    aside = final.with_name(final.name + REPLACED)
    if final.exists():
        remove(aside)
        final.rename(aside)
    temporary.rename(final)
    sync(final.parent)
    remove(aside)


def settle(root: Path) -> None:
    """Repairs a folder of checkpoints after an interrupted save.

    Restores a checkpoint that was renamed to make room for a new one, and removes unfinished checkpoints.
    """
    clear_temporaries(root)
    for aside in root.glob(f"step-*{REPLACED}"):
        final = aside.with_name(aside.name.removesuffix(REPLACED))
        if final.exists():
            remove(aside)
        else:
            aside.rename(final)


def put_aside(folder: Path) -> Path:
    """Renames a damaged checkpoint, so that a valid one can have its name; returns the new path."""
    names = (f"{folder.name}{DAMAGED}{f'-{number}' if number > 1 else ''}" for number in count(1))
    aside = next(path for name in names if not (path := folder.with_name(name)).exists())
    return folder.rename(aside)


def folders(root: Path) -> list[Path]:
    """Returns the folders of all checkpoints in `root`, valid or not, newest first."""
    found = [path for path in root.glob("step-*") if re.fullmatch(r"step-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)


def newest_sound(root: Path) -> tuple[Checkpoint | None, dict[Path, str]]:
    """Returns (newest valid checkpoint, faults of newer, damaged checkpoints by their folders).

    The checkpoint is None if there are no checkpoints at all.

    Raises:
        CheckpointError: there are checkpoints but none is valid, or the newest intact one has another schema version.
    """
    damage: dict[Path, str] = {}
    for folder in folders(root):
        try:
            return Checkpoint.read(folder), damage
        except OtherVersion:
            raise
        except CheckpointError as error:
            damage[folder] = str(error)
    if damage:
        message = (
            f"no checkpoint in {root} is sound ({'; '.join(damage.values())}): restore one from a copy, "
            "or start again in another folder"
        )
        raise CheckpointError(message)
    return None, {}


def prune(root: Path, keep_last: int) -> None:
    """Removes all checkpoints but the newest `keep_last` and the best by score (of equal scores, the newest).

    A checkpoint with an unreadable manifest is neither removed nor counted, so that the user can inspect it.
    """
    known = []
    for folder in folders(root):
        try:
            known.append((folder, _manifest(folder)["score"]))
        except CheckpointError:
            continue
    scored = [(score, folder) for folder, score in known if score is not None]
    best = max(scored, key=lambda pair: pair[0])[1] if scored else None
    for folder, _ in known[keep_last:]:
        if folder != best:
            # Renamed first, so that a kill leaves a temporary folder, never a partial checkpoint under its own name.
            doomed = folder.rename(folder.with_name(TEMPORARY + folder.name))
            remove(doomed)


def best_of(root: Path) -> Checkpoint | None:
    """Returns the valid checkpoint with the highest score (of equal scores, the newest); None if none has a score.

    Raises:
        OtherVersion: a checkpoint has another schema version.
    """
    best: Checkpoint | None = None
    for folder in folders(root):
        try:
            score = _manifest(folder)["score"]
            if score is not None and (best is None or best.score is None or score > best.score):
                best = Checkpoint.read(folder)
        except OtherVersion:
            raise
        except CheckpointError:
            continue
    return best


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        content = read_regular(path, CheckpointError)
    except FileNotFoundError as error:
        message = f"checkpoint {folder} is damaged: {MANIFEST} is missing"
        raise CheckpointError(message) from error
    except CheckpointError as error:
        message = f"checkpoint {folder} is damaged: {MANIFEST} cannot be used: {error}"
        raise CheckpointError(message) from error
    manifest = parse_object(content, f"checkpoint {folder} is damaged: {MANIFEST}", CheckpointError)
    demand_schema(manifest.get("schema_version"), f"checkpoint {folder}", OtherVersion)
    digest = manifest.pop("sha256", None)
    _demand_fields(folder, manifest)
    if digest != _own_digest(manifest) or folder.name.split(".")[0] != f"step-{manifest['step']:06d}":
        message = f"checkpoint {folder} is damaged: {MANIFEST} does not match its own checksum, or its folder's name"
        raise CheckpointError(message)
    return manifest


def _demand_fields(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Checks the fields of a checkpoint's manifest.

    Raises:
        CheckpointError: a field is missing or has a wrong type, or a listed file is outside the checkpoint.
    """
    step, score, files = (manifest.get(name) for name in ("step", "score", "files"))
    wrong = ""
    if type(step) is not int or step < 0:
        wrong = f"its step must be a number of steps: received {step!r}"
    elif score is not None and (type(score) not in (int, float) or not math.isfinite(score)):
        wrong = f"its score must be a number or null: received {score!r}"
    elif not isinstance(files, dict) or STATE not in files:
        wrong = f"its files must be a table that has {STATE}: received {type(files).__name__}"
    else:
        for name, entry in files.items():
            inside = PurePosixPath(name)
            if inside.is_absolute() or ".." in inside.parts or not inside.parts:
                wrong = f"it names {name!r}, which is no file of the checkpoint"
            elif not isinstance(entry, list) or list(map(type, entry)) != [int, str]:
                wrong = f"its entry for {name!r} must be a size and a checksum: received {entry!r}"
    if wrong:
        message = f"checkpoint {folder} is damaged: {MANIFEST} cannot be used: {wrong[:300]}"
        raise CheckpointError(message)


def _own_digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _verified(folder: Path) -> dict[str, Any]:
    """Returns the manifest of a checkpoint after verifying the size and checksum of every file that it lists.

    Raises:
        CheckpointError: a file is missing, truncated or changed, or the schema version is another one.
    """
    manifest = _manifest(folder)
    for name, (size, digest) in manifest["files"].items():
        path = folder / name
        try:
            found = path.stat().st_size
            fault = f"has {found} bytes of {size}" if found != size else ""
            if not fault and _digest(path) != digest:
                fault = "has other contents than were written (its checksum differs)"
        except FileNotFoundError:
            fault = "is missing"
        except (OSError, ValueError, CheckpointError) as error:  # ValueError: a name with a zero byte
            fault = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        if fault:
            message = f"checkpoint {folder} is damaged: {name} {fault}"
            raise CheckpointError(message)
    return manifest


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path, CheckpointError) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
