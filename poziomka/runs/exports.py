"""Export of metrics to TensorBoard and Weights & Biases, during a run or afterwards.

metrics.jsonl stays the authoritative record. An export copies its lines, either when they are logged (the callback of
`Exports.beside`) or after the run (`export`). Each numeric metric becomes a curve over the run's step. A run resumed
from a checkpoint logs some steps again: TensorBoard then shows the later values, and Weights & Biases has a new run.
"""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from poziomka.core.errors import RunError, SettingsError, nearest
from poziomka.runs.run import Run
from poziomka.runs.storage.disk import in_words
from poziomka.runs.storage.metrics import OWN

Listener = Callable[[str, Mapping[str, Any]], None]


class Export(ABC):
    """Interface of an exporter, which copies metrics of a run to another program."""

    @abstractmethod
    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Exports the numeric metrics of one line of metrics.jsonl.

        Args:
            step: step of the line.
            numbers: metrics by name.
        """

    @abstractmethod
    def close(self) -> None:
        """Finishes the export, so that everything is written or sent."""


class TensorBoard(Export):
    """Exporter that writes TensorBoard event files with the `tensorboard` package, without TensorFlow and torch.

    Args:
        run: the run to export.
        folder: folder of the event files. `folder=None`: the folder "tensorboard" in the run's folder.
        first: first step of this export; TensorBoard discards this step and later ones in older event files.

    Attributes:
        where: path of the folder of the event files.
    """

    def __init__(self, run: Run, folder: Path | None, first: int) -> None:
        """Creates a new event file."""
        self._event, session, self._summary, writer = _tensorboard()
        target = folder or run.folder / "tensorboard"
        with in_words(f"write event files in {target}"):
            target.mkdir(parents=True, exist_ok=True)
            self._writer = writer(str(target))
        started = session(status=session.START)
        self._writer.add_event(self._event(step=first, wall_time=time.time(), session_log=started))
        self.where = str(target)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Writes the metrics of one step to the event file."""
        values = [self._summary.Value(tag=name, simple_value=number) for name, number in numbers.items()]
        summary = self._summary(value=values)
        self._writer.add_event(self._event(step=step, wall_time=time.time(), summary=summary))

    def close(self) -> None:
        """Flushes and closes the event file."""
        self._writer.close()


class WeightsAndBiases(Export):
    """Exporter that starts a run in Weights & Biases, named after the run's folder, and logs the metrics there.

    The environment variables of the `wandb` package apply, such as WANDB_MODE and WANDB_PROJECT.

    Args:
        run: the run to export.
        folder: folder for the files of the `wandb` package. `folder=None`: the run's folder.
        first: not used, because every export is a new run in Weights & Biases.

    Attributes:
        where: path of the folder that the `wandb` package writes.
    """

    def __init__(self, run: Run, folder: Path | None, first: int) -> None:
        """Starts a new run of Weights & Biases."""
        wandb = _wandb()
        target = folder or run.folder
        with in_words(f"write in {target}"):
            target.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(silent=True)
        name = run.folder.resolve().name
        try:
            self._run = wandb.init(dir=str(target), name=name, config=dict(run.recipe), settings=settings)
            self._run.define_metric("step")
            self._run.define_metric("*", step_metric="step")  # not the client's own step: two stages may log one step
        except wandb.Error as error:
            message = f"wandb could not begin: {error}; log in, or set WANDB_MODE=offline"
            raise RunError(message) from error
        self.where = str(self._run.dir)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Logs the metrics of one step to Weights & Biases."""
        self._run.log({"step": step, **numbers})

    def close(self) -> None:
        """Finishes the run in Weights & Biases."""
        self._run.finish()


EXPORTS: dict[str, type[TensorBoard] | type[WeightsAndBiases]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def _tensorboard() -> tuple[Any, Any, Any, Any]:
    """Returns the classes Event, SessionLog, Summary and EventFileWriter of `tensorboard`, which is imported only here.

    Raises:
        SettingsError: the package is not installed; it is an optional dependency.
    """
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2  # noqa: PLC0415 an optional dependency
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415 an optional dependency
    except ModuleNotFoundError as error:
        raise _missing(name="tensorboard") from error
    return event_pb2.Event, event_pb2.SessionLog, summary_pb2.Summary, EventFileWriter


def _wandb() -> Any:
    """Returns the module `wandb` of Weights & Biases, which is imported only here.

    Raises:
        SettingsError: the package is not installed; it is an optional dependency.
    """
    try:
        import wandb  # noqa: PLC0415 an optional dependency
    except ModuleNotFoundError as error:
        raise _missing(name="wandb") from error
    return wandb


def _missing(name: str) -> SettingsError:
    return SettingsError(f"metrics go to {name} with the package of that name: pip install 'poziomka[{name}]'")


def demand_exports(names: Sequence[str]) -> None:
    """Checks that exporters are known and their packages installed; call it before any long work.

    Args:
        names: names of exporters, "tensorboard" or "wandb".

    Raises:
        SettingsError: a name is unknown, or the exporter's package is not installed.
    """
    for name in names:
        if name not in EXPORTS:
            message = f"metrics cannot go to {name!r}{nearest(name, EXPORTS)}"
            raise SettingsError(message)
        _tensorboard() if name == "tensorboard" else _wandb()


def export(run: Run, name: str, folder: Path | None = None) -> tuple[int, str]:
    """Exports all lines of a run's metrics.jsonl.

    Args:
        run: the run to export.
        name: "tensorboard" or "wandb".
        folder: target folder. `folder=None`: the folder "tensorboard" in the run's folder, or for "wandb" the run's
            folder.

    Returns:
        (number of exported lines, path of the folder that was written).

    Raises:
        SettingsError: the exporter is unknown, or its package is not installed.
        RunError: the metrics cannot be read, or the export cannot be written.
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
    """Returns the numeric metrics of a line of metrics.jsonl, by name.

    Booleans, texts and the keys "schema_version", "step" and "stage" are left out.
    """
    return {
        name: value
        for name, value in line.items()
        if name not in OWN and isinstance(value, int | float) and not isinstance(value, bool)
    }


class Exports:
    """Context manager that exports metrics while a run is in progress.

    If an export fails, it is stopped, with a message in `run.notes`; the run continues.

    Args:
        run: the run, opened for writing.
        names: names of exporters, "tensorboard" or "wandb".

    Raises:
        SettingsError: an exporter is unknown, or its package is not installed.
    """

    def __init__(self, run: Run, names: Sequence[str]) -> None:
        """Opens all exporters."""
        demand_exports(names)
        self._run = run
        self._open: dict[str, Export] = {name: EXPORTS[name](run, None, run.resumed + 1) for name in names}

    def beside(self, listener: Listener | None) -> Listener:
        """Returns a callback for logged metrics that exports them, and first calls another callback if there is one.

        Args:
            listener: the other callback, called as listener(stage, line), where `line` is a line of metrics.jsonl as a
                dict. None for no other callback.

        Returns:
            A function with the arguments of `listener`.
        """

        def hear(stage: str, line: Mapping[str, Any]) -> None:
            if listener is not None:
                listener(stage, line)
            for name, target in list(self._open.items()):
                try:
                    target.write(line["step"], numbers_of(line))
                except Exception as error:  # noqa: BLE001 a third-party package may raise any error
                    self._run.note(f"metrics go no longer to {name}: {error}; `poziomka metrics` can copy them later")
                    del self._open[name]

        return hear

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes all exporters; errors are ignored, because the run's own files are complete."""
        for target in self._open.values():
            with contextlib.suppress(Exception):  # the run's own files are complete; a failed export must not end it
                target.close()
