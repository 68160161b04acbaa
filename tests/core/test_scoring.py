"""A scorer may raise, hang, die or lie: all of it is a verdict, none of it a reward."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.scoring import Scoring, judge
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Stop, Transcript

PROBLEM = Problem.ask("sums", "1+1", "1 + 1 ?", "2")
REPLY = Transcript.of(PROBLEM.prompt) + Span(Author.MODEL, "2", stop=Stop.END)


class Unpicklable(str):
    """A text that cannot leave its process."""

    __slots__ = ()

    def __reduce__(self):
        message = "I stay here"
        raise RuntimeError(message)


class Bomb(str):
    """A text that can leave its process and not arrive."""

    __slots__ = ()

    def __reduce__(self):
        return int, ("not a number",)


def right(problem, transcript):
    return Score.right("2")


def wrong(problem, transcript):
    return Score.wrong("3")


def unread(problem, transcript):
    return Score.unparsed("nothing there")


def raises(problem, transcript):
    raise KeyError(problem.answer)


def leaves(problem, transcript):
    sys.exit(3)


def dies(problem, transcript):
    os._exit(3)


def hangs(problem, transcript):
    while True:
        pass


def cancels(problem, transcript):
    raise asyncio.CancelledError


def panics(problem, transcript):
    class PanicError(BaseException):
        """As libraries in Rust raise."""

    raise PanicError


def says_nan(problem, transcript):
    return Score(float("nan"), Verdict.WRONG)


def says_yes(problem, transcript):
    return "yes"


def stays(problem, transcript):
    return Score.right(Unpicklable("2"))


def explodes(problem, transcript):
    return Score.right(Bomb("2"))


def scores(scorer, *problems, trusted=False, seconds=5.0, workers=1):
    async def all_of_them():
        with Scoring(Task("sums", None, scorer, trusted=trusted), seconds, workers) as scoring:
            return await asyncio.gather(*(scoring.score(problem, REPLY) for problem in problems or [PROBLEM]))

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    ("scorer", "why"),
    [
        (raises, "the scorer raised KeyError: '2'"),
        (leaves, "the scorer raised SystemExit: 3"),
        (cancels, "the scorer raised CancelledError"),
        (panics, "the scorer raised PanicError"),
        (says_nan, "the scorer raised TaskError: a reward lies from -1 to 1"),
        (says_yes, "the scorer returned str, not a Score or a number"),
    ],
)
def test_what_goes_wrong_is_an_error_with_its_reason(scorer, why, trusted):
    (score,) = scores(scorer, trusted=trusted)
    assert (score.reward, score.verdict) == (None, Verdict.ERROR)
    assert score.why.startswith(why)


@pytest.mark.parametrize(
    ("scorer", "why"),
    [
        (dies, "the scorer's process died: EOFError"),
        (stays, "the score cannot be sent back: I stay here"),
        (explodes, "cannot be sent to the scorer's process or back"),
    ],
)
def test_a_worker_that_fails_is_an_error_with_its_reason(scorer, why):
    (score,) = scores(scorer)
    assert (score.reward, score.verdict) == (None, Verdict.ERROR)
    assert why in score.why


@pytest.mark.fault("A15")
def test_a_pure_loop_is_a_timeout():
    (score,) = scores(hangs, seconds=0.3)
    assert (score.reward, score.verdict) == (None, Verdict.TIMEOUT)
    assert score.why == "the scorer did not return within 0.3 s"


def test_a_problem_that_cannot_be_sent_is_an_error():
    problem = Problem.ask("sums", "1+1", "?", check=lambda: True)
    (score,) = scores(right, problem)
    assert score.verdict is Verdict.ERROR
    assert "cannot be sent" in score.why


def test_a_worker_goes_on_after_a_failure():
    def scorer(problem, transcript):
        return hangs(problem, transcript) if problem.key == "bad" else right(problem, transcript)

    problems = [PROBLEM, Problem.ask("sums", "bad", "?"), PROBLEM]
    verdicts = [score.verdict.value for score in scores(scorer, *problems, seconds=0.5)]
    assert verdicts == ["correct", "timeout", "correct"]


@pytest.mark.parametrize("scorer", [wrong, unread])
def test_a_reply_that_was_cut_off_is_truncated(scorer):
    cut = Transcript.of(PROBLEM.prompt) + Span(Author.MODEL, "2", stop=Stop.LENGTH)
    assert judge(scorer, PROBLEM, cut).verdict is Verdict.TRUNCATED
    assert judge(scorer, PROBLEM, cut).reward == 0


def test_a_right_answer_that_was_cut_off_is_right():
    cut = Transcript.of(PROBLEM.prompt) + Span(Author.MODEL, "2", stop=Stop.LENGTH)
    assert judge(right, PROBLEM, cut).correct


def test_a_trusted_scorer_runs_in_this_process():
    seen = []

    def scorer(problem, transcript):
        seen.append(os.getpid())
        return Score.right("2")

    scores(scorer, trusted=True)
    assert seen == [os.getpid()]


def test_a_closure_runs_in_another_process():
    here = os.getpid()

    def scorer(problem, transcript):
        return Score.wrong("here") if os.getpid() == here else Score.right("there")

    assert scores(scorer)[0].answer == "there"


def test_many_checks_share_the_workers_and_keep_their_order():
    def scorer(problem, transcript):
        return Score.wrong(problem.key)

    problems = [Problem.ask("sums", str(number), "?") for number in range(20)]
    assert [score.answer for score in scores(scorer, *problems, workers=3)] == [str(number) for number in range(20)]


def test_no_process_is_left_behind():
    (score,) = scores(lambda problem, transcript: Score.wrong(str(os.getpid())))
    with pytest.raises(ProcessLookupError):
        os.kill(int(score.answer), 0)


def test_ctrl_c_is_not_for_the_worker():
    def scorer(problem, transcript):
        os.kill(os.getpid(), signal.SIGINT)
        return Score.right("still here")

    assert scores(scorer)[0].answer == "still here"


def begins_others(problem, transcript):
    """Starts a child, and a grandchild that leaves its parents' session, which write their numbers and stay."""
    program = "import os, time; print(os.getpid(), file=open({!r}, 'a'), flush=True); time.sleep(10**6)"
    child = [sys.executable, "-c", program.format(problem.answer)]
    subprocess.Popen(child)
    subprocess.run(["setsid", "--fork", *child], check=True)
    while len(Path(problem.answer).read_text().split()) < 2:
        time.sleep(0.01)
    return hangs(problem, transcript) if problem.key == "hang" else Score.right("2")


