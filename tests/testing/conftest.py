"""A good task to plant faults into: sums of two numbers, judged by whatever a test says."""

from dataclasses import replace

import pytest

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.answers import read_number
from poziomka.core.seeds import random_of
from poziomka.core.task import Task
from poziomka.testing.trial import Effort, trial

SHORT = Effort(most=1000, sizes={})


def source(split, index, level=None):
    random = random_of("sum of two", split, index)
    first, second = random.randint(10, 99), 2 * random.randint(10, 49) + (split == "test")
    return Problem.ask("sums", f"{first}+{second}", f"What is {first} + {second} ?", str(first + second))


def exact(reply, gold):
    return read_number(reply) == gold


@pytest.fixture
def judged_by():
    """Returns the task whose rewards `says(reply, gold)` gives, its gold answers in the form of `form`."""

    def judged_by(says=exact, form="{}"):
        def scorer(problem, transcript):
            reward = float(says(transcript.reply, problem.answer))
            return Score(reward, Verdict.CORRECT if reward == 1 else Verdict.WRONG, "read")

        task = Task("sums", source, scorer)
        if form == "{}":
            return task
        return replace(task, demonstration=lambda problem: ("add", form.format(problem.answer)))

    return judged_by


@pytest.fixture
def broken():
    """Returns the rules that a task breaks, a line each."""

    def broken(task, seconds=10.0):
        return "\n".join(trial(task, problems=2, seconds=seconds, effort=SHORT).broken)

    return broken
