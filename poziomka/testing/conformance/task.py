"""Conformance check of tasks: a pure source, disjoint splits, and a scorer that rewards only right answers."""

from collections.abc import Callable, Sequence

from poziomka.core.task import Task
from poziomka.testing.rule import rule
from poziomka.testing.trial import FIRST, trial


def check_task(
    task: Task,
    *,
    splits: Sequence[str] = ("train", "test"),
    problems: int = 20,
    seconds: float = 5.0,
    perturb: Callable[[str], str] | None = None,
) -> None:
    """Checks that a task keeps its contract: a pure source, disjoint splits, a scorer that rewards right answers only.

    The check is a `trial` that stops at the first broken rule, with junk replies of one megabyte.

    Args:
        task: the task to check.
        splits: names of its splits; splits without problems are skipped.
        problems: number of problems per split to score; of ten times as many, the keys are compared between splits.
        seconds: time limit of the scorer for any reply.
        perturb: turns the gold answer into a wrong one; give your own if an answer close to the gold one can be right;
            None uses the task's own mistakes, or small changes of the gold answer.

    Raises:
        AssertionError: the task breaks a rule; the message names the rule, the problem and the observed values.
    """
    tried = trial(task, splits=splits, problems=problems, seconds=seconds, perturb=perturb, effort=FIRST)
    rule(tried.passed, next(iter(tried.broken), ""))
