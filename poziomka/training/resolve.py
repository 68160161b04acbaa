"""What a recipe names, found without any compute: `poziomka train --dry-run`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from poziomka.core.errors import SettingsError
from poziomka.core.problem import Task
from poziomka.core.settings import plain
from poziomka.environments.tools import Tool
from poziomka.learning.prompts import fitting
from poziomka.models.lora import base_of, read_settings
from poziomka.models.pretrained import demand_there
from poziomka.models.stored import Stored
from poziomka.models.weights import demand_shape
from poziomka.runs import Run
from poziomka.runs.exports import demand_exports
from poziomka.tasks import task_named
from poziomka.training.build import (
    demand_adaptable_start,
    demand_problems,
    equipped,
    format_from_nothing,
    levelled,
    tools_of,
)
from poziomka.training.inputs import demand_unchanged, inputs_of
from poziomka.training.recipe import Recipe, resolved


def demand_resolvable(recipe: Recipe, exports: Sequence[str] = (), folder: Path | None = None) -> None:
    """Refuses a recipe that a run could not begin with: nothing is built, loaded or written.

    What needs the tokenizer or the weights of a pretrained model is left to the run and to `poziomka doctor`: whether
    prompts fit the context, whether the format of calls suits the tools, whether weights fit and a step has room.

    Args:
        recipe: whose task, problems, tools, model and beginning are looked for.
        exports: where metrics are to be copied.
        folder: of the run; None where none is to be looked at.

    Raises:
        PoziomkaError: something is not there or does not fit, and which.
    """
    demand_exports(exports)
    task = task_named(recipe.task)
    tools = tools_of(recipe, task)
    if recipe.pretrained is None:
        trained = _trained_from_nothing(recipe, task, tools)
    else:
        demand_there(recipe.pretrained, adapters=recipe.lora is not None)
        trained = levelled(recipe, task)
    if recipe.start is not None:
        _demand_start(recipe, Path(recipe.start))
    demand_problems(recipe, task, trained)
    if folder is not None:
        _demand_folder(recipe, task, folder)


def _trained_from_nothing(recipe: Recipe, task: Task, tools: list[Tool]) -> Task:
    """Returns the task as a model from nothing learns it; raises PoziomkaError where there can be no such model."""
    chat = format_from_nothing(recipe, task)
    demand_shape(recipe.architecture, recipe.model)
    bounds = [recipe.context, recipe.model.context if recipe.architecture == "transformer" else None]
    context = min((most for most in bounds if most is not None), default=None)
    whole = levelled(recipe, equipped(recipe, task, tools, chat))
    return fitting(whole, chat, context, recipe.reinforce.tokens).task


def _demand_start(recipe: Recipe, start: Path) -> None:
    """Raises PoziomkaError where the folder that a recipe starts from holds no weights, or such as it cannot take."""
    if not start.is_dir():
        message = f"there is no folder {start}, which the recipe names as its start: give a checkpoint's folder"
        raise SettingsError(message)
    demand_adaptable_start(recipe)
    if recipe.pretrained is None or base_of(start) is None:
        Stored(start)
    else:
        read_settings(start)


def _demand_folder(recipe: Recipe, task: Task, folder: Path) -> None:
    """Raises PoziomkaError where a run cannot begin or go on in a folder."""
    Run.demand_free(folder, plain(recipe), partial(resolved, where=str(folder)))
    if (folder / "recipe.toml").exists():
        run = Run.read(folder)
        if run.latest() is not None:  # a run without a checkpoint starts over
            demand_unchanged(run, inputs_of(recipe, task))
