"""Problems that check themselves; the table of their names."""

from collections.abc import Callable

from poziomka.core.errors import TaskError, nearest
from poziomka.core.problem import Task
from poziomka.tasks.arithmetic import gcd, letters, products, sums
from poziomka.tasks.countdown import countdown
from poziomka.tasks.recurrence import recurrence

TASKS: dict[str, Callable[[], Task]] = {
    "countdown": countdown,
    "recurrence": recurrence,
    "sums": sums,
    "products": products,
    "letters": letters,
    "gcd": gcd,
}


def task_named(name: str) -> Task:
    """Returns the task that a recipe or a command names.

    Raises:
        TaskError: no task has this name.
    """
    if name not in TASKS:
        message = f"unknown task {name!r}{nearest(name, TASKS)}"
        raise TaskError(message)
    return TASKS[name]()
