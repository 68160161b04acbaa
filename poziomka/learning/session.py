"""Training session: progress, compute totals, logging and checkpoints, shared by all training loops."""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
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
from poziomka.learning.monitoring.reward_hacking import RewardHacking
from poziomka.learning.monitoring.thresholds import AlarmSettings
from poziomka.models.lora import load_learned, save_learned
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.runs.run import Run

OPTIMIZER = "optimizer.safetensors"
MOST_UNSAVED = 600.0  # seconds of training between two checkpoints, at most, where steps are slow
UNTHOUGHT = {  # metrics of thinking tokens, and their names for all tokens of a model that does not think
    "length/thinking": "length/mean",
    "evaluate/thinking_tokens": "evaluate/tokens",
}
TAKEN = "taken"  # name of the tensor with the number of optimizer steps
UNFIT = (KeyError, ValueError, TypeError, AttributeError, OSError, RuntimeError, SafetensorError)


@contextmanager
def fitting(folder: Path) -> Iterator[None]:
    """Context manager that turns errors of loading the checkpoint in `folder` into a CheckpointError."""
    try:
        yield
    except UNFIT as error:
        message = f"the checkpoint {folder} does not fit this run: {error}"
        raise CheckpointError(message) from error


class Interrupted(PoziomkaError):
    """Raised when the user requested a stop, after a checkpoint was saved."""


@dataclass
class StageRecord:
    """Progress of a run through the stages of its recipe, saved in every checkpoint; stages are given by name.

    Attributes:
        present: the stage that took the newest step; "" before the first step.
        taken: number of steps taken, by stage that has begun.
        ended: stages that are finished.
        prepared: stages for which the model was measured and saved before their first step.
        spent: cumulative totals (FLOPs, tokens), by metric name, when the present stage began.
        sampled: the stage to which the saved state of curriculum and alarms belongs; "" for none.
    """

    present: str = ""
    taken: dict[str, int] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)
    sampled: str = ""


class TrainingSession:
    """State of a training session: connects a training loop to its run.

    Args:
        run: receives metrics, rollouts, notes and checkpoints.
        learner: its weights and optimizer state are saved in checkpoints.
        tokenizer: saved with the weights.
        every: number of steps between checkpoints.
        listener: callback (name of the stage, metrics) for each logged line, for live display.

    Attributes:
        step: number of training steps over all stages.
        stages: progress of the run in each of its stages.
        spent: cumulative totals (FLOPs, tokens) by metric name, added to every logged line.
        seconds: wall-clock seconds by phase; saved in checkpoints, and not reproducible between runs.
        score: validation accuracy of the present weights; None if these weights were not evaluated. The checkpoint with
            the highest score is kept beside the newest.
        again: shell command, or instruction to the user, that resumes this run.
        base: folder or name of the base model, if adapters are trained; else "".
        thinks: whether the model may think; if not, no metric of thoughts is logged.
        stop: set to True to save and stop after the current step.
        monitors: additional monitors, which reinforcement learning runs after its standard ones.
        alarms: monitor of reward hacking; None until one is set, at the latest by `watch_over`.
    """

    def __init__(
        self,
        run: Run,
        learner: Learner,
        tokenizer: Tokenizer,
        every: int = 50,
        listener: Callable[[str, Mapping[str, Any]], None] | None = None,
    ) -> None:
        """Starts at step 0 with empty totals."""
        self.run, self.learner, self.tokenizer, self.every = run, learner, tokenizer, every
        self.listener = listener
        self.step = 0
        self.stages = StageRecord()
        self.spent: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        # state that loops and monitors add to checkpoints, by name
        self.extra: dict[str, Callable[[], Mapping[str, Any]]] = {}
        self._measured: tuple[int, float | None] = (0, None)
        self.stop = False
        self.thinks = True
        self.alarms: RewardHacking | None = None
        self.monitors: list[Monitor] = []
        self.base = ""
        self._saved = time.monotonic()
        self.again = f"poziomka train --resume {shlex.quote(str(run.folder))}"

    @property
    def score(self) -> float | None:
        """Validation accuracy measured after this step; None if it was not measured."""
        step, score = self._measured
        return score if step == self.step else None

    @score.setter
    def score(self, score: float | None) -> None:
        self._measured = self.step, score

    @property
    def version(self) -> str:
        """Version of the present weights, "step-000012" for example."""
        return self.version_of(self.step)

    @staticmethod
    def version_of(step: int) -> str:
        """Returns the version of the weights after a step."""
        return f"step-{step:06d}"

    def publish_weights(self, host: WeightHost) -> None:
        """Loads the present weights into a sampler, which marks the spans it samples with `version` as their policy."""
        wait_for(host.load_weights(self.version, self.learner.weights()))

    def restore(self) -> Mapping[str, Any]:
        """Loads the run's newest checkpoint and returns the saved state; {} if the run has no checkpoint.

        Weights, optimizer and progress are restored. The caller restores the states of others (curriculum, monitors)
        from the returned mapping, which has them by their name in `extra`.

        Raises:
            CheckpointError: the checkpoint is incomplete, or does not fit the model.
        """
        saved = self.run.latest()
        if saved is None:
            return {}
        with fitting(saved.folder):
            load_learned(saved.folder, self.learner.model)
            self.learner.restore(_unflatten(load_file(saved.folder / OPTIMIZER), self.learner.state(copied=False)))
            self.step, self.spent = saved.step, dict(saved.state["spent"])
            self.stages = StageRecord(**saved.state.get("stages", {}))
            self.score = saved.score
            self.seconds = dict(saved.state["seconds"])
        return saved.state

    def spend(self, **amounts: float) -> None:
        """Adds amounts to the cumulative totals; `reinforce_flops=…` is logged as compute/reinforce_flops."""
        for name, amount in amounts.items():
            key = f"compute/{name}"
            self.spent[key] = self.spent.get(key, 0.0) + amount

    def enter(self, stage: str) -> int:
        """Begins a stage, or goes on with it; returns how many of its steps were taken before."""
        if stage not in self.stages.taken:
            self.stages.taken[stage], self.stages.spent = 0, dict(self.spent)
        self.stages.present = stage
        return self.stages.taken[stage]

    def spent_since_entry(self, name: str) -> float:
        """Returns the increase, since the present stage began, of a total such as "compute/reinforce_flops"."""
        return self.spent.get(name, 0.0) - self.stages.spent.get(name, 0.0)

    def log(self, stage: str, metrics: Mapping[str, float]) -> None:
        """Writes a line of metrics for this step, with the cumulative totals, and calls the listener."""
        line = dict(metrics if self.thinks else without_thoughts(metrics)) | self.spent
        for name, value in metrics.items():
            if name.startswith("time/"):
                phase = f"{stage}: {name.removeprefix('time/').removesuffix('_seconds')}"
                self.seconds[phase] = self.seconds.get(phase, 0.0) + value
        self.run.log(self.step, stage, line)
        if self.listener is not None:
            self.listener(stage, {"step": self.step, **line})

    def keep(self, groups: Sequence[Group], advantages: Mapping[str, Sequence[float]]) -> None:
        """Writes this step's rollouts to the journal, with the advantages of their MODEL tokens by attempt id."""
        self.run.keep(self.version, groups, advantages, self.step)

    def done(self, *, last: bool = False) -> None:
        """Ends a step: saves a checkpoint every `every` steps or ten minutes, if `last`, and if `stop` is set.

        Raises:
            Interrupted: `stop` is set; the checkpoint was saved.
        """
        late = time.monotonic() - self._saved > MOST_UNSAVED
        if last or self.stop or late or self.step % self.every == 0:
            self.save()
        if self.stop:
            message = f"stopped after step {self.step}; resume with: {self.again}"
            raise Interrupted(message)

    def save(self) -> None:
        """Writes a checkpoint from which a loop can resume."""
        state = {name: dict(give()) for name, give in self.extra.items()}
        self.run.save(
            self.step,
            self._write,
            {"spent": self.spent, "seconds": self.seconds, "stages": asdict(self.stages), **state},
            self.score,
        )
        self._saved = time.monotonic()

    def _write(self, folder: Path) -> None:
        save_learned(folder, self.learner.model, self.tokenizer, self.base)
        save_file(_flatten(self.learner.state(copied=False)), folder / OPTIMIZER)


