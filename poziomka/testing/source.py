"""Checks of a task's source: it is pure, its problems are plain data, and its splits share no keys."""

import json
import time
from collections.abc import Sequence

from poziomka.core.problem import Problem
from poziomka.core.task import Task
from poziomka.testing.rule import rule

KEYS_PER_PROBLEM = 10  # ratio of problems drawn for comparing keys to problems scored
DRAWING = 2.0  # time limit in seconds for drawing a split's problems again, and another for more keys
FEWEST = 4  # problems that are drawn again regardless of the limit

Drawn = list[tuple[str, Problem]]  # problems of a split, each with its location


def source_rules(task: Task, splits: Sequence[str], problems: int) -> tuple[list[Drawn], float]:
    """Checks a task's source of problems; returns each split's first problems, and the mean seconds to draw one.

    A source must return the same problem for the same index, as plain data, and its splits must share no keys.

    Args:
        task: task whose source is checked.
        splits: names of splits; splits without problems are skipped if the task has sizes by split.
        problems: number of problems per split; the keys of ten times as many are compared, within two seconds.

    Raises:
        AssertionError: the source breaks a rule.
        TaskError: the source raises.
    """
    rule(splits and problems > 0, f"a check needs splits and problems: received {splits!r} and {problems}")
    if callable(task.size):  # an evaluation-only task has an empty train split
        splits = [split for split in splits if task.count(split) != 0] or splits
    keys: dict[str, str] = {}
    drawn, took, count = [], 0.0, 0
    for split in splits:
        first, seconds = _pure(task, split, problems)
        drawn.append(first)
        took, count = took + seconds, count + len(first)
        mine = dict.fromkeys([*(problem.key for _, problem in first), *_more_keys(task, split, problems)], split)
        for key in mine:
            rule(key not in keys, f"splits must not share a key: {key!r} is in {keys.get(key)!r} and in {split!r}")
        keys |= mine
    return drawn, took / count


def _more_keys(task: Task, split: str, problems: int) -> list[str]:
    """Returns the keys of the problems after the first `problems`: nine times as many, or those of two seconds."""
    there, wanted = task.count(split), problems * KEYS_PER_PROBLEM
    began, keys = time.perf_counter(), []
    for index in range(problems, wanted if there is None else min(wanted, there)):
        keys.append(task.problem(split, index).key)
        if time.perf_counter() - began > DRAWING:
            break
    return keys


def _pure(task: Task, split: str, count: int) -> tuple[Drawn, float]:
    there, began = task.count(split), time.perf_counter()
    drawn = [task.problem(split, index) for index in range(count if there is None else min(count, there))]
    took = time.perf_counter() - began
    rule(drawn, f"split {split!r} of task {task.name!r} is empty")
    began = time.perf_counter()
    for index in reversed(range(len(drawn))):  # backwards, to detect a generator that is shared between draws
        where = f"{split}/{index}"
        late = time.perf_counter() - began > DRAWING and index < len(drawn) - FEWEST
        problem = drawn[index] if late else task.problem(split, index)
        rule(isinstance(problem, Problem), f"a source returns a Problem: {where} is a {type(problem).__name__}")
        rule(problem == drawn[index], f"a source is pure: {where} was {drawn[index]!r} and then {problem!r}")
        _plain(task, problem, where)
    for level in task.levels or ():
        found = task.problem(split, 0, level).level
        rule(found == level, f"a source gives the level that was asked for: asked for {level}, received {found}")
    keys = {problem.key for problem in drawn}
    rule(2 * len(keys) > len(drawn), f"keys name problems: {len(drawn)} of {split!r} have only {len(keys)} keys")
    return [(f"{split}/{index}", problem) for index, problem in enumerate(drawn)], took


def _plain(task: Task, problem: Problem, where: str) -> None:
    rule(problem.task == task.name, f"a problem names its task: {where} says {problem.task!r}, not {task.name!r}")
    rule(problem.key, f"a problem has a key: that of {where} is empty")
    asked = any(message.role == "user" and message.content.strip() for message in problem.prompt)
    rule(asked, f"a prompt asks something as the user: that of {where} is {problem.prompt!r}")
    low, high = task.levels or (problem.level, problem.level)
    rule(low <= problem.level <= high, f"a level lies within {task.levels}: that of {where} is {problem.level}")
    try:
        json.dumps(dict(problem.facts))
    except (TypeError, ValueError) as error:
        rule(holds=False, broken=f"facts are plain data, for the journal: those of {where} are not: {error}")
