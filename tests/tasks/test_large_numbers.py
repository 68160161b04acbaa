"""Numbers too large for the head: what is asked, what is right, what is held out, and what a demonstration shows."""

import pytest

from poziomka.core.problem import Verdict
from poziomka.core.transcript import Author, Span, Transcript
from poziomka.tasks import task_named
from poziomka.tasks.toy.large_numbers import HELD_OUT, LEVELS, SHOWN, SYMBOLS, calls, numbers_of, spelled, split_of
from poziomka.testing import check_task

NAMES = ("large_numbers", "large_numbers_in_words")


@pytest.fixture(scope="module")
def task():
    return task_named("large_numbers")


def judged(task, problem, reply):
    return task.scorer(problem, Transcript.of(problem.prompt) + Span(Author.MODEL, reply))


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_a_tasks_contract(name):
    check_task(task_named(name), problems=5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", range(LEVELS[0], LEVELS[1] + 1))
def test_the_level_counts_the_digits_of_the_first_factor(name, level):
    for problem in task_named(name).take("train", 0, 40, level):
        first, second, last = numbers_of(problem.key)
        assert (len(str(first)), len(str(second)), len(str(last))) == (level, (level + 1) // 2, 1)
        assert problem.level == level
        assert "".join(problem.answer.split()) == str(first * second + last)


def test_numbers_are_spelled_digit_by_digit(task):
    problem = next(problem for problem in task.take("train", 0, 50, 3))
    assert problem.prompt[0].content == f" {spelled(problem.key)}"
    assert spelled("487*39+5") == "4 8 7 * 3 9 + 5"


def test_in_words_it_is_asked_as_people_ask():
    problem = task_named("large_numbers_in_words").problem("train", 3, 3)
    first, second, last = numbers_of(problem.key)
    assert problem.prompt[0].content == f"Compute {first} * {second} + {last}."


def test_no_numbers_are_in_both_splits_in_whichever_order(task):
    def kinds(split):
        found = (numbers_of(problem.key) for problem in task.take(split, 0, 3000, 1))
        return {(*sorted((first, second)), last) for first, second, last in found}

    train, validation, test = kinds("train"), kinds("validation"), kinds("test")
    assert not train & test
    assert not validation & (train | test)
    train |= validation
    assert len(train | test) > 440, "there are 450 kinds, and nearly each was drawn"
    assert len(test) / len(train | test) == pytest.approx(1 / HELD_OUT, abs=0.05)
    assert all(split_of(first, second, last) == split_of(second, first, last) for first, second, last in train | test)


def test_every_product_of_two_digits_occurs_in_training(task):
    products = {numbers_of(problem.key)[:2] for problem in task.take("train", 0, 3000, 1)}
    assert products == {(first, second) for first in range(1, 10) for second in range(1, 10)}


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (" <think> 5 6 </think> 6 1", Verdict.CORRECT),
        (" <think> <tool> 7 * 8 + 5 </tool> <result> 6 1 </result> </think> 6 1", Verdict.CORRECT),
        (" <think> </think> 6 1", Verdict.CORRECT),
        (" <think> </think> 6 2", Verdict.WRONG),
        (" <think> </think> 0 6 1", Verdict.WRONG),
        (" <think> </think> 6 1 6 1", Verdict.WRONG),
        (" <think> </think> 61", Verdict.UNPARSED),
        (" <think> </think> 7 * 8 + 5", Verdict.UNPARSED),
        (" <think> </think> <result> 6 1 </result>", Verdict.UNPARSED),
        (" <think> <tool> 7 * 8 + 5 </tool> <result> 6 1 </result>", Verdict.UNPARSED),
        (" <think> 6 1", Verdict.UNPARSED),
    ],
)
def test_only_the_digits_after_the_thought_are_an_answer(task, reply, verdict):
    problem = task.problem("train", 0, 1)
    problem = type(problem)(problem.prompt, "6 1", task=problem.task, key="7*8+5", level=1)
    assert judged(task, problem, reply).verdict is verdict


def test_few_demonstrations_call_a_tool_and_as_many_at_every_level(task):
    for level in range(LEVELS[0], LEVELS[1] + 1):
        problems = {problem.key: problem for problem in task.take("train", 0, 1500, level)}.values()
        shown = [task.demonstration(problem)[0] for problem in problems]
        share = sum("<tool>" in thought for thought in shown) / len(shown)
        assert share == pytest.approx(SHOWN, abs=0.05), level
        assert not any("<result>" in thought for thought in shown), "what the tool says is the environment's to say"


def test_a_demonstration_without_a_call_writes_the_product_down(task):
    problem = next(problem for problem in task.take("train", 0, 50, 3) if not calls(problem.key))
    first, second, _ = numbers_of(problem.key)
    assert task.demonstration(problem) == (spelled(first * second), problem.answer)


def test_everything_that_is_asked_and_shown_is_in_the_vocabulary(task):
    for problem in task.take("train", 0, 200):
        words = f"{problem.prompt[0].content} {' '.join(task.demonstration(problem))}".split()
        assert set(words) <= set(SYMBOLS)
