"""Countdown rewards whatever arithmetic reaches the target with each number once, and nothing else."""

from dataclasses import replace

import pytest

from poziomka.core.problem import Problem, Verdict
from poziomka.core.seeds import random_of
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks.toy.countdown import BOUND, SYMBOLS, attempt, countdown, demonstration, moves, reachable, spell
from poziomka.testing import check_task

PROBLEM = Problem.ask("countdown", "3,7,12>15", " 7 12 3 > 15", numbers=[7, 12, 3], target=15, index=0)


@pytest.fixture(scope="module")
def task():
    return countdown()


def judged(task, answer, problem=PROBLEM, thought=""):
    reply = Span(Author.MODEL, f" <think> {thought} </think> {answer}", stop=Stop.END)
    return task.scorer(problem, Transcript.of(problem.prompt) + reply)


def solution(problem):
    """Finds steps that reach the target."""
    numbers, target = tuple(problem.facts["numbers"]), problem.facts["target"]
    for first, rest in moves(numbers):
        for second, last in moves(rest):
            if last == (target,):
                return spell([first, second])
    return None


def test_splits_share_no_instance(task):
    train, test = ({problem.key for problem in task.take(split, 0, 600)} for split in ("train", "test"))
    assert not train & test


def test_every_problem_has_a_solution_and_it_is_accepted(task):
    for problem in task.take("train", 0, 60):
        assert judged(task, solution(problem), problem).verdict is Verdict.CORRECT


def test_problems_and_demonstrations_are_written_in_the_vocabulary(task):
    for problem in task.take("test", 0, 40):
        thought, answer = demonstration(problem)
        assert set(f"{problem.prompt[0].content} {thought} {answer}".split()) <= set(SYMBOLS)


def test_a_source_is_pure(task):
    assert task.problem("train", 7) == task.problem("train", 7)


def test_a_demonstration_ends_with_its_answer_and_is_marked_as_it_turned_out(task):
    for problem in task.take("train", 0, 40):
        thought, answer = demonstration(problem)
        last = thought.split(" | ")[-1]
        assert last in (f"{answer} ok", f"{answer} x")
        assert (judged(task, answer, problem).reward == 1.0) == last.endswith("ok")


@pytest.mark.parametrize("answer", ["12 - 7 = 5 , 5 * 3 = 15", "5 * 3 = 15 , 12 - 7 = 5"])
def test_only_steps_in_an_order_that_can_be_walked_are_right(task, answer):
    assert judged(task, answer).reward == float(answer.startswith("12"))


@pytest.mark.parametrize(
    "answer",
    [
        "12 + 3 = 15 , 15 * 1 = 15",
        "12 + 3 = 15 , 15 + 0 = 15",
        "12 - 7 = 5 , 12 + 3 = 15",
        "12 - 7 = 5 , 5 * 3 = 16",
        "12 - 7 = 5 , 5 + 3 = 15",
        "3 + 7 = 10 , 12 + 10 = 22",
    ],
)
def test_wrong_arithmetic_and_numbers_that_are_not_there_are_wrong(task, answer):
    assert judged(task, answer).verdict is Verdict.WRONG


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "15",
        "12 + 3 = 15",
        "12 - 7 = 5 , 5 * 3 = 15 , 15 + 0 = 15",
        "12 - 7 = 5 , 5  3 = 15",
        "12 - 7 = 5 , 5 +- 3 = 15",
        "12 - 7 = 5 , 5 *- 3 = 15",
        "12 - 7 = 5 ; 5 * 3 = 15",
        "12 - 7 = 5 , 5 * 3 > 15",
        "12 - 7 = 5 , 5 * 3 = ١٥",
        "12 - 7 = 5 , 5 * 3 = 015",
        "12 - 7 = 5 , 5 * 3 = 15" + " ok" * 30,
    ],
)
def test_anything_but_two_steps_is_no_answer(task, answer):
    assert judged(task, answer).verdict is Verdict.UNPARSED


def test_a_claim_in_the_thought_earns_nothing(task):
    assert judged(task, "12 + 7 = 19 , 19 - 3 = 16", thought="12 - 7 = 5 , 5 * 3 = 15 ok").reward == 0.0


def test_an_unfinished_thought_is_no_answer(task):
    reply = Span(Author.MODEL, " <think> 12 - 7 = 5 , 5 * 3 = 15", stop=Stop.LENGTH)
    assert task.scorer(PROBLEM, Transcript.of(PROBLEM.prompt) + reply).verdict is Verdict.UNPARSED


def test_attempts_are_legal(task):
    random = random_of("test", "countdown")
    for _ in range(200):
        steps = attempt((7, 12, 3), random)
        assert all(0 <= result <= BOUND for _, _, _, result in steps)
        assert steps[-1][3] in reachable((3, 7, 12))


def test_it_keeps_a_tasks_contract(task):
    """Without its demonstrations, which are attempts, and may miss."""
    check_task(replace(task, demonstration=None), problems=5)
