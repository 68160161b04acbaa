"""What a recipe names, found without any compute: `poziomka train --dry-run`."""

from collections.abc import Sequence
from pathlib import Path

from poziomka.app.build import demand_from_nothing, tools_of
from poziomka.app.settings.recipe import Recipe
from poziomka.core.errors import SettingsError
from poziomka.learning.curriculum.levels import of_levels
from poziomka.models.checkpoints.pretrained import demand_there
from poziomka.runs.exports import demand_exports
from poziomka.tasks import task_named


def demand_resolvable(recipe: Recipe, exports: Sequence[str] = ()) -> None:
    """Refuses a recipe that a run could not begin with: nothing is built, loaded or written.

    Args:
        recipe: whose task, levels, tools, model and beginning are looked for.
        exports: where metrics are to be copied.

    Raises:
        PoziomkaError: one of them is not there, and which.
    """
    demand_exports(exports)
    task = task_named(recipe.task)
    tools_of(recipe, task)
    if recipe.levels is not None:
        of_levels(task, *recipe.levels)
    if recipe.pretrained is None:
        demand_from_nothing(recipe, task)
    else:
        demand_there(recipe.pretrained)
    if recipe.start is not None and not Path(recipe.start).is_dir():
        message = f"there is no folder {recipe.start}, which the recipe names as its start: give a checkpoint's folder"
        raise SettingsError(message)
