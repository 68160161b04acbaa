"""Judging transcripts so that a failing check is a verdict and never a reward.

A trusted scorer runs inline. Any other runs in a worker process of its own, which is killed and replaced
when it does not answer in time: that holds for pure loops, C extensions and catastrophic regular expressions,
in any thread, without signals; what it started goes with it. The worker is a fork, so scorers may be closures; it
shares the machine with us and is no sandbox: it protects from hanging, raising and hoarding memory, not from malice.
"""

import asyncio
import multiprocessing
import os
import pickle
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Self

from poziomka.core.errors import TaskError, reason_of
from poziomka.core.problem import Problem, Score, Scorer, Task, Verdict
from poziomka.core.processes import Line, descendants, end_tree, is_child, keep_orphans, signalled
from poziomka.core.transcript import Stop, Transcript

WORN = 5_000  # checks after which a worker is replaced
KILLS = 2  # times that a worker is killed before it is left behind
DYING = 5.0  # seconds within which a killed worker is gone
MEMORY = 2 << 30  # bytes that a worker may take beyond what it begins with

_UNDER_WAY: dict[int, tuple[str, float]] = {}  # checks that run now: a number of its own → problem, begun when
_NUMBERS = count()
_STARTING = threading.Lock()  # one worker at a time: a sibling forked meanwhile would hold its end of the line open


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
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 a scorer may raise anything, and all of it is a verdict
        return Score.failed(Verdict.ERROR, f"the scorer raised {reason_of(error)}")
    if not isinstance(score, Score):
        return Score.failed(Verdict.ERROR, f"the scorer returned {type(score).__name__}, not a Score")
    if transcript.stop is Stop.LENGTH and score.verdict in (Verdict.WRONG, Verdict.UNPARSED):
        return replace(score, verdict=Verdict.TRUNCATED)
    return score


def _serve(line: Line, scorer: Scorer, parent: int, memory: int) -> None:
    """The worker's life: receive, judge, send, until the line closes or the parent is gone."""
    _STARTING.release()  # our copy of it: a scorer may have workers of its own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    keep_orphans()
    _bound_memory(memory)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    while True:
        try:
            line.send(_answer(scorer, line.receive()))
        except (EOFError, OSError):
            return


def _answer(scorer: Scorer, asked: bytes) -> bytes:
    try:
        problem, transcript = pickle.loads(asked)  # noqa: S301 our parent wrote it
    except Exception as error:  # noqa: BLE001 it raises whatever the pickled objects raise
        why = f"cannot be read in the scorer's process: {type(error).__name__}: {error}"
        return pickle.dumps(Score.failed(Verdict.ERROR, why[:500]))
    try:
        return pickle.dumps(judge(scorer, problem, transcript))
    except Exception as error:  # noqa: BLE001 as above
        return pickle.dumps(Score.failed(Verdict.ERROR, f"the score cannot be sent back: {error}"[:500]))


