"""The checks in the order in which they are made: what is cheap and what would hurt most comes first."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from poziomka.core.errors import PoziomkaError
from poziomka.core.problem import Task
from poziomka.core.seeds import seed_of
from poziomka.learning.learner import Learner
from poziomka.models.chat import PlainFormat
from poziomka.models.tokenizer import Tokenizer
from poziomka.models.weights import build_model, load_weights
from poziomka.sampling.local import LocalSampler
from poziomka.tasks import task_named
from poziomka.training.doctor.agreement import logprobs, rehearse
from poziomka.training.doctor.cost import memory, seconds, variance
from poziomka.training.doctor.finding import Finding, Status
from poziomka.training.doctor.format import template
from poziomka.training.doctor.groups import grouping, weights
from poziomka.training.doctor.parts import Bench, Parts
from poziomka.training.doctor.scorer import scorer
from poziomka.training.recipe import Recipe

Check = Callable[[Bench], Finding | list[Finding]]
CHECKS: dict[str, Check] = {
    "memory": memory,
    "scorer": scorer,
    "chat format": template,
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


def parts_of(recipe: Recipe, task: Task | None = None) -> Parts:
    """Returns what a recipe builds: the model that it starts with, before any warm start.

    Raises:
        PoziomkaError: the recipe cannot be built.
    """
    torch.set_num_threads(recipe.threads)
    task = task or task_named(recipe.task)
    tokenizer = Tokenizer.of_symbols(task.symbols)
    chat = PlainFormat(tokenizer)
    model = build_model(recipe.architecture, recipe.model, len(tokenizer), seed_of("weights", recipe.seed))
    if recipe.start:
        load_weights(Path(recipe.start), model)
    learner = Learner(model, recipe.reinforce.learner, recipe.reinforce.temperature)
    sampler = LocalSampler(model, chat)
    return Parts(task, chat, model, sampler, learner, recipe.reinforce, warmed=recipe.start is not None)
