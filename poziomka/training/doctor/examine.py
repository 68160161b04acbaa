"""The checks in the order in which they are made: what is cheap and what would hurt most comes first."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from poziomka.core.errors import PoziomkaError
from poziomka.training.build import adapt, build, learner_of, sampler_of
from poziomka.training.doctor.agreement import logprobs, rehearse
from poziomka.training.doctor.cost import memory, seconds, variance
from poziomka.training.doctor.finding import Finding, Status
from poziomka.training.doctor.format import template
from poziomka.training.doctor.groups import grouping, weights
from poziomka.training.doctor.parts import Bench, Parts
from poziomka.training.doctor.problems import problems
from poziomka.training.doctor.rates import rates
from poziomka.training.doctor.scorer import scorer
from poziomka.training.doctor.tools import tools
from poziomka.training.recipe import Recipe

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
    """Yields what each check finds, as it finds it; the parts are afterwards as they were before.

    Where the memory is too small nothing more is tried: the checks themselves would need it.
    """
    for name, check in CHECKS.items():
        try:
            found = check(bench)
        except PoziomkaError as error:
            found = Finding.failed(name, str(error), "the check could not be made: mend this first")
        except Exception as error:  # noqa: BLE001 a faulty part may raise anything, and that is what is looked for
            told = f"{type(error).__name__}: {error}"
            found = Finding.failed(name, told[:300], "a part of the recipe raised this: mend it first")
        findings = found if isinstance(found, list) else [found]
        yield from findings
        if name == "memory" and findings[0].status is Status.FAIL:
            return


def parts_of(recipe: Recipe) -> Parts:
    """Returns what a recipe builds, with the weights that it starts from, before any warm start.

    Raises:
        PoziomkaError: the recipe cannot be built.
    """
    built, settings = build(recipe), recipe.reinforce
    sampler = sampler_of(recipe, built)
    adapt(recipe, built.model)
    learner = learner_of(recipe, built.model, settings.learner)
    parts = Parts(built.task, built.chat, built.model, sampler, learner, settings)
    return replace(parts, warmed=not recipe.warm_updates, recipe=recipe)