@pytest.mark.fault("A15")
@pytest.mark.parametrize("key", ["hang", "return"])
def test_what_a_scorer_started_ends_with_its_worker(key, tmp_path):
    numbers = tmp_path / "numbers"
    for seconds in (3, 30, 300):  # a busy machine may take its time to begin both
        numbers.write_text("")
        (score,) = scores(begins_others, Problem.ask("sums", key, "?", str(numbers)), seconds=seconds)
        if len(numbers.read_text().split()) == 2:
            break
    assert score.verdict is (Verdict.TIMEOUT if key == "hang" else Verdict.CORRECT)
    started = {int(line) for line in numbers.read_text().split()}
    assert len(started) == 2
    assert gone(started)


def test_a_scorer_that_hoards_memory_is_an_error_and_its_worker_replaced():
    def scorer(problem, transcript):
        return Score.right(str(len(bytearray(8 << 30)))) if problem.key == "large" else Score.right(str(os.getpid()))

    problems = [PROBLEM, Problem.ask("sums", "large", "?"), PROBLEM]
    before, large, after = scores(scorer, *problems)
    assert (large.verdict, large.reward) == (Verdict.ERROR, None)
    assert "MemoryError" in large.why
    assert after.correct
    assert before.answer != after.answer


def test_a_reply_of_ten_megabytes_is_judged():
    def scorer(problem, transcript):
        return Score.wrong(str(len(transcript.reply)))

    reply = Transcript.of(PROBLEM.prompt) + Span(Author.MODEL, "9" * 10_000_000, stop=Stop.END)
    with Scoring(Task("sums", None, scorer), workers=1) as scoring:
        assert asyncio.run(scoring.score(PROBLEM, reply)).answer == "10000000"


