"""Judging transcripts so that a failing check is a verdict and never a reward.

A trusted scorer runs inline. Any other runs in a worker process of its own, which is killed and replaced
when it does not answer in time: that holds for pure loops, C extensions and catastrophic regular expressions,
in any thread, without signals. The worker is a fork, so scorers may be closures; it shares the machine with
us and is no sandbox: it protects from hanging and raising, not from malice.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Self

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score, Scorer, Task, Verdict
from poziomka.core.transcript import Stop, Transcript

_UNDER_WAY: dict[int, tuple[str, float]] = {}  # checks that run now: a number of its own → problem, begun when
_NUMBERS = count()


def under_way() -> list[tuple[str, float]]:
    """Returns (key of the problem, seconds so far) of every check that runs now, for whoever watches this process."""
    now = time.monotonic()
    return [(key, now - began) for key, began in list(_UNDER_WAY.values())]


@contextmanager
def _told(problem: Problem) -> Iterator[None]:
    """Lets `under_way` tell of a check."""
    number = next(_NUMBERS)
    _UNDER_WAY[number] = (problem.key, time.monotonic())
    try:
        yield
    finally:
        del _UNDER_WAY[number]


def judge(scorer: Scorer, problem: Problem, transcript: Transcript) -> Score:
    """Runs a scorer and turns whatever goes wrong into a verdict; a cut-off reply is TRUNCATED."""
    try:
        score = scorer(problem, transcript)
    except (Exception, SystemExit) as error:  # noqa: BLE001 a scorer may raise anything, and all of it is a verdict
        return Score.failed(Verdict.ERROR, f"the scorer raised {type(error).__name__}: {error}"[:500])
    if not isinstance(score, Score):
        return Score.failed(Verdict.ERROR, f"the scorer returned {type(score).__name__}, not a Score")
    if transcript.stop is Stop.LENGTH and score.verdict in (Verdict.WRONG, Verdict.UNPARSED):
        return replace(score, verdict=Verdict.TRUNCATED)
    return score


def _serve(pipe: Connection, scorer: Scorer, parent: int) -> None:
    """The worker's life: receive, judge, send, until the pipe closes or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    while True:
        try:
            problem, transcript = pipe.recv()
            pipe.send(judge(scorer, problem, transcript))
        except (EOFError, OSError):
            return
        except Exception as error:  # noqa: BLE001 pickling raises whatever the pickled objects raise
            pipe.send(Score.failed(Verdict.ERROR, f"the score cannot be sent back: {error}"[:500]))


def _leave_with(parent: int) -> None:
    """Ends a worker whose parent was killed: its pipe does not tell, as its siblings hold copies of the other end."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


class _Worker:
    """One process that judges one transcript at a time."""

    def __init__(self, scorer: Scorer) -> None:
        """Remembers the scorer; the process starts with the first transcript."""
        self.scorer = scorer
        self.process: BaseProcess | None = None
        self.pipe: Connection | None = None

    def start(self) -> Connection:
        """Returns the pipe of a living worker."""
        if self.process is None or self.pipe is None or not self.process.is_alive():
            self.stop()
            context = multiprocessing.get_context("fork")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=_serve, args=(theirs, self.scorer, os.getpid()), daemon=True)
            self.process.start()
            theirs.close()
        return self.pipe

    def stop(self) -> None:
        """Kills the process and closes the pipe."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
        if self.pipe is not None:
            self.pipe.close()
        self.process = self.pipe = None

    def judge(self, problem: Problem, transcript: Transcript, seconds: float) -> Score:
        """Judges in the worker, at most `seconds` long."""
        try:
            pipe = self.start()
            pipe.send((problem, transcript))
            if pipe.poll(seconds):
                score: Score = pipe.recv()
                return score
        except (EOFError, OSError) as error:
            self.stop()
            return Score.failed(Verdict.ERROR, f"the scorer's process died: {type(error).__name__}")
        except Exception as error:  # noqa: BLE001 pickling raises whatever the pickled objects raise
            self.stop()
            return Score.failed(Verdict.ERROR, f"cannot be sent to the scorer's process or back: {error}"[:500])
        self.stop()
        return Score.failed(Verdict.TIMEOUT, f"the scorer did not return within {seconds:g} s")


class Scoring:
    """Judges the transcripts of one task; use it as a context manager.

    Args:
        task: whose scorer to run.
        seconds: time limit of one check of an untrusted scorer.
        workers: processes for an untrusted scorer.

    Raises:
        TaskError: the limits make no sense.
    """

    def __init__(self, task: Task, seconds: float = 10.0, workers: int = 2) -> None:
        """Starts nothing until the first untrusted check."""
        if seconds <= 0 or workers < 1:
            message = f"scoring needs a positive time limit and a worker: received {seconds} s, {workers} workers"
            raise TaskError(message)
        self.task = task
        self.seconds = seconds
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="scoring")
        self._idle = [_Worker(task.scorer) for _ in range(workers)]

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Leaves no process behind."""
        self._threads.shutdown(wait=True)
        for worker in self._idle:
            worker.stop()

    async def score(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns what the scorer says, or the verdict of its failure."""
        if self.task.trusted:
            with _told(problem):
                return judge(self.task.scorer, problem, transcript)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._outside, problem, transcript)

    def _outside(self, problem: Problem, transcript: Transcript) -> Score:
        worker = self._idle.pop()  # as many workers as threads, so one is always idle
        try:
            with _told(problem):
                return worker.judge(problem, transcript, self.seconds)
        finally:
            self._idle.append(worker)
