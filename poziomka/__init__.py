"""Reinforcement learning with verifiable rewards, thinking at test time and sandboxed tools for language models.

    import poziomka as pz

    def clock(rng, level):
        start, wait = rng.randrange(24), rng.randrange(level)
        return pz.Problem(f"It is {start} o'clock. What is it {wait} hours later?", answer=str((start + wait) % 24))

    task = pz.Task("clock", clock, pz.exact(pz.number), levels=(1, 12))
    run = pz.train(task, pz.load("smollm2"), "runs/clock", steps=50)
    print(pz.evaluate(pz.Thinker(run.sampler(), pz.Majority(votes=16)), task, problems=20))

Names by purpose:
    models      load, Model
    tasks       Task, Problem, task_named, check_task; Environment and Session for tasks of several turns
    scorers     exact with a reader (number, last_integer, boxed, choice, whole_answer); Score and Verdict for your own;
                weighted, for several rewards; judge, for a model's opinion
    training    train, TrainedRun, Run
    evaluation  evaluate, Evaluation, Estimate; collect, for scored rollouts
    sampling    Sampler, SamplingParams; Thinker with a strategy: Majority, Budget, or your Strategy, which returns an
                Attempt
    records     Rollout, Branch, Transcript, Span, Author, Message
    errors      PoziomkaError

A name is imported when it is used: importing this package does not import torch. It limits the spin wait of OpenMP
threads, unless environment variables already configure it (openmp.py).
"""

from importlib import import_module
from typing import Any

from poziomka.openmp import bound_spinning as _bound_spinning

_PLACES = {  # name → module that defines it; __init__.pyi holds the same for type checkers
    "Attempt": "poziomka.core.strategy",
    "Author": "poziomka.core.transcript",
    "Branch": "poziomka.core.rollout",
    "Budget": "poziomka.thinking.budget",
    "Environment": "poziomka.core.environment",
    "Estimate": "poziomka.core.rollouts.evaluation",
    "Evaluation": "poziomka.core.rollouts.evaluation",
    "Majority": "poziomka.thinking.majority",
    "Message": "poziomka.core.transcript",
    "Model": "poziomka.app.public.model",
    "PoziomkaError": "poziomka.core.errors",
    "Problem": "poziomka.core.problem",
    "Rollout": "poziomka.core.rollout",
    "Run": "poziomka.runs.run",
    "Sampler": "poziomka.core.sampler",
    "SamplingParams": "poziomka.core.sampler",
    "Score": "poziomka.core.problem",
    "Session": "poziomka.core.environment",
    "Span": "poziomka.core.transcript",
    "Strategy": "poziomka.core.strategy",
    "Task": "poziomka.core.task",
    "Thinker": "poziomka.thinking.thinker",
    "TrainedRun": "poziomka.app.public.training",
    "Transcript": "poziomka.core.transcript",
    "Verdict": "poziomka.core.problem",
    "boxed": "poziomka.core.rollouts.readers",
    "check_task": "poziomka.testing",
    "choice": "poziomka.core.rollouts.readers",
    "collect": "poziomka.core.rollouts.collect",
    "evaluate": "poziomka.app.public.evaluating",
    "exact": "poziomka.core.rollouts.readers",
    "judge": "poziomka.core.rollouts.model_judge",
    "last_integer": "poziomka.core.rollouts.readers",
    "load": "poziomka.app.public.model",
    "number": "poziomka.core.rollouts.readers",
    "task_named": "poziomka.tasks",
    "train": "poziomka.app.public.training",
    "weighted": "poziomka.core.rollouts.weighted",
    "whole_answer": "poziomka.core.rollouts.readers",
}

__all__ = [
    "Attempt",
    "Author",
    "Branch",
    "Budget",
    "Environment",
    "Estimate",
    "Evaluation",
    "Majority",
    "Message",
    "Model",
    "PoziomkaError",
    "Problem",
    "Rollout",
    "Run",
    "Sampler",
    "SamplingParams",
    "Score",
    "Session",
    "Span",
    "Strategy",
    "Task",
    "Thinker",
    "TrainedRun",
    "Transcript",
    "Verdict",
    "boxed",
    "check_task",
    "choice",
    "collect",
    "evaluate",
    "exact",
    "judge",
    "last_integer",
    "load",
    "number",
    "task_named",
    "train",
    "weighted",
    "whole_answer",
]


def __getattr__(name: str) -> Any:
    """Returns a public name on first use, from the module that defines it, which is then imported.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in _PLACES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Returns the public names of the package."""
    return list(__all__)


_bound_spinning()  # OpenMP reads the environment once, when torch is imported
