"""`poziomka tasks check`: tests tasks and their scorers in parallel, and prints a table or JSON."""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from poziomka.core.errors import PoziomkaError, TaskError, nearest
from poziomka.core.rollouts.evaluation import Estimate
from poziomka.core.safety.terminal import behind, visible
from poziomka.reports.words import NOTHING, counted, duration
from poziomka.tasks import READ_TASKS, SHIPPED, TASKS, is_task, shipped, task_named
from poziomka.testing.trial import Effort, trial
from poziomka.testing.trial_record import JUNK, WORTHLESS, Trial

WORKERS = 2  # tasks tested at once; each has its scorer in another process
LONGEST = 240.0  # time limit of one task's trial, source and scorer included, seconds
EFFORT = Effort(budget=30.0)
NAMES = 30  # largest width of the column of names
LEGEND = "rest: earned by other replies that must earn nothing · ms: a check · /s: problems made in a second"


def check(names: Sequence[str], *, everything: bool, problems: int, as_json: bool) -> bool:
    """Runs `poziomka tasks check`: tests tasks and their scorers, prints the results, returns whether all passed.

    Args:
        names: names of tasks; the NAME of tasks NAME:WHERE stands for each WHERE that needs no files of the user.
        everything: check all tasks that need no files, instead of `names`.
        problems: number of problems of each split.
        as_json: print one JSON object instead of a table.

    Raises:
        TaskError: a name is unknown, or there are no names.
    """
    wanted = shipped() if everything else [each for name in names for each in _named(name)]
    if not wanted:
        message = "name the tasks to check, or give --all"
        raise TaskError(message)
    began = time.perf_counter()
    found: dict[str, Trial] = {}
    shown, width = 0, max(12, min(NAMES, max(map(len, wanted))))
    if not as_json:
        print(_heading(width))
    for name, tried in trials(wanted, problems):
        found[name] = tried
        while not as_json and shown < len(wanted) and wanted[shown] in found:
            _tell("")
            print(_line(wanted[shown], found[wanted[shown]], width), flush=True)
            shown += 1
        _tell(f"{len(found)} of {len(wanted)} tried, {sum(not each.passed for each in found.values())} broken")
    _tell("")
    took, passed = time.perf_counter() - began, sum(each.passed for each in found.values())
    if as_json:
        told = {"ok": passed == len(wanted), "seconds": round(took, 3)}
        print(json.dumps({**told, "tasks": [_plain(name, found[name]) for name in wanted]}, indent=2))
    else:
        broken = len(wanted) - passed
        ending = f", {broken} BROKEN: do not train on them" if broken else ""
        print(f"{passed} of {counted(len(wanted), 'task')} passed{ending} ({duration(took)})\n{LEGEND}")
    return passed == len(wanted)


def _named(name: str) -> list[str]:
    """Returns the full names of the tasks that a name stands for."""
    kind, colon, _ = name.partition(":")
    if kind not in READ_TASKS and is_task(name) and kind not in TASKS:
        return [name]
    if kind not in (READ_TASKS if colon else {**TASKS, **READ_TASKS}):
        message = f"unknown task {name!r}{nearest(name, [*TASKS, *READ_TASKS])}"
        raise TaskError(message)
    if colon or kind in TASKS:
        return [name]
    wheres = SHIPPED[kind]() if kind in SHIPPED else ()
    if not wheres:
        message = f"task {kind!r} reads its problems, and none are here: name it {kind}:WHERE"
        raise TaskError(message)
    return [f"{kind}:{where}" for where in wheres]


