"""Does the task have what the recipe's stages need?"""

from poziomka.core.errors import TaskError
from poziomka.training.build import Built, demand_problems, taught
from poziomka.training.doctor.finding import Finding
from poziomka.training.doctor.parts import Bench


def problems(bench: Bench) -> list[Finding]:
    """Fails where a split is empty, or levels, demonstrations or fitting prompts are not there; else finds nothing."""
    parts = bench.parts
    if parts.recipe is None:
        return []
    try:
        fitting = taught(parts.recipe, Built(parts.task, parts.chat, parts.model))
        demand_problems(parts.recipe, parts.task, fitting.task)
    except TaskError as error:
        return [Finding.failed("problems", str(error), "`poziomka train` refuses this recipe: mend it or the task")]
    return []
