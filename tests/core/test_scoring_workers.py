"""A scoring worker that dies slowly, or fails in any other way, is replaced: its check failed, and the run goes on."""

import asyncio
import os
import resource
import signal
import time

import pytest

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Stop, Transcript

PROBLEM = Problem.ask("sums", "1+1", "1 + 1 ?", "2")
REPLY = Transcript.of(PROBLEM.prompt) + Span(Author.MODEL, "2", stop=Stop.END)


def right(problem, transcript):
    return Score.right(str(os.getpid()))


def hangs_where_bad(problem, transcript):
    while problem.key == "bad":
        pass
    return right(problem, transcript)


def gone(process):
    """Waits until a process has ended."""
    while True:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)


@pytest.fixture
def collected_elsewhere():
    """Lets the system collect children that end: a join returns and still does not know that the process is gone."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.fault("A2")
@pytest.mark.usefixtures("collected_elsewhere")
def test_a_killed_worker_whose_end_is_not_seen_by_its_join_is_a_timeout_and_is_replaced():
    problems = [PROBLEM, Problem.ask("sums", "bad", "?"), PROBLEM]

    async def all_of_them():
        with Scoring(Task("sums", None, hangs_where_bad), 3.0, workers=1) as scoring:
            return [await scoring.score(problem, REPLY) for problem in problems]

    first, hung, after = asyncio.run(all_of_them())
    assert (hung.reward, hung.verdict) == (None, Verdict.TIMEOUT)
    assert first.correct
    assert after.correct
    assert first.answer != after.answer


class Stubborn:
    """A process that outlives its first kill: the join that follows returns while it runs."""

    def __init__(self, process):
        self.process, self.joins = process, 0

    def __getattr__(self, name):
        return getattr(self.process, name)

    @property
    def exitcode(self):
        return self.process.exitcode if self.joins > 1 else None

    def join(self, timeout=None):
        self.joins += 1
        if self.joins > 1:
            self.process.join(timeout)

    def close(self):
        if self.joins < 2:
            message = "Cannot close a process while it is still running"
            raise ValueError(message)
        self.process.close()


@pytest.mark.fault("A2")
def test_a_worker_that_outlives_its_kill_is_killed_again():
    with Scoring(Task("sums", None, right), workers=1) as scoring:
        (worker,) = scoring._idle
        first = asyncio.run(scoring.score(PROBLEM, REPLY))
        worker.process = Stubborn(worker.process)
        worker.stop()
        assert gone(int(first.answer))
        assert asyncio.run(scoring.score(PROBLEM, REPLY)).correct


class Broken:
    """A worker that raises what no worker should."""

    def judge(self, problem, transcript, replies, seconds):
        message = "can't start new thread"
        raise RuntimeError(message)


@pytest.mark.fault("A2")
def test_whatever_a_worker_raises_is_an_error_and_another_takes_its_place():
    with Scoring(Task("sums", None, right), workers=1) as scoring:
        scoring._idle[:] = [Broken()]
        score = asyncio.run(scoring.score(PROBLEM, REPLY))
        assert (score.reward, score.verdict) == (None, Verdict.ERROR)
        assert "can't start new thread" in score.why
        assert asyncio.run(scoring.score(PROBLEM, REPLY)).correct


@pytest.mark.fault("A2")
def test_a_hung_worker_is_a_timeout_and_gone_where_no_descriptor_is_free():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Scoring(Task("sums", None, hangs_where_bad), workers=1) as scoring:
        (worker,) = scoring._idle
        first = worker.judge(PROBLEM, REPLY, None, 600.0)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))  # all of them are taken
            hung = worker.judge(Problem.ask("sums", "bad", "?"), REPLY, None, 0.5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert (hung.reward, hung.verdict) == (None, Verdict.TIMEOUT)
        assert gone(int(first.answer))
        assert worker.judge(PROBLEM, REPLY, None, 600.0).correct
