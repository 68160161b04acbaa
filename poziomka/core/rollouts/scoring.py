"""Scoring of transcripts, inline or in worker processes with a time limit; failed checks never carry a reward.

A trusted scorer runs inline. Any other runs in a worker process, which is killed and replaced when it exceeds the time
limit. That works for pure loops, C extensions and catastrophic regular expressions, from any thread and without
signals; child processes of the worker are killed with it. The worker is forked, so scorers may be closures. It is not a
sandbox: it protects from hanging, raising and excessive memory, not from malicious code.

A scorer that asks a model (`AskingScorer`) asks in the event loop of the samplers, where concurrent requests share
batches; what it does with the replies runs as any other scorer does.
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
from numbers import Real
from pathlib import Path
from typing import Self

from poziomka.core.errors import TaskError, reason_of
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.safety.processes import Line, descendants, end_tree, is_child, keep_orphans, signalled
from poziomka.core.task import AskingScorer, Scorer, Task, ask, settle
from poziomka.core.transcript import Stop, Transcript

WORN = 5_000  # checks after which a worker is replaced
KILLS = 2  # attempts to kill a worker before it is abandoned
DYING = 5.0  # seconds to wait for the exit of a killed worker
MEMORY = 2 << 30  # bytes that a worker may allocate beyond its size at the start

_UNDER_WAY: dict[int, tuple[str, float]] = {}  # running checks: serial number → (problem key, start time)
_NUMBERS = count()
_STARTING = threading.Lock()  # serialises forks: a worker forked meanwhile would inherit and keep open the other's pipe


def under_way() -> list[tuple[str, float]]:
    """Returns (problem key, elapsed seconds) of every check that a scorer is running now, for the stall watchdog."""
    now = time.monotonic()
    return [(key, now - began) for key, began in list(_UNDER_WAY.values())]


@contextmanager
def _told(problem: Problem) -> Iterator[None]:
    """Context manager that lists a check in `under_way` while its body runs."""
    number = next(_NUMBERS)
    _UNDER_WAY[number] = (problem.key, time.monotonic())
    try:
        yield
    finally:
        del _UNDER_WAY[number]


def judge(scorer: Scorer, problem: Problem, transcript: Transcript, asked: object = None) -> Score:
    """Runs a scorer on an attempt and returns its score, whatever the scorer does.

    An exception, or a result that is not a Score or a number from -1 to 1, becomes a score with verdict ERROR and
    without a reward. Verdicts WRONG and UNPARSED become TRUNCATED if the reply ended at its token limit.

    Args:
        scorer: the scorer.
        problem: the problem.
        transcript: the attempt.
        asked: result of the scorer's `ask`; None if nothing was asked.

    Raises:
        KeyboardInterrupt: the user interrupted the scorer.
    """
    try:
        found = settle(scorer, problem, transcript, asked)
        score = Score.of(float(found)) if isinstance(found, Real) else found
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 a scorer may raise anything; all of it becomes verdict ERROR
        return _raised(error)
    if not isinstance(score, Score):
        return Score.failed(Verdict.ERROR, f"the scorer returned {type(score).__name__}, not a Score or a number")
    if transcript.stop is Stop.LENGTH and score.verdict in (Verdict.WRONG, Verdict.UNPARSED):
        return replace(score, verdict=Verdict.TRUNCATED)
    return score


def _serve(line: Line, scorer: Scorer, parent: int, memory: int) -> None:
    """Runs a worker: receives attempts, scores them and sends the scores, until the line closes or the parent exits."""
    _STARTING.release()  # the forked copy: a scorer may start workers of its own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
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
        problem, transcript, replies = pickle.loads(asked)  # noqa: S301 from the parent process
    except Exception as error:  # noqa: BLE001 unpickling runs code of the pickled objects, which may raise anything
        why = f"cannot be read in the scorer's process: {type(error).__name__}: {error}"
        return pickle.dumps(Score.failed(Verdict.ERROR, why[:500]))
    try:
        return pickle.dumps(judge(scorer, problem, transcript, replies))
    except Exception as error:  # noqa: BLE001 as above
        return pickle.dumps(Score.failed(Verdict.ERROR, f"the score cannot be sent back: {error}"[:500]))


def _bound_memory(more: int) -> None:
    """Limits the data segment of this process to `more` bytes beyond its present size, on systems with /proc."""
    try:
        status = Path("/proc/self/status").read_text(encoding="latin-1")
        has = int(status.partition("VmData:")[2].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (has + more, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    except (OSError, IndexError, ValueError):  # another system, or a tighter limit already
        return


def _leave_with(parent: int) -> None:
    """Waits until the parent process has died, then kills the worker's descendants and exits the worker.

    The line shows no end of file then, because sibling workers inherited the parent's end of it.
    """
    while os.getppid() == parent:
        time.sleep(1.0)
    for process in descendants(os.getpid()):
        signalled(process, signal.SIGKILL)
    os._exit(1)


def _end(process: BaseProcess) -> None:
    """Kills a process with its descendants, up to KILLS times, and closes its handle once it has exited.

    `join` may return before the exit if another thread reaps the process or the machine is busy. A process that
    survives both kills is blocked in the kernel: it exits as soon as it is scheduled, and multiprocessing keeps its
    handle.
    """
    for _ in range(KILLS):
        if process.exitcode is None and process.pid is not None and is_child(process.pid):
            with suppress(OSError):  # descendants cannot be listed; the process itself is killed
                end_tree(process.pid)
            process.join(DYING)
    with suppress(ValueError):  # it is still running
        process.close()


class _Worker:
    """A worker process that scores one transcript at a time, and starts again after it was stopped."""

    def __init__(self, scorer: Scorer, memory: int) -> None:
        """Stores the scorer; the process starts with the first transcript."""
        self.scorer, self.memory = scorer, memory
        self.process: BaseProcess | None = None
        self.line: Line | None = None
        self.checks = 0  # of the present process

    def start(self) -> Line:
        """Starts the worker process if it is not running, and returns the connection to it."""
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
        """Kills the process with its descendants and closes the connection to it; never raises."""
        process, line = self.process, self.line
        self.process = self.line = None
        self.checks = 0
        if line is not None:
            line.close()
        if process is not None:
            _end(process)

    def judge(self, problem: Problem, transcript: Transcript, replies: object, seconds: float) -> Score:
        """Returns the score of an attempt, computed in the worker process.

        Exceeding the time limit gives verdict TIMEOUT, the death of the process verdict ERROR.

        Args:
            problem: the problem.
            transcript: the attempt.
            replies: result of the scorer's `ask`; None if nothing was asked.
            seconds: time limit.
        """
        try:
            asked = pickle.dumps((problem, transcript, replies))
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
        except Exception as error:  # noqa: BLE001 pickling runs code of the pickled objects, which may raise anything
            self.stop()
            return Score.failed(Verdict.ERROR, f"cannot be sent to the scorer's process or back: {error}"[:500])
        self.checks += 1
        if self.checks >= WORN or MemoryError.__name__ in score.why:
            self.stop()  # bounds the memory that a scorer accumulates
        return score


class Scoring:
    """Scores the transcripts of one task; a context manager that stops its worker processes at the end.

    A trusted scorer (`Task.trusted`) runs in this process, any other in worker processes with a time limit.

    Args:
        task: provides the scorer.
        seconds: time limit of one check in a worker process.
        workers: number of worker processes.
        memory: bytes that a worker may allocate beyond its size at the start (default: 2 GiB), on systems with /proc.

    Attributes:
        spent: total seconds of all checks, summed over workers, without the time in which a scorer asks a model.

    Raises:
        TaskError: `seconds` is not positive, or `workers` is below 1.
    """

    def __init__(self, task: Task, seconds: float = 10.0, workers: int = 2, memory: int = MEMORY) -> None:
        """Stores the arguments; worker processes start with the first check of a scorer that is not trusted."""
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
        """Waits for running checks and kills the worker processes."""
        self._threads.shutdown(wait=True)
        for worker in self._idle:
            worker.stop()

    async def score(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns the score of an attempt at a problem.

        A check that fails gives verdict ERROR or TIMEOUT and no reward; exceptions of the scorer are not raised.
        """
        asked: object = None
        if isinstance(self.task.scorer, AskingScorer):
            try:
                with _told(problem):
                    asked = await ask(self.task.scorer, problem, transcript)
            except Exception as error:  # noqa: BLE001 a scorer may raise anything; all of it becomes verdict ERROR
                return _raised(error)
        began = time.perf_counter()
        if self.task.trusted or isinstance(asked, Score):  # a Score is final: no code of the scorer is left to run
            with _told(problem):
                score = judge(self.task.scorer, problem, transcript, asked)
            self.spent += time.perf_counter() - began
            return score
        loop = asyncio.get_running_loop()
        try:
            score, seconds = await loop.run_in_executor(self._threads, self._outside, problem, transcript, asked)
        except Exception as error:  # noqa: BLE001 a failing thread pool is a failed check, not the end of the run
            return _unjudged(error)
        self.spent += seconds
        return score

    def _outside(self, problem: Problem, transcript: Transcript, asked: object) -> tuple[Score, float]:
        worker = self._idle.pop()  # as many workers as threads, so one is always idle
        began = time.perf_counter()
        try:
            with _told(problem):
                score = worker.judge(problem, transcript, asked, self.seconds)
        except Exception as error:  # noqa: BLE001 after any failure a new worker replaces this one
            worker = _Worker(self.task.scorer, self._memory)
            score = _unjudged(error)
        finally:
            self._idle.append(worker)
        return score, time.perf_counter() - began


def _raised(error: BaseException) -> Score:
    return Score.failed(Verdict.ERROR, f"the scorer raised {reason_of(error)}")


def _unjudged(error: Exception) -> Score:
    return Score.failed(Verdict.ERROR, f"the scorer's process failed: {type(error).__name__}: {error}"[:500])
