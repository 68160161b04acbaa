"""`poziomka tasks`: which tasks there are, and what their problems look like."""

from poziomka.core.problem import Problem, Task
from poziomka.reports.words import visible
from poziomka.tasks import READ_TASKS, TASKS, task_named


def list_tasks() -> str:
    """Returns a line a task: its name, its levels, and the first line of its words about itself."""
    rows = [(name, _levels(make()), _about(name)) for name, make in TASKS.items()]
    rows += [(f"{name}:WHERE", "from files", _about(name)) for name in READ_TASKS]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {levels:<{widths[1]}}  {about}" for name, levels, about in rows]
    return "\n".join([*lines, "", "`poziomka tasks show NAME` prints some of its problems."])


def show_task(name: str, *, split: str = "train", level: int | None = None, count: int = 3) -> str:
    """Returns the first `count` problems of a split, with answers and written-out solutions.

    Args:
        name: of the task.
        split: "train", "test", …
        level: difficulty; None for the task's own mixture.
        count: how many problems.

    Raises:
        TaskError: no such task or level, or its source raised.
    """
    task = task_named(name)
    there = task.count(split)
    facts = [f"task {task.name}", _levels(task), "endless" if there is None else f"{there} problems"]
    count = count if there is None else min(count, there)
    shown = [_problem(task, number, problem) for number, problem in enumerate(task.take(split, 0, count, level), 1)]
    return "\n\n".join([f"{_about(name)}\n{' · '.join(facts)} · split {split}", *shown])


def _problem(task: Task, number: int, problem: Problem) -> str:
    lines = [f"problem {number} · level {problem.level}"]
    lines += [_said(message.role, message.content) for message in problem.prompt]
    if task.demonstration is not None:
        thought, answer = task.demonstration(problem)
        lines += [_said("thought", thought), _said("answer", answer)]
    else:
        lines.append(_said("answer", problem.answer or "(many are right)"))
    return "\n".join(lines)


def _said(who: str, words: str) -> str:
    return f"  {who:<8} " + visible(words).strip().replace("\n", "\n" + " " * 11)


def _levels(task: Task) -> str:
    return "no levels" if task.levels is None else f"levels {task.levels[0]} to {task.levels[1]}"


def _about(name: str) -> str:
    make = {**TASKS, **READ_TASKS}[name.partition(":")[0]]
    return (make.__doc__ or "").strip().partition("\n")[0]