# ---------------------------------------------------------------------------------------------------- several at once
def trials(names: Sequence[str], problems: int, workers: int = WORKERS) -> Iterator[tuple[str, Trial]]:
    """Tests tasks in worker processes; yields each task's name with the result as soon as it is done.

    A task whose process dies or takes more than 240 seconds (LONGEST) counts as broken. The workers are forks of this
    process, which has not imported torch: they start at once, and have the tasks that tests register.

    Args:
        names: full names of tasks.
        problems: number of problems of each split.
        workers: number of worker processes.
    """
    waiting = list(reversed(list(dict.fromkeys(names))))
    busy: dict[Connection, tuple[BaseProcess, str, float]] = {}
    idle: list[tuple[Connection, BaseProcess]] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                pipe, process = idle.pop() if idle else _start(problems)
                name = waiting.pop()
                pipe.send(name)
                busy[pipe] = (process, name, time.perf_counter())
            ready: list[Any] = wait(list(busy), timeout=1.0)
            late = [pipe for pipe, (_, _, began) in busy.items() if time.perf_counter() - began > LONGEST]
            for pipe in {*ready, *late}:
                process, name, began = busy.pop(pipe)
                tried = _received(pipe) if pipe in ready else None
                if tried is None:
                    process.kill()
                    process.join()
                    took = time.perf_counter() - began
                    why = "its process died" if pipe in ready else f"it was not done within {LONGEST:g} s"
                    tried = Trial(name, (), (f"the trial could not be finished: {why}",), seconds=took)
                else:
                    idle.append((pipe, process))
                yield name, tried
    finally:
        for pipe, process in [*idle, *((pipe, process) for pipe, (process, _, _) in busy.items())]:
            process.kill()
            process.join()
            pipe.close()


def _start(problems: int) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, problems, os.getpid()))  # not a daemon, since it has a child
    process.start()
    theirs.close()
    return ours, process


def _received(pipe: Connection) -> Trial | None:
    """Returns the trial that a worker sent; None if the worker died."""
    try:
        tried: Trial = pipe.recv()
    except (EOFError, OSError):
        return None
    return tried


def _serve(pipe: Connection, problems: int, parent: int) -> None:
    """Runs the loop of a worker process: receives a task's name, tests the task, sends the result."""
    try:
        while os.getppid() == parent:
            pipe.send(_tried(pipe.recv(), problems))
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _tried(name: str, problems: int) -> Trial:
    began = time.perf_counter()
    try:
        return trial(task_named(name), problems=problems, effort=EFFORT)
    except PoziomkaError as error:
        broken = str(error)
    except Exception as error:  # noqa: BLE001 any exception while a task is built is the task's failure
        broken = f"the task raised {type(error).__name__}: {error}"
    return Trial(name, (), (broken,), seconds=time.perf_counter() - began)


# ---------------------------------------------------------------------------------------------------------- the table
def _heading(width: int) -> str:
    return f"{'task':<{width}}  {'gold accepted':<17}  {'wrong accepted':<17}  {'rest':>7}  {'ms':>5}  {'/s':>6}"


def _line(name: str, tried: Trial, width: int) -> str:
    short = name if len(name) <= width else f"{name[: width - 1]}…"
    earned, count = tried.count(WORTHLESS, JUNK)
    rest = f"{earned}/{count}" if count else NOTHING
    figures = f"{_estimate(tried.gold)}  {_estimate(tried.wrong)}  {rest:>7}"
    each = f"{1000 * tried.check_seconds:5.2g}" if tried.check_seconds else f"{NOTHING:>5}"
    drawn = f"{1 / tried.source_seconds:6.0f}" if tried.source_seconds else f"{NOTHING:>6}"
    line = f"{short:<{width}}  {figures}  {each}  {drawn}"
    if tried.passed:
        return f"{line}  passed"
    return f"{line}  BROKEN\n  → {visible(tried.broken[0])[:300]}"


def _estimate(estimate: Estimate | None) -> str:
    return f"{NOTHING if estimate is None else str(estimate):<17}"


def _plain(name: str, tried: Trial) -> dict[str, object]:
    """Returns a trial as JSON values."""
    return {
        "task": name,
        "passed": tried.passed,
        "broken": list(tried.broken),
        "gold_accepted": None if tried.gold is None else asdict(tried.gold),
        "wrong_accepted": None if tried.wrong is None else asdict(tried.wrong),
        "check_milliseconds": round(1000 * tried.check_seconds, 3),
        "problems_per_second": round(1 / tried.source_seconds, 1) if tried.source_seconds else None,
        "seconds": round(tried.seconds, 3),
        "rows": [asdict(row) for row in tried.rows],
    }


def _tell(progress: str) -> None:
    """Overwrites the progress line on stderr, if that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{visible(progress)}", end="", file=behind(sys.stderr), flush=True)
