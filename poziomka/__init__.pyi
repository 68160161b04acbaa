# The public names for type checkers; poziomka/__init__.py imports each when it is used.
from poziomka.app.public.evaluating import evaluate
from poziomka.app.public.model import Model, load
from poziomka.app.public.training import TrainedRun, train
from poziomka.core.environment import Environment, Session
from poziomka.core.errors import PoziomkaError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.evaluation import Estimate, Evaluation
from poziomka.core.rollouts.readers import (
    boxed,
    choice,
    exact,
    last_integer,
    number,
    whole_answer,
)
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.strategy import Attempt, Strategy
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Message, Span, Transcript
from poziomka.runs.run import Run
from poziomka.tasks import task_named
from poziomka.testing import check_task
from poziomka.thinking.budget import Budget
from poziomka.thinking.majority import Majority
from poziomka.thinking.thinker import Thinker

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
    "Sampling",
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
    "last_integer",
    "load",
    "number",
    "task_named",
    "train",
    "whole_answer",
]
