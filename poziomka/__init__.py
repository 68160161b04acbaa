"""Poziomka: the open laboratory for reasoning models. Importing this imports no torch.

It bounds how long OpenMP's threads wait in a loop, unless the environment says how they wait (core/spinning.py).
"""

from poziomka.core.collect import collect
from poziomka.core.errors import PoziomkaError
from poziomka.core.evaluation import Evaluation, evaluate
from poziomka.core.problem import Problem, Score, Task, Verdict
from poziomka.core.rollout import Rollout
from poziomka.core.sampler import Sampler, Sampling
from poziomka.core.spinning import bound_spinning as _bound_spinning
from poziomka.core.transcript import Author, Span, Transcript

__all__ = [
    "Author",
    "Evaluation",
    "PoziomkaError",
    "Problem",
    "Rollout",
    "Sampler",
    "Sampling",
    "Score",
    "Span",
    "Task",
    "Transcript",
    "Verdict",
    "collect",
    "evaluate",
]

_bound_spinning()  # here, because the runtime reads the environment once, when torch is imported
