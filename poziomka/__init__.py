"""Reinforcement learning with verifiable rewards, thinking at test time and sandboxed tools for language models.

Importing this package does not import torch. It limits the spin wait of OpenMP threads, unless environment variables
already configure it (openmp.py).
"""

from poziomka.core.errors import PoziomkaError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Rollout
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.evaluation import Evaluation, evaluate
from poziomka.core.sampler import Sampler, Sampling
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Transcript
from poziomka.openmp import bound_spinning as _bound_spinning

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

_bound_spinning()  # OpenMP reads the environment once, when torch is imported
