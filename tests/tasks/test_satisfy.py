"""Give a model: every answer that satisfies the constraints is right, and nothing else is."""

import sys
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.problem import Verdict
from poziomka.core.rollouts.scoring import judge
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks.logic.certificates import Setting, read_assignment
from poziomka.tasks.logic.constraints import holds, models, say, say_assignment
from poziomka.tasks.logic.satisfy import SHAPES, satisfy

SETTING = Setting.of((2, 1), (0, 9))
LEVELS = range(1, len(SHAPES) + 1)


@pytest.fixture(scope="module")
def task():
    return satisfy()


def judged(problem, answer, scorer):
    transcript = Transcript.of(problem.prompt) + Span(Author.MODEL, f"<think> hm </think> {answer}", stop=Stop.END)
    return judge(scorer, problem, transcript)


@pytest.mark.parametrize("level", LEVELS)
def test_every_model_is_right_and_every_mistake_wrong_and_z3_agrees(task, level):
    for problem in (task.problem("train", index, level) for index in range(3)):
        for found in models(problem.facts["constraints"], Setting.in_facts(problem).domains):
            assert judged(problem, say_assignment(found), task.scorer).correct
            assert judged(problem, say_assignment(found), task.audit).correct
        for what, wrong in task.mistakes(problem).items():
            assert judged(problem, wrong, task.scorer).reward == 0, what
            assert judged(problem, wrong, task.audit).reward == 0, what


def test_guessing_does_not_pay(task):
    for problem in (task.problem("train", index) for index in range(20)):
        setting = Setting.in_facts(problem)
        count = len(list(islice(models(problem.facts["constraints"], setting.domains), 13)))
        size = 10 ** len(setting.numbers) * 2 ** len(setting.truths)
        assert 1 <= count <= min(12, size / 50)


def test_a_demonstration_is_a_search_that_ends_at_a_model(task):
    for level in LEVELS:
        problem = task.problem("train", 1, level)
        thought, answer = task.demonstration(problem)
        assert judged(problem, answer, task.scorer).correct
        *failed, last = thought.split("\n")
        assert last == f"{answer}: all hold"
        said = {f"{place}. {say(one)}" for place, one in enumerate(problem.facts["constraints"], 1)}
        for line in failed:
            tried, _, rest = line.partition(": ")
            number = int(rest.partition(".")[0])
            assert rest.removesuffix(" fails") in said
            assert not holds(
                problem.facts["constraints"][number - 1], read_assignment(tried, Setting.in_facts(problem))
            )


def test_splits_share_no_list_of_constraints(task):
    keys = {split: {task.problem(split, index, 1).key for index in range(60)} for split in ("train", "test")}
    assert not keys["train"] & keys["test"]


@pytest.mark.parametrize(
    "answer",
    [
        *("x = 1, y = 2", "x = 1, y = 2, p = 1", "x = true, y = 2, p = true", "x = 1, y = 2, p = true?", "valid", ""),
        *("x = 1, x = 1, y = 2, p = true", "x = 1, y = 2, p = true, q = true", "x = 01, y = 2, p = true"),
        *("x = 1, y = 2, P = true", "x=1 y=2 p=true", "x = 1, y = 2, p = true\n", "x = １, y = 2, p = true"),
        *("x = 1" * 1000, "x = 1+0, y = 2, p = true", "x = -0, y = 2, p = true"),
    ],
)
def test_an_answer_that_is_not_every_value_once_is_none(answer):
    assert read_assignment(answer, SETTING) is None


@given(st.permutations(["x", "y", "p"]), st.integers(-999, 999), st.integers(0, 9), st.booleans())
def test_an_assignment_is_read_in_any_order_as_it_was_said(order, x, y, truth):
    values = {"x": x, "y": y, "p": truth}
    assert read_assignment(say_assignment({name: values[name] for name in order}), SETTING) == values


@given(st.text(alphabet="xyp =,truefals0123456789-", max_size=60))
def test_whatever_is_said_is_an_assignment_or_none(text):
    found = read_assignment(text, SETTING)
    assert found is None or read_assignment(say_assignment(found), SETTING) == found


def test_a_number_out_of_bounds_is_wrong_and_not_unparsed(task):
    problem = task.problem("train", 0, 1)
    assert judged(problem, "x = 10, y = 0", task.scorer).verdict is Verdict.WRONG


def test_without_z3_problems_are_made_and_judged_and_the_audit_has_no_opinion(task, monkeypatch):
    monkeypatch.setitem(sys.modules, "z3", None)
    problem = task.problem("test", 0)
    answer = task.demonstration(problem)[1]
    assert judged(problem, answer, task.scorer).correct
    assert judged(problem, answer, task.audit).reward is None