def watch_over(progress: TrainingSession, task: Task, settings: AlarmSettings, seconds: float = 10.0) -> RewardHacking:
    """Returns the session's monitor of reward hacking, restored from the checkpoint if the run was resumed.

    Args:
        progress: training session; the monitor is created once and saved in its checkpoints.
        task: provides the audit, the second scorer that verifies rewards.
        settings: thresholds of the alarms.
        seconds: time limit, in seconds, of one audit in a worker process.
    """
    if progress.alarms is None:
        progress.alarms = RewardHacking(task, settings, seconds)
        saved = progress.run.latest()
        if saved is not None and saved.step == progress.step and "alarms" in saved.state:
            progress.alarms.restore(saved.state["alarms"])
        progress.extra["alarms"] = progress.alarms.state
    return progress.alarms


def without_thoughts(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics of a model that does not think, without those of thoughts.

    What counts as thinking tokens are all its tokens: "length/thinking" becomes "length/mean", if that is missing, and
    "evaluate/thinking_tokens" becomes "evaluate/tokens". The shares of thoughts, "thinking/…", are left out.
    """
    renamed = {UNTHOUGHT[name]: value for name, value in metrics.items() if name in UNTHOUGHT}
    others = {name: value for name, value in metrics.items() if name not in UNTHOUGHT}
    return {name: value for name, value in (renamed | others).items() if not name.startswith("thinking/")}


class Clock:
    """Stopwatch of the phases of one step.

    Attributes:
        seconds: duration of each finished phase by metric name, "time/sampling_seconds" for example.
    """

    def __init__(self) -> None:
        """Starts the first phase."""
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Ends a phase, records it as `time/{phase}_seconds`, and starts the next."""
        now = time.perf_counter()
        self.seconds[f"time/{phase}_seconds"] = now - self._since
        self._since = now


def _flatten(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an optimizer's state as tensors by name, without its settings, which the recipe contains."""
    tensors = {
        f"{number}.{name}": tensor.contiguous()
        for number, tensors in state["state"].items()
        for name, tensor in tensors.items()
    }
    return tensors | {TAKEN: torch.tensor(state["taken"])}


def _unflatten(tensors: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an optimizer's state from the tensors of `_flatten` and the settings of a new optimizer."""
    state: dict[int, dict[str, Any]] = {}
    taken = int(tensors.get(TAKEN, 0))  # older checkpoints have none
    for key, tensor in tensors.items():
        if key == TAKEN:
            continue
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    return {"state": state, "param_groups": fresh["param_groups"], "taken": taken}
