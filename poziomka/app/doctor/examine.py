"""Runs the checks of the doctor in order: cheap ones and those of the worst faults first."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

from poziomka.app.build import adapt, build, learner_of, sampler_of
from poziomka.app.doctor.agreement import logprobs, rehearse
from poziomka.app.doctor.cost import memory, seconds, variance
from poziomka.app.doctor.finding import Finding, Status
from poziomka.app.doctor.format import template
from poziomka.app.doctor.groups import grouping, weights
from poziomka.app.doctor.parts import Bench, Parts
from poziomka.app.doctor.problems import problems
from poziomka.app.doctor.rates import rates
from poziomka.app.doctor.scorer import scorer
from poziomka.app.doctor.tools import tools
from poziomka.app.preflight import demand_strategies
from poziomka.app.settings.recipe import Recipe
from poziomka.core.errors import PoziomkaError
from poziomka.learning.loops.rl import RLSettings

Check = Callable[[Bench], Finding | list[Finding]]
CHECKS: dict[str, Check] = {
    "memory": memory,
    "problems": problems,
    "scorer": scorer,
    "learning rates": rates,
    "chat format": template,
    "tools": tools,
    "groups": grouping,
    "weights on tokens": weights,
    "rewards": variance,
    "log-probabilities": logprobs,
    "gradient and update": rehearse,
    "time": seconds,
}


def examine(bench: Bench) -> Iterator[Finding]:
    """Runs all checks in order and yields each finding when it is made; the examined components are unchanged.

    An exception of a check becomes a failed finding. If the memory is too small, the remaining checks, which would need
    it, are skipped.
    """
    for name, check in CHECKS.items():
        try:
            found = check(bench)
        except PoziomkaError as error:
            found = Finding.failed(name, str(error), "the check could not be made: mend this first")
        except Exception as error:  # noqa: BLE001 a faulty part may raise anything, and the doctor must report it
            told = f"{type(error).__name__}: {error}"
            found = Finding.failed(name, told[:300], "a part of the recipe raised this: mend it first")
        findings = found if isinstance(found, list) else [found]
        yield from findings
        if name == "memory" and findings[0].status is Status.FAIL:
            return


def parts_of(recipe: Recipe) -> Parts:
    """Builds the components of a recipe with its initial weights, and a learner for its first stage of kind rl.

    A recipe without such a stage is examined with the default settings of one.

    Raises:
        PoziomkaError: the recipe cannot be built.
    """
    built = build(recipe)
    demand_strategies(recipe, built.task)
    settings = next((stage for stage in recipe.stage if isinstance(stage, RLSettings)), RLSettings())
    sampler = sampler_of(recipe, built)
    adapt(recipe, built.model)
    learner = learner_of(recipe, built, settings)
    parts = Parts(built.task, built.chat, built.model, sampler, learner, settings)
    earlier = itertools.takewhile(lambda stage: stage.name != settings.name, recipe.stage)
    return replace(parts, warmed=not any(stage.steps for stage in earlier), recipe=recipe)
