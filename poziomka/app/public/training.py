"""`train`: reinforcement learning of a model on a task, with the settings of a recipe."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poziomka.app import train as recipes
from poziomka.app.public.model import Model, load
from poziomka.app.settings.aliases import demand_own_names
from poziomka.app.settings.model import ModelSettings
from poziomka.app.settings.recipe import Recipe, recipe_of
from poziomka.core.errors import SettingsError, nearest
from poziomka.core.settings import shown
from poziomka.core.task import Task
from poziomka.inference.local import LocalSampler
from poziomka.learning.loops.rl import RLSettings
from poziomka.reports.findings import headline
from poziomka.reports.reading import read
from poziomka.runs import Run
from poziomka.tasks import task_named

STAGES = ("sft", "rl")


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A finished run of `train`.

    Attributes:
        folder: folder of the run.
        report: path of the report, an HTML page.
    """

    folder: Path
    report: Path

    def __str__(self) -> str:
        """Returns the result of the run in one sentence."""
        return headline(read(self.run, journals=False))

    @property
    def run(self) -> Run:
        """The run's folder as a Run, from which metrics, journals and results are read."""
        return Run.read(self.folder)

    def model(self) -> Model:
        """Returns the trained model, with the newest weights of the run."""
        return load(self.folder)

    def sampler(self) -> LocalSampler:
        """Returns a sampler with the newest weights of the run."""
        return self.model().sampler()


def train(
    task: Task | str,
    model: Model | str | None,
    folder: str | Path,
    steps: int = 200,
    learning_rate: float | None = None,
    **settings: Any,
) -> TrainedRun:
    """Trains a model on a task by reinforcement learning, or resumes the run in `folder`.

        run = pz.train(task, pz.load("smollm2"), "runs/clock", steps=200, learning_rate=1e-5, group_size=16)

    Training loads its own copy of the weights, so `model` does not change.

    Args:
        task: a Task, or the name of one (see `task_named`); only with a name can `poziomka train --resume` go on.
        model: a model that `load` returned, or the name of one; None for a small one from nothing, which needs a task
            with symbols and demonstrations, and begins with a warm start on these.
        folder: folder of the run.
        steps: largest number of steps of reinforcement.
        learning_rate: highest learning rate; None for the usual one: 1e-5, or 1e-4 for LoRA adapters.
        settings: settings of a recipe that differ from the defaults. Those of the stage `rl` and of the model by name,
            `max_tokens=512, group_size=16, lora={"rank": 16}`; others as in a recipe, `seed=1,
            evaluate={"problems": 200}`, and `sft={"steps": 300}` for a model from nothing. `poziomka settings` lists
            them.

    Returns:
        The run: `run.sampler()` samples with the trained weights, `run.report` is its report.

    Raises:
        PoziomkaError: the task, the model or a setting cannot be used, or training failed.
        Interrupted: Ctrl-C stopped the run; its state is saved, and the same call goes on.
    """
    recipe = recipe_for(task, model, steps, learning_rate, **settings)
    report = recipes.train(recipe, Path(folder), None if isinstance(task, str) else task)
    return TrainedRun(Path(folder), report)


def recipe_for(
    task: Task | str, model: Model | str | None, steps: int, learning_rate: float | None = None, **settings: Any
) -> Recipe:
    """Returns the recipe of `train`, whose arguments these are."""
    own = task if isinstance(task, Task) else task_named(task)
    named = task if isinstance(task, str) else task.name
    tables = _tables(settings)
    defaults = _new(steps) if model is None else _loaded(load(model) if isinstance(model, str) else model, steps)
    if learning_rate is not None:
        defaults = _over(defaults, {"rl": {"optimizer": {"learning_rate": learning_rate}}})
    name = own.name.replace("/", "-").replace(":", "-")
    return recipe_of(_staged({"name": name, "task": named} | _over(defaults, tables)), where="train")


def _new(steps: int) -> dict[str, Any]:
    """Returns default settings for a new model: an sft stage, then an rl stage if thinking helps the model."""
    return {"sft": {"kind": "sft"}, "rl": {"kind": "rl", "steps": steps, "require": {"thinking_gain": 0.3}}}


def _loaded(model: Model, steps: int) -> dict[str, Any]:
    """Returns settings for a loaded model: the model, and one rl stage."""
    own = {"precision": model.precision, "thinks": model.thinks, "template_variables": dict(model.variables)}
    return {"model": {"load": model.name, **own}, "rl": {"kind": "rl", "steps": steps}}


def _tables(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns keyword arguments as nested settings of a recipe, with a table for each stage.

    Raises:
        SettingsError: no setting has such a name.
    """
    tables: dict[str, Any] = {}
    own = {field.name for field in dataclasses.fields(Recipe)} - {"stage", "model"} | set(STAGES)
    places = {field.name: "rl" for field in dataclasses.fields(RLSettings)}
    places |= {field.name: "model" for field in dataclasses.fields(ModelSettings)}
    for name, value in settings.items():
        if name in own:
            tables = _over(tables, {name: value})
        elif name in places:
            tables = _over(tables, {places[name]: {name: value}})
        else:
            demand_own_names(Recipe, {name: value}, "train")
            message = f"unknown setting {name!r} in train{nearest(name, own | places.keys())}"
            raise SettingsError(message)
    return tables


def _staged(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a recipe with its stages as a list, sft before rl.

    Raises:
        SettingsError: a stage's settings are no table.
    """
    values = {name: value for name, value in tables.items() if name not in STAGES}
    stages = {name: tables[name] for name in STAGES if name in tables}
    for name, value in stages.items():
        if not isinstance(value, Mapping):
            message = f"train.{name} must be a table of settings: received {shown(value)}"
            raise SettingsError(message)
    return values | {"stage": [{"kind": name} | dict(value) for name, value in stages.items()]}


def _over(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested `values`, completed with those of `defaults` that they leave out."""
    found = dict(defaults)
    for name, value in values.items():
        there = found.get(name)
        found[name] = _over(there, value) if isinstance(there, Mapping) and isinstance(value, Mapping) else value
    return found
