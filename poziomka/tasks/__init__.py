"""Tasks with automatic scorers, and the tables that map task names to functions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from poziomka.core.errors import TaskError, nearest
from poziomka.core.task import Scorer, Task
from poziomka.environments.sandbox.registry import reasons
from poziomka.tasks.adapters.named import taskset, verifiers
from poziomka.tasks.code.coding import humaneval, mbpp
from poziomka.tasks.code.list_functions import list_functions
from poziomka.tasks.code.programs import programs
from poziomka.tasks.code.small_synthesis import small_synthesis
from poziomka.tasks.code.synthesis import synthesis, synthesis_in_words
from poziomka.tasks.discovery.market import market
from poziomka.tasks.logic.counterexample import counterexample
from poziomka.tasks.logic.reasoning_gym import datasets, reasoning_gym
from poziomka.tasks.logic.satisfy import satisfy
from poziomka.tasks.math.competition import competition
from poziomka.tasks.math.grade_school import grade_school
from poziomka.tasks.mixture import mixture, read_parts
from poziomka.tasks.own import file_of as own_file
from poziomka.tasks.own import is_own, own_task
from poziomka.tasks.questions import file_of, hub, jsonl
from poziomka.tasks.toy.arithmetic import gcd, letters, products, small_sums, sums
from poziomka.tasks.toy.countdown import countdown
from poziomka.tasks.toy.exact_change import exact_change
from poziomka.tasks.toy.file_trail import file_trail
from poziomka.tasks.toy.large_numbers import large_numbers, large_numbers_in_words
from poziomka.tasks.toy.recurrence import recurrence
from poziomka.tasks.toy.string_splitting import string_splitting


def mixture_named(where: str) -> Task:
    """Task that mixes other tasks by weight: `3*sums+gcd` draws three problems of sums for each of gcd.

    Args:
        where: the name without "mixture:": names of tasks, joined by "+", each with an optional weight before "*".

    Raises:
        TaskError: a task is unknown, named twice or a mixture itself, or a weight is not a number above 0.
    """
    return mixture(read_parts(where, task_named))


TASKS: dict[str, Callable[[], Task]] = {
    "countdown": countdown,
    "recurrence": recurrence,
    "sums": sums,
    "small_sums": small_sums,
    "products": products,
    "letters": letters,
    "gcd": gcd,
    "exact_change": exact_change,
    "file_trail": file_trail,
    "large_numbers": large_numbers,
    "large_numbers_in_words": large_numbers_in_words,
    "synthesis": synthesis,
    "synthesis_in_words": synthesis_in_words,
    "market": market,
    "string_splitting": string_splitting,
    "satisfy": satisfy,
    "counterexample": counterexample,
}
READ_TASKS: dict[str, Callable[[str], Task]] = {  # used as NAME:WHERE
    "jsonl": jsonl,
    "hf": hub,
    "grade_school": grade_school,
    "gsm8k": grade_school,  # the name that others give it
    "competition": competition,
    "humaneval": humaneval,
    "mbpp": mbpp,
    "programs": programs,
    "small_synthesis": small_synthesis,
    "list_functions": list_functions,
    "mixture": mixture_named,
    "reasoning_gym": reasoning_gym,
    "verifiers": verifiers,
    "taskset": taskset,
}
LIMITED = "limited_"
REMOVED = [f"{LIMITED}{name}" for name in ("humaneval", "mbpp", "programs")]
HOW = "instead, which runs them in the sandbox: pip install 'poziomka[sandbox]', on Linux 6.12 or later"


def _monty() -> Sequence[str]:
    """Returns ["monty"] if the sandboxed interpreter monty can run here, else []."""
    return [] if reasons()["monty"] else ["monty"]


SAMPLED = ("grade_school", "competition", "mbpp", "programs")  # this package has a few of their problems, NAME:sample
# for tasks named NAME:WHERE: every WHERE that needs no other files than those in the package
SHIPPED: dict[str, Callable[[], Sequence[str]]] = {
    "reasoning_gym": datasets,
    **dict.fromkeys(SAMPLED, lambda: ("sample",)),
    "small_synthesis": _monty,
    "list_functions": _monty,
    "mixture": lambda: ["3*sums+gcd", "synthesis_in_words+2*market+.5*letters"],
}


def files_of(name: str) -> list[Path]:
    """Returns the user's files that a task's name refers to; [] for a built-in task.

    These are the Python file of FILE.py:NAME, that of package.module:NAME, or the path of jsonl:PATH, a file or a
    folder. The list is empty if the module is not found.
    """
    kind, _, where = name.partition(":")
    if kind == "jsonl" and where:
        return [file_of(where)]
    if name in TASKS or kind in READ_TASKS or not is_own(name):
        return []
    found = own_file(name)
    return [] if found is None else [found]


def about(name: str) -> str:
    """Returns a one-line description of a task, the first line of its docstring; its name may lack ":WHERE"."""
    make = {**TASKS, **READ_TASKS}.get(name.partition(":")[0])
    if make is None:
        return f"A task of yours, {name}."
    return (make.__doc__ or "").strip().partition("\n")[0]


def shipped() -> list[str]:
    """Returns the full names of all tasks that need no files of the user; `poziomka tasks check --all` checks them."""
    return [*TASKS, *(f"{kind}:{where}" for kind, wheres in SHIPPED.items() for where in wheres())]


def is_task(name: str) -> bool:
    """Whether a name is that of a task: a built-in one, with or without ":WHERE", a removed one, or a user's."""
    return name in TASKS or name.partition(":")[0] in (*READ_TASKS, *REMOVED) or is_own(name)


def task_named(name: str, scorer: Scorer | None = None) -> Task:
    """Returns the task for a name, as recipes and the command line name it.

    A name has one of these forms: NAME, for a built-in task that generates its problems; NAME:WHERE, for a built-in
    task that reads them, such as grade_school:FOLDER; jsonl:FILE or hf:OWNER/NAME, for rows with a question and an
    answer in a file or on the Hugging Face hub; FILE.py:NAME or package.module:NAME, for a Task in the user's Python
    code, which is run.

    Args:
        name: the name; `poziomka tasks list` lists the built-in ones.
        scorer: scorer that replaces the task's own, called as scorer(problem, transcript); see Task. `scorer=None`
            keeps the task's own scorer.

    Raises:
        TaskError: the name is unknown or belongs to a removed task, ":WHERE" is missing, or the problems cannot be
            read.
    """
    task = _named(name)
    if scorer is None:
        return task
    limits = tuple(limit for limit in task.limits if limit not in task.scorer_limits)
    return replace(task, scorer=scorer, trusted=False, audit=None, limits=limits, scorer_limits=(), read=None)


def _named(name: str) -> Task:
    if name in TASKS:
        return TASKS[name]()
    kind, _, where = name.partition(":")
    if kind in REMOVED:
        message = f"task {name!r} ran programs without a sandbox and was removed: name {name[len(LIMITED) :]!r} {HOW}"
        raise TaskError(message)
    if kind not in READ_TASKS and is_own(name):
        return own_task(name)
    if kind not in READ_TASKS:
        message = f"unknown task {name!r}{nearest(name, [*TASKS, *READ_TASKS])}"
        raise TaskError(message)
    if not where:
        sampled = READ_TASKS[kind] in [READ_TASKS[each] for each in SAMPLED]
        sample = f", {kind}:sample for a few in this package," if sampled else ","
        message = (
            f"task {kind!r} reads its problems: name it {kind}:FOLDER{sample} or {kind}:OWNER/NAME for one on the hub"
        )
        raise TaskError(message)
    return READ_TASKS[kind](where)
