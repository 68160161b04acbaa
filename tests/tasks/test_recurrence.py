"""Problems of the recurrence share no pair across splits, and only the whole right number is rewarded."""

import math
from collections import Counter

import pytest

from poziomka.core.errors import TaskError
from poziomka.core.problem import Verdict
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks import task_named
from poziomka.tasks.toy.recurrence import LONGEST, MODULUS, SYMBOLS, demonstration, recurrence, split_of, terms
from poziomka.testing import check_task


@pytest.fixture(scope="module")
def task():
    return recurrence()


def said(problem, reply, stop=Stop.END):
    return Transcript.of(problem.prompt) + Span(Author.MODEL, reply, stop=stop)


def pair(problem):
    return problem.facts["first"], problem.facts["second"]


def test_it_keeps_a_tasks_contract(task):
    check_task(task)


def test_it_is_known_by_its_name():
    assert task_named("recurrence").name == "recurrence"


def test_an_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(TaskError, match="unknown task 'recurence'; did you mean 'recurrence'"):
        task_named("recurence")


def test_splits_share_no_pair(task):
    train, test = ({pair(problem) for problem in task.take(split, 0, 3000)} for split in ("train", "test"))
    assert not train & test
    assert {split_of(*each) for each in train} == {"train"}


def test_every_pair_belongs_to_one_split_and_about_an_eighth_is_held_out():
    splits = Counter(split_of(first, second) for first in range(MODULUS) for second in range(MODULUS))
    assert splits["train"] + splits["test"] == MODULUS**2
    assert 0.09 < splits["test"] / MODULUS**2 < 0.16


def test_terms_are_sums_modulo_32():
    assert terms(20, 15, 4) == [3, 18, 21, 7]


@pytest.mark.parametrize("level", [1, 2, 17, 30])
def test_the_answer_is_the_kth_number(task, level):
    problem = task.problem("train", 3, level)
    first, second = pair(problem)
    for _ in range(level):
        first, second = second, (first + second) % 32
    assert problem.answer == str(second)
    assert problem.level == level


def test_levels_are_drawn_log_uniformly_from_2_on(task):
    levels = [problem.level for problem in task.take("train", 0, 4000)]
    assert (min(levels), max(levels)) == (2, LONGEST)
    assert sum(level < 8 for level in levels) / 4000 == pytest.approx(math.log(4) / math.log(15.5), abs=0.03)


def test_a_problem_is_asked_in_symbols_of_the_vocabulary(task):
    for problem in task.take("test", 0, 200):
        thought, answer = demonstration(problem)
        assert set(f"{problem.prompt[0].content} {thought} {answer}".split()) <= set(SYMBOLS)


def test_the_written_out_thought_restates_its_numbers_and_counts_down_to_its_answer(task):
    problem = task.problem("train", 5, 3)
    first, second = pair(problem)
    x1, x2, x3 = terms(first, second, 3)
    assert demonstration(problem) == (f"{first} k4 {second} k3 {x1} k2 {x2} k1 {x3} k0", str(x3))


def test_the_hardest_thought_fits_the_largest_budget(task):
    assert len(demonstration(task.problem("train", 0, LONGEST))[0].split()) == 64


def test_gold_answers_are_accepted(task):
    for problem in task.take("train", 0, 100):
        thought, answer = demonstration(problem)
        score = task.scorer(problem, said(problem, f" <think> {thought} </think> {answer}"))
        assert (score.reward, score.verdict, score.answer) == (1.0, Verdict.CORRECT, problem.answer)


def test_any_other_number_is_wrong(task):
    problem = task.problem("train", 0)
    for number in range(MODULUS):
        score = task.scorer(problem, said(problem, f" <think> </think> {number}"))
        assert score.reward == float(str(number) == problem.answer)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " <think> {answer}",
        " <think> </think>",
        " <think> </think> {answer} {answer}",
        " <think> </think> k0 {answer}",
        " <think> </think> {answer} </think>",
        " <think> </think> 1 <think> 2 </think> </think> {answer}",
        " <think> </think> the answer is {answer}",
        " <think> </think> {answer}.0",
    ],
)
def test_anything_but_one_number_after_the_thought_is_unparsed(task, reply):
    problem = task.problem("train", 0)
    score = task.scorer(problem, said(problem, reply.format(answer=problem.answer)))
    assert (score.reward, score.verdict) == (0.0, Verdict.UNPARSED)


def test_what_the_report_must_say_of_the_task_is_told(task):
    assert task.limits
    assert task.levels == (1, LONGEST)
