"""Arithmetic for a model that reads: splits share no kind of problem, thoughts are exact, one number is the answer."""

import math
import re

import pytest

from poziomka.core.errors import TaskError
from poziomka.core.problem import Verdict
from poziomka.core.rollouts.scoring import judge
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks import task_named
from poziomka.tasks.toy.arithmetic import BOUND, LARGEST, SMALL_BOUND

FAMILIES = ("sums", "small_sums", "products", "letters", "gcd")
CHAINS = ("sums", "small_sums", "products")


def judged(task, problem, reply, stop=Stop.END):
    return judge(task.scorer, problem, Transcript.of(problem.prompt) + Span(Author.MODEL, reply, stop=stop))


def at_every_level(task, split="train", count=30):
    low, high = task.levels
    return [problem for level in range(low, high + 1) for problem in task.take(split, 0, count, level)]


def numbers_of(text):
    return [int(number) for number in re.findall(r"\d+", text)]


def right(name, key):
    """The answer, found in another way than the task finds it."""
    if name in CHAINS:
        return eval(key)
    if name == "gcd":
        return math.gcd(*map(int, key.split(",")))
    return key[2:].count(key[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_are_right_and_thoughts_end_with_them(name):
    task = task_named(name)
    for problem in at_every_level(task):
        thought, answer = task.demonstration(problem)
        assert answer == problem.answer == str(right(name, problem.key))
        assert answer in re.findall(r"\d+", thought.splitlines()[-1])


@pytest.mark.parametrize("name", [*CHAINS, "gcd"])
def test_every_line_of_a_thought_is_true(name):
    task = task_named(name)
    for problem in at_every_level(task):
        for line in task.demonstration(problem)[0].splitlines():
            assert eval(line.replace("=", "=="))


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_has_as_many_different_numbers_as_its_level_and_stays_within_bounds(name):
    task = task_named(name)
    for problem in at_every_level(task):
        numbers = numbers_of(problem.key)
        assert len(set(numbers)) == len(numbers) == problem.level
        assert problem.key.count("*") == (name == "products")
        thought = task.demonstration(problem)[0]
        assert len(thought.splitlines()) == problem.level - 1
        bound = SMALL_BOUND if name == "small_sums" else BOUND
        assert all(0 <= numbers_of(line)[-1] <= bound for line in thought.splitlines())


@pytest.mark.parametrize("name", CHAINS)
def test_a_line_of_a_chain_goes_on_from_the_line_before(name):
    task = task_named(name)
    for problem in at_every_level(task):
        lines = task.demonstration(problem)[0].splitlines()
        for before, after in zip(lines[name == "products" :], lines[(name == "products") + 1 :], strict=False):
            assert numbers_of(after)[0] == numbers_of(before)[-1]


def test_small_sums_have_small_numbers():
    assert {number for each in at_every_level(task_named("small_sums")) for number in numbers_of(each.key)} == {
        *range(1, 10)
    }


def test_a_gcd_takes_as_many_divisions_as_its_level():
    task = task_named("gcd")
    for problem in at_every_level(task):
        assert len(task.demonstration(problem)[0].splitlines()) == problem.level
        assert LARGEST >= numbers_of(problem.key)[0] > numbers_of(problem.key)[1] > 1


def test_a_thought_about_letters_repeats_each_with_its_count():
    task = task_named("letters")
    for problem in at_every_level(task, count=5):
        row = task.demonstration(problem)[0].split()
        assert "".join(word[0] for word in row) == problem.key[2:]
        assert problem.level == len(row)


KINDS = {
    "sums": lambda key: tuple(sorted(numbers_of(key))),
    "small_sums": lambda key: tuple(numbers_of(key)),
    "products": lambda key: tuple(sorted(numbers_of(key))),
    "letters": lambda key: (key[0], *sorted(key[2:])),
    "gcd": lambda key: numbers_of(key)[0] / numbers_of(key)[1],
}


@pytest.mark.parametrize("name", FAMILIES)
def test_splits_share_no_kind_of_problem_at_any_level(name):
    task = task_named(name)
    train, test = ({KINDS[name](each.key) for each in at_every_level(task, split, 100)} for split in ("train", "test"))
    assert train
    assert test
    assert not train & test


@pytest.mark.parametrize("name", FAMILIES)
def test_the_tasks_own_mixture_holds_every_level(name):
    task = task_named(name)
    low, high = task.levels
    assert {problem.level for problem in task.take("train", 0, 400)} == set(range(low, high + 1))


@pytest.mark.parametrize("name", FAMILIES)
def test_neighbours_and_levels_differ(name):
    task = task_named(name)
    drawn = [task.problem("train", 0, level).key[:6] for level in range(task.levels[0] + 2, task.levels[1] + 1)]
    assert len(set(drawn)) > 1
    assert len({problem.key for problem in task.take("train", 0, 50, task.levels[1])}) == 50


def test_a_problem_is_asked_in_one_short_sentence():
    asked = {name: task_named(name).problem("train", 0, 4).prompt[0].content for name in FAMILIES}
    assert re.fullmatch(r"Compute \d+( [+-] \d+){3}\.", asked["sums"])
    assert re.fullmatch(r"Compute [\d+* -]+\.", asked["products"])
    assert re.fullmatch(r"Count the letter [a-z] in:( [a-z]){4}", asked["letters"])
    assert re.fullmatch(r"Compute the gcd of \d+ and \d+\.", asked["gcd"])


@pytest.mark.parametrize("reply", ["{}", "{}.", "= {}", "The answer is {}.", "**{}**", r"\boxed{{{}}}", "\n\n{}\n"])
def test_the_right_number_is_accepted_with_words_around_it(reply):
    task = task_named("sums")
    problem = task.problem("test", 3)
    score = judged(task, problem, f"<think>\nhm\n</think>\n{reply.format(problem.answer)}")
    assert (score.reward, score.verdict, score.answer) == (1.0, Verdict.CORRECT, problem.answer)


def test_another_number_is_wrong_two_are_unreadable_and_a_reply_that_was_cut_is_truncated():
    task = task_named("sums")
    problem = task.problem("test", 3)
    gold = problem.answer
    assert judged(task, problem, f"<think></think> {int(gold) + 1}").verdict is Verdict.WRONG
    assert judged(task, problem, f"<think></think> {gold} or {int(gold) + 1}").verdict is Verdict.UNPARSED
    assert judged(task, problem, f"<think></think> 1 + 2 = {gold}").verdict is Verdict.UNPARSED
    assert judged(task, problem, f"<think> {gold}").verdict is Verdict.UNPARSED
    assert judged(task, problem, f"<think> {gold}", Stop.LENGTH).verdict is Verdict.TRUNCATED
    assert judged(task, problem, "<think></think> The answer is", Stop.LENGTH).verdict is Verdict.TRUNCATED


@pytest.mark.parametrize("name", FAMILIES)
def test_a_level_outside_the_family_is_refused(name):
    task = task_named(name)
    for level in (task.levels[0] - 1, task.levels[1] + 1):
        with pytest.raises(TaskError, match=f"there is no level {level}"):
            task.problem("train", 0, level)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_the_report_must_say_of_the_task_is_told(name):
    assert len(task_named(name).limits) >= 3
    assert task_named(name).symbols == ()
