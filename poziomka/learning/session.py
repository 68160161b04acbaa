"""How far a run has come, what it has spent, and when that is logged and saved: the same for every loop."""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from poziomka.core.errors import CheckpointError, PoziomkaError
from poziomka.core.rollout import Group
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.sampler import WeightHost
from poziomka.core.task import Task
from poziomka.learning.learner import Learner
from poziomka.learning.monitoring.monitor import Monitor
from poziomka.learning.monitoring.reward_hacking import Alarms
from poziomka.learning.monitoring.thresholds import AlarmSettings
from poziomka.models.lora import load_learned, save_learned
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.runs.run import Run

OPTIMIZER = "optimizer.safetensors"
TAKEN = "taken"  # the tensor in it that counts the optimizer steps
UNFIT = (KeyError, ValueError, TypeError, AttributeError, OSError, RuntimeError, SafetensorError)


class Interrupted(PoziomkaError):
    """The user asked to stop; everything was saved first."""


class Progress:
    """Stands between a loop and its run.

    Args:
        run: where everything is written.
        learner: whose weights and optimizer a checkpoint holds.
        tokenizer: saved beside the weights.
        every: steps between two checkpoints.
        listener: told of every logged line, for a person who watches.

    Attributes:
        step: optimizer steps taken over all stages.
        spent: running totals (FLOPs, tokens), by metric name; they go into every logged line.
        seconds: wall-clock time by phase; kept in checkpoints and not part of what must repeat.
        score: accuracy at validation problems of the weights as they stand, None where exactly these were not measured;
            the checkpoint with the highest is kept beside the newest.
        again: what a person does to go on with this run.
        base: folder or name of the model that adapters go onto, where adapters learn.
        stop: set to save and stop after the step that is under way.
        monitors: further monitors of reinforcement learning, beside the standard ones.
        alarms: who watches whether rewards are earned; None before a loop asks for them.
    """

    def __init__(
        self,
        run: Run,
        learner: Learner,
        tokenizer: Tokenizer,
        every: int = 50,
        listener: Callable[[str, Mapping[str, Any]], None] | None = None,
    ) -> None:
        """Starts at step 0 with nothing spent."""
        self.run, self.learner, self.tokenizer, self.every = run, learner, tokenizer, every
        self.listener = listener
        self.step = 0
        self.spent: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        # what loops and wiring add to a checkpoint, by name
        self.extra: dict[str, Callable[[], Mapping[str, Any]]] = {}
        self._measured: tuple[int, float | None] = (0, None)
        self.stop = False
        self.alarms: Alarms | None = None
        self.monitors: list[Monitor] = []
        self.base = ""
        self.again = f"poziomka train --resume {shlex.quote(str(run.folder))}"

    @property
    def score(self) -> float | None:
        """The accuracy that was measured after this step; None after a step without a measurement."""
        step, score = self._measured
        return score if step == self.step else None

    @score.setter
    def score(self, score: float | None) -> None:
        self._measured = self.step, score

    @property
    def version(self) -> str:
        """Names the weights as they stand."""
        return self.version_of(self.step)

    @staticmethod
    def version_of(step: int) -> str:
        """Names the weights after a step."""
        return f"step-{step:06d}"

    def publish_weights(self, host: WeightHost) -> None:
        """Loads the present weights into a sampler."""
        wait_for(host.load_weights(self.version, self.learner.weights()))

    def restore(self) -> Mapping[str, Any]:
        """Goes on from the run's newest checkpoint; returns its state ({} where there is none).

        Raises:
            CheckpointError: the checkpoint lacks something, or does not fit the model.
        """
        saved = self.run.latest()
        if saved is None:
            return {}
        try:
            load_learned(saved.folder, self.learner.model)
            self.learner.restore(_unflatten(load_file(saved.folder / OPTIMIZER), self.learner.state(copied=False)))
            self.step, self.spent = saved.step, dict(saved.state["spent"])
            self.score = saved.score
            self.seconds = dict(saved.state["seconds"])
        except UNFIT as error:
            message = f"the checkpoint {saved.folder} does not fit this run: {error}"
            raise CheckpointError(message) from error
        return saved.state

    def spend(self, **amounts: float) -> None:
        """Adds to the running totals; `reinforce_flops=…` is logged as compute/reinforce_flops."""
        for name, amount in amounts.items():
            key = f"compute/{name}"
            self.spent[key] = self.spent.get(key, 0.0) + amount

    def log(self, stage: str, metrics: Mapping[str, float]) -> None:
        """Writes a line of metrics for this step, totals included, and tells the listener."""
        line = dict(metrics) | self.spent
        for name, value in metrics.items():
            if name.startswith("time/"):
                phase = f"{stage}: {name.removeprefix('time/').removesuffix('_seconds')}"
                self.seconds[phase] = self.seconds.get(phase, 0.0) + value
        self.run.log(self.step, stage, line)
        if self.listener is not None:
            self.listener(stage, {"step": self.step, **line})

    def keep(self, groups: Sequence[Group], advantages: Mapping[str, Sequence[float]]) -> None:
        """Writes this step's rollouts into the journal."""
        self.run.keep(self.version, groups, advantages, self.step)

    def done(self, *, last: bool = False) -> None:
        """Ends a step: saves where one is due.

        Raises:
            Interrupted: `stop` was set; the state is saved.
        """
        if last or self.stop or self.step % self.every == 0:
            self.save()
        if self.stop:
            message = f"stopped after step {self.step}; go on with: {self.again}"
            raise Interrupted(message)

    def save(self) -> None:
        """Writes a checkpoint of everything a loop needs to go on."""
        state = {name: dict(give()) for name, give in self.extra.items()}
        self.run.save(self.step, self._write, {"spent": self.spent, "seconds": self.seconds, **state}, self.score)

    def _write(self, folder: Path) -> None:
        save_learned(folder, self.learner.model, self.tokenizer, self.base)
        save_file(_flatten(self.learner.state(copied=False)), folder / OPTIMIZER)


def watch_over(progress: Progress, task: Task, settings: AlarmSettings, seconds: float = 10.0) -> Alarms:
    """Returns the alarms that watch a run, as its checkpoint left them where it goes on from one."""
    if progress.alarms is None:
        progress.alarms = Alarms(task, settings, seconds)
        saved = progress.run.latest()
        if saved is not None and saved.step == progress.step and "alarms" in saved.state:
            progress.alarms.restore(saved.state["alarms"])
        progress.extra["alarms"] = progress.alarms.state
    return progress.alarms


class Clock:
    """Seconds by phase of one step."""

    def __init__(self) -> None:
        """Starts now."""
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Ends a phase."""
        now = time.perf_counter()
        self.seconds[f"time/{phase}_seconds"] = now - self._since
        self._since = now


def _flatten(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an optimizer's tensors by name; its settings are the recipe's and are not repeated."""
    tensors = {
        f"{number}.{name}": tensor.contiguous()
        for number, tensors in state["state"].items()
        for name, tensor in tensors.items()
    }
    return tensors | {TAKEN: torch.tensor(state["taken"])}


def _unflatten(tensors: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an optimizer's state from `_flatten`'s tensors and a fresh optimizer's settings."""
    state: dict[int, dict[str, Any]] = {}
    taken = int(tensors.get(TAKEN, 0))  # older checkpoints have none
    for key, tensor in tensors.items():
        if key == TAKEN:
            continue
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    return {"state": state, "param_groups": fresh["param_groups"], "taken": taken}
