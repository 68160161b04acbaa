"""Dry run of a recipe: checks all that a run needs and that costs no compute (`poziomka train --dry-run`)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from poziomka.app.build import demand_adaptable_start, demand_problems, format_from_nothing, levelled
from poziomka.app.inputs import demand_unchanged, inputs_of, weights_of
from poziomka.app.preflight import demand_strategies
from poziomka.app.settings.recipe import Recipe, resolved
from poziomka.app.tool_formats import equipped, tools_of
from poziomka.core.errors import SettingsError
from poziomka.core.settings import plain
from poziomka.core.task import Task
from poziomka.environments.tools.tool import Tool
from poziomka.learning.curriculum.prompt_limits import fitting
from poziomka.models.checkpoints.pretrained import demand_there
from poziomka.models.checkpoints.safetensors_io import Stored
from poziomka.models.checkpoints.weights import demand_shape
from poziomka.models.lora import base_of, read_settings
from poziomka.runs import Run
from poziomka.runs.exports import demand_exports
from poziomka.runs.recipe import RECIPE
from poziomka.tasks import task_named


def demand_resolvable(recipe: Recipe, exports: Sequence[str] = (), folder: Path | None = None) -> None:
    """Raises an error for a recipe that a run could not start with; builds, loads and writes nothing.

    Checks that need the tokenizer or the weights of a pretrained model are left to the run and to `poziomka doctor`:
    whether prompts fit the context, the call format suits the tools, the weights fit, and a step has enough memory.

    Args:
        recipe: the recipe whose task, problems, tools, model, start and strategies are looked up.
        exports: names of the exporters of metrics, "tensorboard" or "wandb".
        folder: folder of the run; None skips the check of it.

    Raises:
        PoziomkaError: names the part that is missing or does not fit.
    """
    demand_exports(exports)
    task = task_named(recipe.task)
    tools = tools_of(recipe, task)
    wanted = recipe.model
    if wanted.load is None:
        trained = _trained_from_nothing(recipe, task, tools)
    else:
        demand_there(weights_of(wanted.load), adapters=wanted.lora is not None)
        trained = levelled(recipe, task)
    if wanted.start is not None:
        _demand_start(recipe, Path(wanted.start))
    demand_problems(recipe, task, trained)
    demand_strategies(recipe, task)
    if folder is not None:
        _demand_folder(recipe, task, folder)


def _trained_from_nothing(recipe: Recipe, task: Task, tools: list[Tool]) -> Task:
    """Returns the task that a new model would be trained on; raises PoziomkaError if the model cannot be built."""
    chat, new = format_from_nothing(recipe, task), recipe.model.made
    demand_shape(new.architecture, new.shape)
    bounds = [recipe.model.context, new.context if new.architecture == "transformer" else None]
    context = min((most for most in bounds if most is not None), default=None)
    whole = levelled(recipe, equipped(recipe, task, tools, chat))
    return fitting(whole, chat, context, recipe.sampling.max_tokens).task


def _demand_start(recipe: Recipe, start: Path) -> None:
    """Raises PoziomkaError if the folder that a recipe starts from has no weights, or none that it can use."""
    if not start.is_dir():
        message = f"there is no folder {start}, which the recipe names as its start: give a checkpoint's folder"
        raise SettingsError(message)
    demand_adaptable_start(recipe)
    if recipe.model.load is None or base_of(start) is None:
        Stored(start)
    else:
        read_settings(start)


def _demand_folder(recipe: Recipe, task: Task, folder: Path) -> None:
    """Raises PoziomkaError if a run cannot begin or resume in a folder."""
    Run.demand_free(folder, plain(recipe), partial(resolved, where=str(folder)))
    if (folder / RECIPE).exists():
        run = Run.read(folder)
        if run.latest() is not None:  # a run without a checkpoint starts over
            demand_unchanged(run, inputs_of(recipe, task))
