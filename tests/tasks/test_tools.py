"""A task with tools: the environment, what a call costs, and what it never changes."""

import pytest

from poziomka.core.errors import SettingsError, TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Transcript
from poziomka.environments.tools.registry import toolbox_named
from poziomka.tasks import task_named
from poziomka.tasks.tools import LEAST, with_tools
from poziomka.testing import check_task

PROBLEM = Problem.ask("echo", "1", " 1", "1")


@pytest.fixture
def toolbox():
    toolbox = toolbox_named("calculator", "spelled")
    yield toolbox
    toolbox.close()


def task_that_says(score):
    return Task("echo", lambda *_: PROBLEM, lambda *_: score, trusted=True)


def after(calls):
    """A reply with so many calls that were answered."""
    spans = [Span(Author.MODEL, " <think>")]
    for _ in range(calls):
        spans += [Span(Author.MODEL, " <tool> 1 </tool>"), Span(Author.ENVIRONMENT, " <result> 1 </result>")]
    spans.append(Span(Author.MODEL, " </think> 1"))
    return Transcript.of(PROBLEM.prompt) + spans


@pytest.mark.parametrize(("calls", "reward"), [(0, 1.0), (1, 0.9), (2, 0.8), (5, 0.5), (9, 0.5)])
def test_a_call_costs_a_right_answer_a_share_and_never_more_than_half(toolbox, calls, reward):
    score = with_tools(task_that_says(Score.right("1")), toolbox, 0.1).scorer(PROBLEM, after(calls))
    assert score.reward == pytest.approx(reward)
    assert score.correct
    assert score.parts == pytest.approx({"calls": calls, "cost": 1 - reward})


def test_a_wrong_answer_pays_nothing(toolbox):
    half = Score(0.4, Verdict.WRONG, "2")  # a task that gives something for what is nearly right
    for given in (Score.wrong("2"), Score.unparsed("no answer"), half):
        score = with_tools(task_that_says(given), toolbox, 0.3).scorer(PROBLEM, after(3))
        assert (score.reward, score.verdict) == (given.reward, given.verdict)
        assert score.parts["calls"] == 3


def test_what_was_not_judged_stays_so(toolbox):
    failed = Score.failed(Verdict.ERROR, "it broke")
    assert with_tools(task_that_says(failed), toolbox, 0.3).scorer(PROBLEM, after(3)) == failed


def test_right_with_calls_is_always_worth_more_than_wrong_without(toolbox):
    for cost in (0.0, 0.05, 1.0):
        right = with_tools(task_that_says(Score.right("1")), toolbox, cost).scorer(PROBLEM, after(50))
        assert right.reward >= LEAST > 0.0


def test_a_cost_is_a_share(toolbox):
    with pytest.raises(SettingsError, match=r"received 1\.5"):
        with_tools(task_named("large_numbers"), toolbox, 1.5)


def test_a_task_with_an_environment_takes_no_tools_beside_it(toolbox):
    once = with_tools(task_named("large_numbers"), toolbox)
    with pytest.raises(TaskError, match="environment of its own"):
        with_tools(once, toolbox)


def test_a_task_with_tools_keeps_a_tasks_contract(toolbox):
    task = with_tools(task_named("large_numbers"), toolbox, 0.05)
    check_task(task, problems=3)
    assert (
        task.limits[-1] == "The model may call calculator while it thinks, at 0.05 of a right answer's reward a call."
    )
