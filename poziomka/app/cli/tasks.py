"""`poziomka tasks list` and `show`: lists the tasks, and prints problems of one."""

import json
import shutil
from typing import Any

from poziomka.core.errors import TaskError, nearest
from poziomka.core.problem import Problem
from poziomka.core.safety.terminal import visible
from poziomka.core.splits import SPLITS
from poziomka.core.task import Task
from poziomka.runs.tables import aligned
from poziomka.tasks import READ_TASKS, SHIPPED, TASKS, about, shipped, task_named

MOST = 10_000  # problems shown or played at once
NARROW, WIDE = 60, 100  # least and largest number of columns of a list


def list_tasks(family: str | None = None, *, as_json: bool = False) -> str:
    """Returns a line for each task: name, levels, and the first line of its description.

    Args:
        family: NAME of a family of tasks NAME:WHERE, to list each available WHERE; None lists all tasks.
        as_json: return a JSON list of the tasks' full names and descriptions instead.

    Raises:
        TaskError: no task has this name.
    """
    if as_json:
        return _list_as_json(family)
    if family is not None:
        return _list_family(family)
    made = [(name, _levels(make()), about(name).removeprefix("Task of ")) for name, make in TASKS.items()]
    read = [(f"{name}:WHERE", _wheres(name), about(name).removeprefix("Task of ")) for name in READ_TASKS]
    columns = max(NARROW, min(WIDE, shutil.get_terminal_size((WIDE, 24)).columns))
    lines = [_fit(line, columns) for line in aligned([*made, *read], left=3)]
    return "\n".join(
        [
            *lines[: len(made)],
            "",
            *lines[len(made) :],
            "",
            "`poziomka tasks show NAME` prints problems, `play NAME` asks them, `check NAME` tries the scorer;",
            "`poziomka tasks list NAME` lists each WHERE of NAME:WHERE that needs no files of yours.",
        ]
    )


def _list_as_json(family: str | None) -> str:
    if family is not None and family not in READ_TASKS:
        task_named(family)  # raises if no task has this name
    names = [name for name in shipped() if family in (None, name, name.partition(":")[0])]
    return json.dumps([{"task": name, "about": about(name)} for name in names], indent=1)


def _list_family(name: str) -> str:
    if name not in READ_TASKS:
        task_named(name)  # raises if no task has this name
        return f"{name}  {_levels(task_named(name))}  {about(name)}"
    wheres = SHIPPED[name]() if name in SHIPPED else ()
    listed = [f"{name}:{where}" for where in wheres] or [f"{name}:WHERE, where WHERE names files of yours"]
    return "\n".join([about(name), "", *listed])


def show_task(
    name: str, *, split: str | None = None, level: int | None = None, count: int = 3, as_json: bool = False
) -> str:
    """Returns the first problems of a split as text, with answers and solutions, and what the task does not measure.

    Args:
        name: name of the task.
        split: "train", "test", …; None for the training split, or for the test split if that is empty.
        level: difficulty; None for the mixture of levels that training has.
        count: number of problems.
        as_json: return one JSON object instead of text.

    Raises:
        TaskError: no such task, split or level, a count above 10,000 (MOST), an empty split, or its source raised.
    """
    demand_few(count)
    task = task_named(name)
    split = split_of(task, split)
    there = task.count(split)
    if as_json:
        problems = task.take(split, 0, count if there is None else max(1, min(count, there)), level)
        told: dict[str, Any] = {"task": task.name, "about": about(name), "split": split, "count": there}
        told |= {"levels": task.levels, "limits": task.limits, "problems": [_plain(task, each) for each in problems]}
        return json.dumps(told, indent=1)
    facts = [f"task {task.name}", _levels(task), "endless" if there is None else f"{there:,} problems"]
    count = count if there is None else max(1, min(count, there))
    shown = [_problem(task, number, problem) for number, problem in enumerate(task.take(split, 0, count, level), 1)]
    limits = "\n".join(["What a result on it does not show:", *(f"- {limit}" for limit in task.limits)])
    return "\n\n".join([f"{about(name)}\n{' · '.join(facts)} · split {split}", *shown, *([limits] * bool(task.limits))])


def split_of(task: Task, split: str | None = None) -> str:
    """Returns the name of a split that the task has; None gives "train", or "test" if there are no training problems.

    Raises:
        TaskError: the task has no such split.
    """
    if split is None:
        return "train" if task.count("train") != 0 else "test"
    known = dict.fromkeys((*SPLITS, *task.splits))
    if split not in known and not (callable(task.size) and task.count(split)):  # such as "prompt" of mbpp
        message = f"task {task.name!r} has no split {split!r}{nearest(split, known)}"
        raise TaskError(message)
    return split


def demand_few(count: int) -> None:
    """Raises TaskError if `count` is above 10,000 (MOST), the most problems that are shown or played at once."""
    if count > MOST:
        message = f"at most {MOST:,} problems are shown or played at once: received --count {count:,}"
        raise TaskError(message)


def solution(task: Task, problem: Problem) -> tuple[str, str]:
    """Returns (thought, correct answer) of a problem for display; the thought is "" if the task demonstrates none."""
    if task.demonstration is not None:
        return task.demonstration(problem)
    return "", problem.answer or "(many are right)"


def said(who: str, words: str) -> str:
    """Returns a message formatted for the terminal: the author's name, then the text, further lines indented.

    Args:
        who: name of the author.
        words: the message, from which control characters are removed.
    """
    return f"  {who:<8} " + visible(words).strip().replace("\n", "\n" + " " * 11)


def _problem(task: Task, number: int, problem: Problem) -> str:
    lines = [f"problem {number} · level {problem.level}"]
    lines += [said(message.role, message.content) for message in problem.prompt]
    thought, answer = solution(task, problem)
    if task.demonstration is not None:
        lines.append(said("thought", thought))
    return "\n".join([*lines, said("answer", answer)])


def _plain(task: Task, problem: Problem) -> dict[str, Any]:
    """Returns a problem as JSON values."""
    thought, answer = task.demonstration(problem) if task.demonstration is not None else (None, problem.answer or None)
    prompt = [{"role": message.role, "content": message.content} for message in problem.prompt]
    return {"key": problem.key, "level": problem.level, "prompt": prompt, "thought": thought, "answer": answer}


def _levels(task: Task) -> str:
    return "no levels" if task.levels is None else f"levels {task.levels[0]} to {task.levels[1]}"


def _wheres(name: str) -> str:
    count = len(SHIPPED[name]()) if name in SHIPPED else 0
    return f"{count} of them" if count > 1 else "from files"


def _fit(line: str, columns: int) -> str:
    return line if len(line) <= columns else f"{line[: columns - 1].rstrip()}…"
