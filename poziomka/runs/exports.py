"""Metrics for TensorBoard and Weights & Biases, live or afterwards, by the same code.

metrics.jsonl stays the truth: an export is a copy of its lines, made as they are logged (`Exports.beside` a listener of
a loop) or when the run is over (`export`). Each number becomes a curve under its own name over the run's step. A run
that goes on from a checkpoint writes some steps again: TensorBoard then shows the later values, and Weights & Biases
has a new run.
"""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from poziomka.core.errors import RunError, SettingsError, nearest
from poziomka.runs.storage.disk import in_words
from poziomka.runs.storage.metrics import OWN
from poziomka.runs.run import Run

Listener = Callable[[str, Mapping[str, Any]], None]


class Export(ABC):
    """Where metrics are copied to."""

    @abstractmethod
    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Takes the numbers of a logged line."""

    @abstractmethod
    def close(self) -> None:
        """Ends the copy, whole."""


class TensorBoard(Export):
    """Event files, written by the `tensorboard` package alone, without TensorFlow and without torch."""

    def __init__(self, run: Run, folder: Path | None, first: int) -> None:
        """Begins an event file in `folder` (RUN/tensorboard); what older files say of steps from `first` on is void."""
        self._event, session, self._summary, writer = _tensorboard()
        target = folder or run.folder / "tensorboard"
        with in_words(f"write event files in {target}"):
            target.mkdir(parents=True, exist_ok=True)
            self._writer = writer(str(target))
        started = session(status=session.START)
        self._writer.add_event(self._event(step=first, wall_time=time.time(), session_log=started))
        self.where = str(target)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """See Export."""
        values = [self._summary.Value(tag=name, simple_value=number) for name, number in numbers.items()]
        summary = self._summary(value=values)
        self._writer.add_event(self._event(step=step, wall_time=time.time(), summary=summary))

    def close(self) -> None:
        """See Export."""
        self._writer.close()


class WeightsAndBiases(Export):
    """A run of the project "poziomka", named after the folder; WANDB_MODE, WANDB_PROJECT and the like are heeded."""

    def __init__(self, run: Run, folder: Path | None, first: int) -> None:
        """Begins a run there, a new one each time; the client's files lie in `folder` (RUN)."""
        wandb = _wandb()
        target = folder or run.folder
        with in_words(f"write in {target}"):
            target.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(silent=True)
        name = run.folder.resolve().name
        try:
            self._run = wandb.init(dir=str(target), name=name, config=dict(run.recipe), settings=settings)
            self._run.define_metric("step")
            self._run.define_metric("*", step_metric="step")  # ours: two stages may log one step
        except wandb.Error as error:
            message = f"wandb could not begin: {error}; log in, or set WANDB_MODE=offline"
            raise RunError(message) from error
        self.where = str(self._run.dir)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """See Export."""
        self._run.log({"step": step, **numbers})

    def close(self) -> None:
        """See Export."""
        self._run.finish()


EXPORTS: dict[str, type[TensorBoard] | type[WeightsAndBiases]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def _tensorboard() -> tuple[Any, Any, Any, Any]:
    """Imports what writes event files: here only, because it is an extra."""
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2  # noqa: PLC0415 an extra
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415 an extra
    except ModuleNotFoundError as error:
        raise _missing(name="tensorboard") from error
    return event_pb2.Event, event_pb2.SessionLog, summary_pb2.Summary, EventFileWriter


def _wandb() -> Any:
    """Imports the client of Weights & Biases: here only, because it is an extra."""
    try:
        import wandb  # noqa: PLC0415 an extra
    except ModuleNotFoundError as error:
        raise _missing(name="wandb") from error
    return wandb


def _missing(name: str) -> SettingsError:
    return SettingsError(f"metrics go to {name} with the package of that name: pip install 'poziomka[{name}]'")


def demand_exports(names: Sequence[str]) -> None:
    """Refuses an unknown export, or one whose package is not installed, before any long work.

    Raises:
        SettingsError: in a sentence, with the command that installs the package.
    """
    for name in names:
        if name not in EXPORTS:
            message = f"metrics cannot go to {name!r}{nearest(name, EXPORTS)}"
            raise SettingsError(message)
        _tensorboard() if name == "tensorboard" else _wandb()


def export(run: Run, name: str, folder: Path | None = None) -> tuple[int, str]:
    """Copies all that metrics.jsonl holds; returns the number of lines, and where they went.

    Raises:
        SettingsError: the export is unknown or its package missing.
        RunError: the metrics cannot be read, or the copy not written.
    """
    demand_exports([name])
    lines = run.metrics()
    target = EXPORTS[name](run, folder, 0)
    try:
        for line in lines:
            target.write(line["step"], numbers_of(line))
    finally:
        target.close()
    return len(lines), target.where


def numbers_of(line: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metrics of a line that are numbers."""
    return {
        name: value
        for name, value in line.items()
        if name not in OWN and isinstance(value, int | float) and not isinstance(value, bool)
    }


class Exports:
    """Copies of a run that is under way; use it as a context manager.

    An export that fails is noted and given up: a copy must not end the run.

    Args:
        run: open, so that it knows the step it goes on from.
        names: of the exports.

    Raises:
        SettingsError: an export is unknown or its package missing.
    """

    def __init__(self, run: Run, names: Sequence[str]) -> None:
        """Begins them all."""
        demand_exports(names)
        self._run = run
        self._open: dict[str, Export] = {name: EXPORTS[name](run, None, run.resumed + 1) for name in names}

    def beside(self, listener: Listener | None) -> Listener:
        """Returns a listener that tells `listener`, and copies."""

        def hear(stage: str, line: Mapping[str, Any]) -> None:
            if listener is not None:
                listener(stage, line)
            for name, target in list(self._open.items()):
                try:
                    target.write(line["step"], numbers_of(line))
                except Exception as error:  # noqa: BLE001 whatever a foreign package raises
                    self._run.note(f"metrics go no longer to {name}: {error}; `poziomka metrics` can copy them later")
                    del self._open[name]

        return hear

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the copies."""
        for target in self._open.values():
            with contextlib.suppress(Exception):  # what was done is done; the run's own files are whole
                target.close()