def _bound_memory(more: int) -> None:
    """Lets this process take so many bytes more than it has: else one answer could take the machine's memory."""
    try:
        status = Path("/proc/self/status").read_text(encoding="latin-1")
        has = int(status.partition("VmData:")[2].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (has + more, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    except (OSError, IndexError, ValueError):  # another system, or a tighter limit already
        return


def _leave_with(parent: int) -> None:
    """Ends a worker whose parent was killed: its line does not tell, as its siblings hold copies of the other end."""
    while os.getppid() == parent:
        time.sleep(1.0)
    for process in descendants(os.getpid()):
        signalled(process, signal.SIGKILL)
    os._exit(1)


def _end(process: BaseProcess) -> None:
    """Kills a process, waits, kills again where it is not gone, and gives its handle back once it is.

    A join may return before the process is gone: where its end is collected by another thread, or the machine is busy.
    A process that survives two kills waits in the kernel; it ends as soon as it may run, and its handle is kept by
    multiprocessing.
    """
    for _ in range(KILLS):
        if process.exitcode is None and process.pid is not None and is_child(process.pid):
            with suppress(OSError):  # what it started is not found; the process itself is killed
                end_tree(process.pid)
            process.join(DYING)
    with suppress(ValueError):  # it is still running
        process.close()


class _Worker:
    """One process that judges one transcript at a time."""

    def __init__(self, scorer: Scorer, memory: int) -> None:
        """Remembers the scorer; the process starts with the first transcript."""
        self.scorer, self.memory = scorer, memory
        self.process: BaseProcess | None = None
        self.line: Line | None = None
        self.checks = 0  # by the process that lives now

    def start(self) -> Line:
        """Returns the line to a living worker."""
        if self.process is None or self.line is None or not self.process.is_alive():
            self.stop()
            context = multiprocessing.get_context("fork")
            with _STARTING:
                self.line, theirs = Line.pair()
                self.process = context.Process(
                    target=_serve, args=(theirs, self.scorer, os.getpid(), self.memory), daemon=True
                )
                self.process.start()
                theirs.close()
        return self.line

    def stop(self) -> None:
        """Kills the process, with all that it started, and closes the line; never raises, however slowly it dies."""
        process, line = self.process, self.line
        self.process = self.line = None
        self.checks = 0
        if line is not None:
            line.close()
        if process is not None:
            _end(process)

    def judge(self, problem: Problem, transcript: Transcript, seconds: float) -> Score:
        """Judges in the worker, at most `seconds` long."""
        try:
            asked = pickle.dumps((problem, transcript))
            line = self.start()
            deadline = time.monotonic() + seconds
            line.send(asked, deadline)
            score: Score = pickle.loads(line.receive(deadline))  # noqa: S301 from our fork, which runs the user's scorer
        except TimeoutError:
            self.stop()
            return Score.failed(Verdict.TIMEOUT, f"the scorer did not return within {seconds:g} s")
        except (EOFError, OSError) as error:
            self.stop()
            return Score.failed(Verdict.ERROR, f"the scorer's process died: {type(error).__name__}")
        except Exception as error:  # noqa: BLE001 pickling raises whatever the pickled objects raise
            self.stop()
            return Score.failed(Verdict.ERROR, f"cannot be sent to the scorer's process or back: {error}"[:500])
        self.checks += 1
        if self.checks >= WORN or MemoryError.__name__ in score.why:
            self.stop()  # so that what a scorer keeps for itself does not grow without end
        return score


class Scoring:
    """Judges the transcripts of one task; use it as a context manager.

    Args:
        task: whose scorer to run.
        seconds: time limit of one check of an untrusted scorer.
        workers: processes for an untrusted scorer.
        memory: bytes that one of them may take beyond what it begins with (where the system can tell).

    Attributes:
        spent: seconds that checks took so far, those in other processes added up.

    Raises:
        TaskError: the limits make no sense.
    """

    def __init__(self, task: Task, seconds: float = 10.0, workers: int = 2, memory: int = MEMORY) -> None:
        """Starts nothing until the first untrusted check."""
        if seconds <= 0 or workers < 1:
            message = f"scoring needs a positive time limit and a worker: received {seconds} s, {workers} workers"
            raise TaskError(message)
        self.task = task
        self.seconds = seconds
        self._memory = memory
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="scoring")
        self._idle = [_Worker(task.scorer, memory) for _ in range(workers)]
        self.spent = 0.0

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
        began = time.perf_counter()
        if self.task.trusted:
            with _told(problem):
                score = judge(self.task.scorer, problem, transcript)
            self.spent += time.perf_counter() - began
            return score
        loop = asyncio.get_running_loop()
        try:
            score, seconds = await loop.run_in_executor(self._threads, self._outside, problem, transcript)
        except Exception as error:  # noqa: BLE001 a pool without threads is a failed check, and not the end of a run
            return _unjudged(error)
        self.spent += seconds
        return score

    def _outside(self, problem: Problem, transcript: Transcript) -> tuple[Score, float]:
        worker = self._idle.pop()  # as many workers as threads, so one is always idle
        began = time.perf_counter()
        try:
            with _told(problem):
                score = worker.judge(problem, transcript, self.seconds)
        except Exception as error:  # noqa: BLE001 whatever a worker fails with, another takes its place
            worker = _Worker(self.task.scorer, self._memory)
            score = _unjudged(error)
        finally:
            self._idle.append(worker)
        return score, time.perf_counter() - began


def _unjudged(error: Exception) -> Score:
    return Score.failed(Verdict.ERROR, f"the scorer's process failed: {type(error).__name__}: {error}"[:500])
