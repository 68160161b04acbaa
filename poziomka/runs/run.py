"""The folder of a run: what it holds is readable without us, and a run killed at any moment goes on from it."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from poziomka.core.errors import CheckpointError, RunError
from poziomka.core.rollout import Group
from poziomka.runs import checkpoint as checkpoints
from poziomka.runs.checkpoint import Checkpoint
from poziomka.runs.disk import TEMPORARY, Lock, clear_temporaries, in_words, replace_file, sync
from poziomka.runs.journal import Journal, journal_step, read_journal, write_journal
from poziomka.runs.metrics import line_of, read_metrics, trim_metrics
from poziomka.runs.provenance import provenance
from poziomka.runs.recipe import RECIPE, as_toml, demand_same, read_recipe
from poziomka.runs.results import read_json, write_json

METRICS, NOTES, LOCK = "metrics.jsonl", "notes.log", ".lock"
SAVED = ".saved"  # there once a checkpoint was: without it nothing was done, with it nothing may start over
JOURNAL, CHECKPOINTS, RESULTS = "journal", "checkpoints", "results"
PROVENANCE = "provenance.json"


class Run:
    """A run's folder: `Run.open` writes it, `Run.read` looks at it. Use it as a context manager.

    Attributes:
        folder: where it lies.
        recipe: the resolved settings, as plain values.
        resumed: the step it goes on from; 0 for a fresh run.
        notes: what it wanted said since it was opened.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any], lock: Lock | None, keep_last: int) -> None:
        """Touches nothing; call `Run.open` or `Run.read` instead."""
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
        """Creates the folder of a run, or goes on with the one that is there.

        Going on means: from the newest checkpoint that is sound; metrics and journal of later steps are dropped,
        because they will be written again. A run that never saved a checkpoint starts over: its results go too.

        Args:
            folder: runs/NAME.
            recipe: resolved settings, as plain values; the same as before where the run is resumed.
            keep_last: how many of the newest checkpoints stay, beside the best.
            resolve: what the recipe that is there comes to now: a setting that is younger than the run has its default.

        Raises:
            RunError: the folder is another recipe's, is no run's, is in use, or cannot be written.
            CheckpointError: there are checkpoints and none can be read, or all that there were are gone.
            PoziomkaError: what `resolve` raises.
        """
        if keep_last < 1:
            message = f"keep_last must be at least 1: received {keep_last}"
            raise RunError(message)
        folder = Path(folder)
        written, plain = as_toml(recipe)
        with in_words(f"write the run {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(folder)
            run = cls(folder, plain, Lock(folder / LOCK), keep_last)
            try:
                run._enter(written, resolve)
            except BaseException:
                run.close()
                raise
        return run

    @staticmethod
    def demand_free(folder: Path, recipe: Mapping[str, Any], resolve: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Refuses a folder that `open` would refuse for what it is or holds; nothing is written.

        Raises:
            RunError: the folder is another recipe's, is no run's, or cannot be written.
            PoziomkaError: what `resolve` raises.
        """
        with in_words(f"write the run {folder}"):
            there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
            if not there.is_dir() or not os.access(there, os.W_OK):
                message = f"cannot write the run {folder}: {there} is no folder that may be written; give another one"
                raise RunError(message)
            if folder.exists():
                _refuse_foreign(folder)
            if (folder / RECIPE).exists():
                demand_same(folder, as_toml(resolve(read_recipe(folder)))[1], as_toml(recipe)[1])

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Returns a view of a run that takes no lock, cleans nothing and writes nothing.

        Raises:
            RunError: it is no run's folder, or another version wrote it.
        """
        folder = Path(folder)
        return cls(folder, read_recipe(folder), None, 1)

    def _enter(self, written: bytes, resolve: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Under the lock: creates what is missing, or returns to the newest checkpoint."""
        clear_temporaries(self.folder)
        if (self.folder / RECIPE).exists():
            demand_same(self.folder, as_toml(resolve(read_recipe(self.folder)))[1], self.recipe)
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
        """Adds this start to provenance.json: a resumed run may have seen several machines and versions."""
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
        """Adds a line to metrics.jsonl; a number that is not finite becomes null.

        Args:
            step: the step it belongs to.
            stage: the part of the run ("warm-start", "reinforce", …).
            metrics: values by name, with units in the name ("reward/mean", "time/sampling_seconds").

        Raises:
            RunError: a name or value cannot be logged, or the disk is full (no half line stays).
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
        """Writes judged groups to journal/`name`.parquet, all or nothing.

        Args:
            name: "step-000123", "warm-start".
            groups: the rollouts.
            advantages: by rollout id, one value for each MODEL token of its first branch.
            step: the step it belongs to; a run resumed before it drops the file.

        Raises:
            RunError: advantages do not fit, facts are not JSON, or the file cannot be written.
        """
        self._demand_writable()
        write_journal(self.folder / JOURNAL / f"{_demand_name(name)}.parquet", groups, advantages, step)

    def save(
        self, step: int, write: Callable[[Path], None], state: Mapping[str, Any], score: float | None = None
    ) -> None:
        """Saves a checkpoint, whole or not at all, then removes all but the newest few and the best.

        Args:
            step: steps done; a run resumed from here goes on with the next.
            write: puts weights and optimizer into the folder it is given.
            state: what else the loop needs to go on, as plain JSON values.
            score: higher is better; what "best" goes by.

        Raises:
            RunError: the disk is full or not writable; what was saved before is intact.
            CheckpointError: `state` is not JSON.
        """
        self._demand_writable()
        with in_words(f"save the checkpoint of step {step} in {self.folder}"):
            if (self.folder / METRICS).exists():
                sync(self.folder / METRICS)  # a checkpoint vouches for the lines before it
            root = self.folder / CHECKPOINTS
            self._latest = checkpoints.write_checkpoint(root, step, write, state, score)
            if not (self.folder / SAVED).exists():
                replace_file(self.folder / SAVED, b"")
            checkpoints.prune(root, self._keep_last)

    def latest(self) -> Checkpoint | None:
        """Returns the newest checkpoint that is sound; None where none was saved.

        Raises:
            CheckpointError: there are checkpoints, and none can be read.
        """
        if self._lock is None:
            self._latest, damage = checkpoints.newest_sound(self.folder / CHECKPOINTS)
            self.notes += [fault for fault in damage.values() if fault not in self.notes]
        return self._latest

    def best(self) -> Checkpoint | None:
        """Returns the sound checkpoint with the highest score; None where none has a score."""
        return checkpoints.best_of(self.folder / CHECKPOINTS)

    def record(self, name: str, data: Mapping[str, Any]) -> None:
        """Writes results/`name`.json, all or nothing; numbers that are not finite become null.

        Raises:
            RunError: the data is not JSON, or the file cannot be written.
        """
        self._demand_writable()
        write_json(self.folder / RESULTS / f"{_demand_name(name)}.json", data)

    def results(self, name: str) -> dict[str, Any] | None:
        """Returns what was recorded under `name`; None where nothing was.

        Raises:
            RunError: the file is damaged, or another version wrote it.
        """
        return read_json(self.folder / RESULTS / f"{_demand_name(name)}.json")

    def provenance(self) -> dict[str, Any]:
        """Returns where the run came from: versions, commit, machine, and each time it was resumed.

        Raises:
            RunError: the file is damaged, or another version wrote it.
        """
        return read_json(self.folder / PROVENANCE) or {}

    def metrics(self) -> list[dict[str, Any]]:
        """Returns every whole line of metrics.jsonl; what had to be left out is said in `notes`.

        Raises:
            RunError: the file cannot be read, or another version wrote it.
        """
        lines, notes = read_metrics(self.folder / METRICS)
        self.notes += [sentence for sentence in notes if sentence not in self.notes]
        return lines

    def journals(self) -> list[Path]:
        """Returns the journal's files: those with a name of their own first, then step by step."""
        paths = [path for path in (self.folder / JOURNAL).glob("*.parquet") if not path.name.startswith(TEMPORARY)]

        def place(path: Path) -> tuple[int, str]:
            named = re.fullmatch(r"step-(\d+)", path.stem)
            return (int(named[1]) if named else -1), path.name

        return sorted(paths, key=place)

    def journal(self, name: str) -> Journal:
        """Returns what was kept under `name`.

        Raises:
            RunError: there is no such journal, it is truncated, or another version wrote it.
        """
        return read_journal(self.folder / JOURNAL / f"{_demand_name(name)}.parquet")

    def note(self, message: str) -> None:
        """Says something in notes.log and in `notes`; a note that cannot be written must not end the run."""
        self.notes.append(message)
        if self._lock is not None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            try:
                self._append(self.folder / NOTES, f"{now} {' '.join(message.split())}\n".encode(errors="replace"))
            except RunError:
                return

    def close(self) -> None:
        """Lets the folder go; may be called twice."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Lets the folder go."""
        self.close()

    def _append(self, path: Path, line: bytes) -> None:
        """Adds a whole line or nothing: what a full disk let through of it is taken back."""
        with in_words(f"write {path}"), path.open("ab", buffering=0) as file:
            start = file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[file.write(line) :]  # a full disk takes a part, and says why when asked again
            except OSError:
                with suppress(OSError):  # what cannot be taken back, readers leave out
                    file.truncate(start)
                raise

    def _demand_writable(self) -> None:
        if self._lock is None or self._lock.released:
            how = "opened for reading" if self._lock is None else "closed"
            message = f"the run {self.folder} was {how}: open it with Run.open to write"
            raise RunError(message)


def _refuse_foreign(folder: Path) -> None:
    """Refuses a folder that holds somebody's files and no recipe: a wrong path must not fill it with ours."""
    ours = {LOCK, RECIPE}
    others = sorted(path.name for path in folder.iterdir() if path.name not in ours and TEMPORARY not in path.name)
    if others and not (folder / RECIPE).exists():
        message = f"{folder} is not empty and holds no run (it holds {', '.join(others[:3])}): give another folder"
        raise RunError(message)


def _demand_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        message = f"a name of a file must be letters, digits, '.', '_' and '-': received {name!r}"
        raise RunError(message)
    return name
