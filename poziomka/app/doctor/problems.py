"""Check that the task has the problems that the recipe's stages need."""

from poziomka.app.build import Built, demand_problems, taught
from poziomka.app.doctor.finding import Finding
from poziomka.app.doctor.parts import Bench
from poziomka.core.errors import TaskError


def problems(bench: Bench) -> list[Finding]:
    """Checks that the task has the problems that the recipe's stages need; returns a failure or [].

    Problems are missing if a split is empty, levels or demonstrations are absent, or no prompt fits the context.
    """
    parts = bench.parts
    if parts.recipe is None:
        return []
    try:
        fitting = taught(parts.recipe, Built(parts.task, parts.chat, parts.model))
        demand_problems(parts.recipe, parts.task, fitting.task)
    except TaskError as error:
        return [Finding.failed("problems", str(error), "`poziomka train` refuses this recipe: mend it or the task")]
    return []