@pytest.mark.fault("A15")
def test_a_worker_that_does_not_even_read_is_a_timeout():
    def scorer(problem, transcript):
        if problem.key == "stop":
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGSTOP)).start()
        return Score.right("2")

    large = Transcript.of(PROBLEM.prompt) + Span(Author.MODEL, "9" * 10_000_000, stop=Stop.END)

    async def three():
        with Scoring(Task("sums", None, scorer), 1.0, workers=1) as scoring:
            first = await scoring.score(Problem.ask("sums", "stop", "?"), REPLY)
            while not stopped(scoring._idle[0].process.pid):  # noqa: ASYNC110 a process has no event to wait for
                await asyncio.sleep(0.01)
            return first, await scoring.score(PROBLEM, large), await scoring.score(PROBLEM, REPLY)

    assert [score.verdict.value for score in asyncio.run(three())] == ["correct", "timeout", "correct"]


@pytest.mark.slow
def test_a_scorer_that_dies_is_noticed_whatever_its_siblings_do():
    problems = [PROBLEM] * 60
    found = scores(dies, *problems, seconds=10**6, workers=4)  # a sibling that held the line open would wait so long
    assert {score.verdict for score in found} == {Verdict.ERROR}


def test_a_worn_worker_is_replaced(monkeypatch):
    monkeypatch.setattr("poziomka.core.rollouts.scoring.WORN", 3)
    found = scores(lambda problem, transcript: Score.wrong(str(os.getpid())), *[PROBLEM] * 7)
    pids = [score.answer for score in found]
    assert pids[0] == pids[2] != pids[3] == pids[5] != pids[6]


def test_a_limit_holds_for_a_regular_expression_that_never_ends():
    (score,) = scores(lambda problem, transcript: re.match(r"(a+)+$", "a" * 50 + "b"), seconds=0.3)
    assert score.verdict is Verdict.TIMEOUT


@pytest.mark.fault("A15")
@pytest.mark.parametrize("trusted", [True, False])
def test_what_checks_took_is_counted(trusted):
    def scorer(problem, transcript):
        time.sleep(0.05)
        return Score.right("2")

    async def four():
        with Scoring(Task("sums", None, scorer, trusted=trusted)) as scoring:
            await asyncio.gather(*(scoring.score(PROBLEM, REPLY) for _ in range(4)))
            return scoring.spent

    assert asyncio.run(four()) >= 0.2


@pytest.mark.parametrize(("seconds", "workers"), [(0, 1), (-1, 1), (1, 0)])
def test_limits_that_make_no_sense_are_refused(seconds, workers):
    with pytest.raises(TaskError, match=f"received {seconds} s, {workers} workers"):
        Scoring(Task("sums", None, right), seconds, workers)


@pytest.mark.fault("A15")
def test_workers_of_a_killed_program_leave_too(tmp_path):
    pids = tmp_path / "pids"
    program = f"""
        import asyncio, os, signal
        from poziomka.core.problem import Problem, Score
        from poziomka.core.rollouts.scoring import Scoring
        from poziomka.core.task import Task
        from poziomka.core.transcript import Transcript

        def scorer(problem, transcript):
            open({str(pids)!r}, "a").write(f"{{os.getpid()}}\\n")
            while problem.key == "hang": pass

        async def main():
            scoring = Scoring(Task("t", None, scorer), workers=2)
            await asyncio.gather(*(scoring.score(Problem.ask("t", "quick", "?"), Transcript()) for _ in range(4)))
            asyncio.create_task(scoring.score(Problem.ask("t", "hang", "?"), Transcript()))
            while len(open({str(pids)!r}).read().split()) < 5:
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    workers = {int(line) for line in pids.read_text().split()}
    assert workers
    assert gone(workers)


def gone(workers):
    """Waits until all processes have ended; one that is not reaped yet counts as ended."""
    while any(state_of(worker) not in {"", "Z"} for worker in workers):
        time.sleep(0.05)
    return True


def stopped(pid):
    return state_of(pid) == "T"


def state_of(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1]
