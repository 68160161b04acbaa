"""Dry run of a recipe: checks that its task, tools, model and checkpoint exist (`poziomka train --dry-run`)."""

from collections.abc import Sequence
from pathlib import Path

from poziomka.app.build import demand_from_nothing, tools_of, weights_of
from poziomka.app.settings.recipe import Recipe
from poziomka.core.errors import SettingsError
from poziomka.learning.curriculum.levels import of_levels
from poziomka.models.checkpoints.pretrained import demand_there
from poziomka.runs.exports import demand_exports
from poziomka.tasks import task_named


def demand_resolvable(recipe: Recipe, exports: Sequence[str] = ()) -> None:
    """Raises an error for a recipe that a run could not start with; builds, loads and writes nothing.

    Args:
        recipe: the recipe whose task, levels, tools, model and start are looked up.
        exports: names of the exporters of metrics, "tensorboard" or "wandb".

    Raises:
        PoziomkaError: names the missing part.
    """
    demand_exports(exports)
    task = task_named(recipe.task)
    tools_of(recipe, task)
    if recipe.levels is not None:
        of_levels(task, *recipe.levels)
    wanted = recipe.model
    if wanted.load is None:
        demand_from_nothing(recipe, task)
    else:
        demand_there(weights_of(wanted.load))
    if wanted.start is not None and not Path(wanted.start).is_dir():
        message = f"there is no folder {wanted.start}, which the recipe names as its start: give a checkpoint's folder"
        raise SettingsError(message)
