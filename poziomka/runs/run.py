"""`Run`, the folder of a training run, in open formats; a run that was killed at any moment can be resumed from it."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from poziomka.core.errors import CheckpointError, RunError
from poziomka.core.rollout import Group
from poziomka.runs.folder import (
    CHECKPOINTS,
    JOURNAL,
    LOCK,
    METRICS,
    NOTES,
    PROVENANCE,
    RESULTS,
    SAVED,
    demand_usable,
)
from poziomka.runs.provenance import provenance
from poziomka.runs.recipe import RECIPE, as_toml, demand_present, demand_same, read_recipe
from poziomka.runs.storage import checkpoint as checkpoints
from poziomka.runs.storage.checkpoint import Checkpoint
from poziomka.runs.storage.disk import TEMPORARY, Lock, clear_temporaries, in_words, replace_file, sync
from poziomka.runs.storage.journal import Journal, journal_step, read_journal, write_journal
from poziomka.runs.storage.metrics import line_of, read_metrics, trim_metrics
from poziomka.runs.storage.results import read_json, write_json


class Run:
    """A run's folder, opened for writing with `Run.open` or read-only with `Run.read`; use it as a context manager.

    Attributes:
        folder: the run's folder.
        recipe: the resolved settings, as nested plain values.
        resumed: step from which the run is resumed; 0 for a new run.
        notes: messages for the user since the run was opened, such as damaged files.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any], lock: Lock | None, keep_last: int) -> None:
        """Creates the object only, without access to the disk; use `Run.open` or `Run.read` instead."""
        self.folder = folder
        self.recipe = recipe
        self.resumed = 0
        self.notes: list[str] = []
        self._lock = lock
        self._keep_last = keep_last
        self._latest: Checkpoint | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        recipe: Mapping[str, Any],
        *,
        keep_last: int = 2,
        resolve: Callable[[dict[str, Any]], dict[str, Any]] = lambda there: there,
    ) -> "Run":
        """Creates a run's folder, or resumes the run in it, and locks it for this process.

        A run resumes from its newest valid checkpoint. Metrics and journals of later steps are deleted, because they
        will be written again. A run that never saved a checkpoint starts over, and its results are deleted too.

        Args:
            folder: the run's folder, such as runs/NAME.
            recipe: resolved settings, as plain values; the same as before if the run is resumed.
            keep_last: number of newest checkpoints to keep, beside the best.
            resolve: called with the recipe in the folder when a run is resumed; returns it with the defaults of
                settings that the library did not have then.

        Raises:
            RunError: the folder has another recipe, contains no run but other files, is in use, or cannot be written.
            CheckpointError: none of the checkpoints is valid, or all checkpoints of the run are gone.
            PoziomkaError: `resolve` raised it.
        """
        if keep_last < 1:
            message = f"keep_last must be at least 1: received {keep_last}"
            raise RunError(message)
        folder = Path(folder)
        written, plain = as_toml(recipe)
        with in_words(f"write the run {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            demand_usable(folder)
            run = cls(folder, plain, Lock(folder / LOCK), keep_last)
            try:
                run._enter(written, resolve)
            except BaseException:
                run.close()
                raise
        return run

    @staticmethod
    def demand_free(
        folder: Path, recipe: Mapping[str, Any], resolve: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        """Checks without writing that `open` can create or resume a run in a folder; the arguments are those of `open`.

        Raises:
            RunError: the folder has another recipe, contains no run but other files, or cannot be written.
            PoziomkaError: `resolve` raised it, because it cannot read the recipe in the folder.
        """
        with in_words(f"write the run {folder}"):
            there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
            if not there.is_dir() or not os.access(there, os.W_OK):
                message = f"cannot write the run {folder}: {there} is no folder that may be written; give another one"
                raise RunError(message)
            if folder.exists():
                demand_usable(folder)
            if (folder / RECIPE).exists():
                before = read_recipe(folder)
                demand_present(folder, before)
                demand_same(folder, as_toml(resolve(before))[1], as_toml(recipe)[1])

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Opens a run for reading only: it takes no lock and changes no file.

        Raises:
            RunError: the folder contains no run, or its recipe is damaged or has another schema version.
        """
        folder = Path(folder)
        return cls(folder, read_recipe(folder), None, 1)

    def _enter(self, written: bytes, resolve: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Creates missing files and folders, or resets the folder to its newest checkpoint; the caller has the lock."""
        clear_temporaries(self.folder)
        if (self.folder / RECIPE).exists():
            before = read_recipe(self.folder)
            demand_present(self.folder, before)
            demand_same(self.folder, as_toml(resolve(before))[1], self.recipe)
        else:
            replace_file(self.folder / RECIPE, written)
        for name in (JOURNAL, CHECKPOINTS, RESULTS):
            (self.folder / name).mkdir(exist_ok=True)
            clear_temporaries(self.folder / name)
        self._find_checkpoint()
        last = self._latest.step if self._latest else None
        for sentence in trim_metrics(self.folder / METRICS, last):
            self.note(sentence)
        self._trim_journal(last)
        if last is None:
            for path in (self.folder / RESULTS).glob("*.json"):
                path.unlink()
        self._record_start()

    def _find_checkpoint(self) -> None:
        root = self.folder / CHECKPOINTS
        checkpoints.settle(root)
        self._latest, damage = checkpoints.newest_sound(root)
        for path, fault in damage.items():
            self.note(f"{fault}; it was put aside as {checkpoints.put_aside(path).name}")
        if self._latest is not None:
            self.resumed = self._latest.step
            if damage:
                self.note(f"going on from the sound checkpoint of step {self.resumed} instead")
        elif (self.folder / SAVED).exists():
            message = (
                f"the run {self.folder} had saved checkpoints and none is left in {root}: restore one from a copy, "
                "or start again in another folder; nothing was changed"
            )
            raise CheckpointError(message)

    def _trim_journal(self, last: int | None) -> None:
        for path in self.journals():
            try:
                step = journal_step(path)
            except RunError as error:
                named = re.fullmatch(r"step-(\d+)", path.stem)
                if last is not None and not (named and int(named[1]) > last):
                    self.note(f"{error}; it was left as it is")
                    continue
                step = int(named[1]) if named else 0
            if last is None or step > last:
                path.unlink()

    def _record_start(self) -> None:
        """Adds versions, machine and time of this start to provenance.json; they may differ when a run is resumed."""
        path, now = self.folder / PROVENANCE, provenance()
        try:
            known = read_json(path)
        except RunError as error:
            self.note(f"{error}; it was begun anew")
            known = None
        if known is None:
            known = now
        else:
            before = known.get("resumed")
            known["resumed"] = [*(before if isinstance(before, list) else []), {"step": self.resumed, **now}]
        write_json(path, known)

    def log(self, step: int, stage: str, metrics: Mapping[str, Any] | None = None) -> None:
        """Appends a line to metrics.jsonl; numbers that are not finite become null.

        Args:
            step: step of the metrics.
            stage: name of the stage ("sft", "rl", …), or "evaluate".
            metrics: values by name, with units in the name ("reward/mean", "time/sampling_seconds").

        Raises:
            RunError: a name or value cannot be logged, or the disk is full (a partial line is removed).
        """
        self._demand_writable()
        self._append(self.folder / METRICS, line_of(step, stage, metrics or {}))

    def keep(
        self,
        name: str,
        groups: Sequence[Group],
        advantages: Mapping[str, Sequence[float]] | None = None,
        step: int = 0,
    ) -> None:
        """Writes scored groups of rollouts to journal/`name`.parquet, atomically.

        Args:
            name: name of the journal, such as "step-000123" or "warm-start".
            groups: the rollouts.
            advantages: one number for each MODEL token of a branch. The key is the rollout's id for its first branch
                and "ID#k" for its branch k. None if there are none.
            step: step of the rollouts; a run that resumes from an earlier step deletes the file.

        Raises:
            RunError: the advantages do not match the rollouts, a problem's facts are not JSON values, or the file
                cannot be written.
        """
        self._demand_writable()
        write_journal(self.folder / JOURNAL / f"{_demand_name(name)}.parquet", groups, advantages, step)

    def save(
        self, step: int, write: Callable[[Path], None], state: Mapping[str, Any], score: float | None = None
    ) -> None:
        """Saves a checkpoint atomically, then removes all but the newest `keep_last` and the best.

        Args:
            step: number of completed steps; a run resumed from here continues with the next.
            write: called as write(folder); writes weights and optimizer state into that folder.
            state: the rest of the training loop's state, as plain JSON values.
            score: score that determines the best checkpoint, higher is better; None if not measured.

        Raises:
            RunError: the disk is full or not writable; earlier checkpoints are intact.
            CheckpointError: `state` is not JSON.
        """
        self._demand_writable()
        with in_words(f"save the checkpoint of step {step} in {self.folder}"):
            if (self.folder / METRICS).exists():
                sync(self.folder / METRICS)  # a resumed run relies on the metrics up to its checkpoint
            root = self.folder / CHECKPOINTS
            self._latest = checkpoints.write_checkpoint(root, step, write, state, score)
            if not (self.folder / SAVED).exists():
                replace_file(self.folder / SAVED, b"")
            checkpoints.prune(root, self._keep_last)

    def latest(self) -> Checkpoint | None:
        """Returns the newest valid checkpoint; None if none was saved.

        Raises:
            CheckpointError: none of the checkpoints is valid.
        """
        if self._lock is None:
            self._latest, damage = checkpoints.newest_sound(self.folder / CHECKPOINTS)
            self.notes += [fault for fault in damage.values() if fault not in self.notes]
        return self._latest

    def best(self) -> Checkpoint | None:
        """Returns the valid checkpoint with the highest score; None if no checkpoint has a score."""
        return checkpoints.best_of(self.folder / CHECKPOINTS)

    def record(self, name: str, data: Mapping[str, Any]) -> None:
        """Writes `data` to results/`name`.json, atomically; numbers that are not finite become null.

        Raises:
            RunError: the data is not JSON, or the file cannot be written.
        """
        self._demand_writable()
        write_json(self.folder / RESULTS / f"{_demand_name(name)}.json", data)

    def results(self, name: str) -> dict[str, Any] | None:
        """Returns the contents of results/`name`.json; None if there is no such file.

        Raises:
            RunError: the file is damaged or has another schema version.
        """
        return read_json(self.folder / RESULTS / f"{_demand_name(name)}.json")

    def results_table(self, name: str, table: str) -> dict[str, Any]:
        """Returns the object under the key `table` in results/`name`.json; {} if there is no such file or key.

        Raises:
            RunError: the file is damaged, or the value is no object.
        """
        found = (self.results(name) or {}).get(table, {})
        if not isinstance(found, dict):
            message = (
                f"{self.folder / RESULTS / name}.json is damaged ({table} must be an object): restore it from a copy, "
                "or remove it"
            )
            raise RunError(message)
        return found

    def provenance(self) -> dict[str, Any]:
        """Returns provenance.json: versions, commit, machine and time of the first start and of each resumption.

        Raises:
            RunError: the file is damaged or has another schema version.
        """
        return read_json(self.folder / PROVENANCE) or {}

    def metrics(self) -> list[dict[str, Any]]:
        """Returns the complete lines of metrics.jsonl, parsed; damaged ones are skipped with a message in `notes`.

        Raises:
            RunError: the file cannot be read, or a line has another schema version.
        """
        lines, notes = read_metrics(self.folder / METRICS)
        self.notes += [sentence for sentence in notes if sentence not in self.notes]
        return lines

    def journals(self) -> list[Path]:
        """Returns the paths of the journal files: first those not named after a step ("warm-start"), then by step."""
        paths = [path for path in (self.folder / JOURNAL).glob("*.parquet") if not path.name.startswith(TEMPORARY)]

        def place(path: Path) -> tuple[int, str]:
            named = re.fullmatch(r"step-(\d+)", path.stem)
            return (int(named[1]) if named else -1), path.name

        return sorted(paths, key=place)

    def journal(self, name: str) -> Journal:
        """Returns the contents of journal/`name`.parquet.

        Raises:
            RunError: there is no such journal, it is truncated or damaged, or it has another schema version.
        """
        return read_journal(self.folder / JOURNAL / f"{_demand_name(name)}.parquet")

    def note(self, message: str) -> None:
        """Adds a message to `notes` and, if the run is open for writing, to notes.log; a failed write is ignored."""
        self.notes.append(message)
        if self._lock is not None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            try:
                self._append(self.folder / NOTES, f"{now} {' '.join(message.split())}\n".encode(errors="replace"))
            except RunError:
                return

    def close(self) -> None:
        """Releases the lock on the folder; may be called twice."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Releases the lock on the folder."""
        self.close()

    def _append(self, path: Path, line: bytes) -> None:
        """Appends a complete line to a file or nothing: if the disk is full, the partial line is removed."""
        with in_words(f"write {path}"), path.open("ab", buffering=0) as file:
            start = file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[file.write(line) :]  # on a full disk a write is partial, and the next one raises
            except OSError:
                with suppress(OSError):  # readers skip a partial line that remains
                    file.truncate(start)
                raise

    def _demand_writable(self) -> None:
        if self._lock is None or self._lock.released:
            how = "opened for reading" if self._lock is None else "closed"
            message = f"the run {self.folder} was {how}: open it with Run.open to write"
            raise RunError(message)


def _demand_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        message = f"a name of a file must be letters, digits, '.', '_' and '-': received {name!r}"
        raise RunError(message)
    return name
