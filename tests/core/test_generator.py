"""A generator becomes a source: seeded by names, with disjoint splits and distinct held-out problems."""

import pytest

import poziomka as pz
from poziomka.core.errors import ProblemError, TaskError
from poziomka.core.generator import is_generator
from poziomka.core.task import Task
from poziomka.testing import check_task

SPLITS = ("train", "validation", "test")


def clock(rng, level):
    start, wait = rng.randrange(24), rng.randrange(level)
    return pz.Problem(f"It is {start} o'clock. What is it {wait} hours later?", answer=str((start + wait) % 24))


def large(rng):
    a, b = rng.randrange(10**6), rng.randrange(10**6)
    return pz.Problem(f"What is {a} + {b}?", answer=str(a + b))


def coin(rng):
    return pz.Problem(rng.choice(["heads", "tails"]), answer="1")


CLOCK = Task("clock", clock, pz.exact(pz.number), levels=(1, 12))
LARGE = Task("large", large, pz.exact(pz.number))


def keys(task, split, count):
    return {problem.key for problem in task.first(split, count)}


def test_a_function_of_one_or_two_parameters_is_a_generator():
    assert is_generator(clock)
    assert is_generator(large)
    assert not is_generator(lambda split, index, level=None: None)
    assert not is_generator(lambda *given: None)
    assert not is_generator(None)


def test_a_few_problems_are_dealt_once_each():
    counts = [CLOCK.count(split) for split in SPLITS]
    assert 280 <= sum(counts) <= 24 * 12  # one that was not drawn in a thousand draws is left out
    assert counts[1] == counts[2] == sum(counts) // 10
    found = [keys(CLOCK, split, 1000) for split in SPLITS]
    assert [len(each) for each in found] == counts
    assert not any(found[i] & found[j] for i, j in ((0, 1), (0, 2), (1, 2)))


def test_many_problems_are_endless_in_training_and_distinct_in_held_out_splits():
    assert [LARGE.count(split) for split in SPLITS] == [None] * 3
    found = [keys(LARGE, split, 300) for split in SPLITS]
    assert [len(each) for each in found] == [300] * 3
    assert not any(found[i] & found[j] for i, j in ((0, 1), (0, 2), (1, 2)))
    assert LARGE.problem("train", 2**40).prompt


def test_a_source_of_a_generator_is_pure_in_any_order():
    again = Task("large", large, pz.exact(pz.number))
    assert [again.problem("test", index) for index in (7, 0, 3)] == [LARGE.problem("test", i) for i in (7, 0, 3)]
    assert again.problem("train", 5) == LARGE.problem("train", 5)


def test_a_problem_has_the_task_the_level_and_a_key():
    problem = CLOCK.problem("test", 0, 3)
    assert (problem.task, problem.level) == ("clock", 3)
    assert problem.key
    own = Task("own", lambda rng: pz.Problem("?", "1", key=f"{rng.randrange(9**9)}", level=4), pz.exact(pz.number))
    assert (own.problem("train", 0).level, own.problem("train", 0).key.isdigit()) == (4, True)


def test_more_problems_than_there_are_at_a_level_are_refused():
    with pytest.raises(TaskError, match=r"task 'clock' has only \d+ distinct problems in 'test' at level 1"):
        CLOCK.problem("test", 27, 1)


def test_a_task_of_a_generator_keeps_its_contract():
    check_task(CLOCK, problems=5)
    check_task(LARGE, problems=5)


def test_a_generator_that_raises_now_and_then_fails_single_training_problems_only():
    def moody(rng):
        number = rng.randrange(10**6)
        return pz.Problem(f"What is {number}?", answer=str(number if number % 5 else 1 // 0))

    task = Task("moody", moody, pz.exact(pz.number))
    faults = [problem.fault for problem in task.take("train", 0, 60, stand_ins=True)]
    assert 0 < sum(map(bool, faults)) < 60
    assert any("the generator of task 'moody' raised ZeroDivisionError" in fault for fault in faults)
    assert not any(problem.fault for problem in task.first("test", 20, stand_ins=True))
    assert task.count("train") is None


def test_a_generator_that_always_raises_says_why():
    with pytest.raises(ProblemError, match="the generator of task 'broken' raised ZeroDivisionError"):
        Task("broken", lambda rng: 1 // 0, pz.exact(pz.number)).problem("train", 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Task("clock", clock, None), r"takes a level: give the task levels=\(lowest, highest\)"),
        (lambda: Task("large", large, None, size=3), "give task 'large' no size"),
        (lambda: Task("coin", coin, None).count("test"), "makes only 2 distinct problems"),
        (lambda: Task("text", lambda rng: "?", None).problem("train", 0), "returned str"),
        (lambda: Task("number", lambda rng: pz.Problem("?", 12), None).problem("train", 0), r"received 12 \(int\)"),
        (lambda: LARGE.problem("dev", 0), "has the splits train, validation, test: received 'dev'"),
    ],
)
def test_what_a_generator_cannot_be_is_one_sentence(make, message):
    with pytest.raises(TaskError, match=message):
        make()
