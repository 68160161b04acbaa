"""What a task promises: a pure source, splits that share nothing, and a scorer that cannot be talked into a reward."""

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
    """Holds a task to its contract: `trial`, ended by the first rule that does not hold, and junk of a megabyte only.

    Args:
        task: what to check.
        splits: names of its splits; one that the task says is empty is left out.
        problems: how many problems of each split to score; ten times as many keys are compared.
        seconds: within which the scorer must answer anything.
        perturb: makes a wrong answer of the gold one; give your own where one that is almost right can be right.

    Raises:
        AssertionError: the task breaks a rule; the message says which, where, and what was seen.
    """
    tried = trial(task, splits=splits, problems=problems, seconds=seconds, perturb=perturb, effort=FIRST)
    rule(tried.passed, next(iter(tried.broken), ""))
