"""Exact change accepts coins of the given values that sum to the amount, and knows how well each search does."""

from collections import Counter
from dataclasses import replace
from statistics import fmean

import pytest

from poziomka.core.problem import Problem, Verdict
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks.toy.exact_change import (
    FAIL,
    NONE,
    SYMBOLS,
    audit,
    demonstration,
    exact_change,
    exact_value,
    fewest_coins,
    mistakes,
    references,
    solution,
    source,
    split_of,
    terms_of,
)
from poziomka.testing import check_task

PROBLEM = Problem.ask("exact_change", "31,4,7,9,12", " 31 4 7 9 12")


@pytest.fixture(scope="module")
def task():
    return exact_change()


def judged(scorer, answer, problem=PROBLEM):
    reply = Span(Author.MODEL, f" <think> </think> {answer}", stop=Stop.END)
    return scorer(problem, Transcript.of(problem.prompt) + reply)


def test_it_keeps_a_tasks_contract(task):
    check_task(replace(task, demonstration=None), problems=20)  # demonstrations are attempts, and may miss


def test_no_two_splits_share_a_set_of_coin_values(task):
    splits = [
        {terms_of(problem)[1] for problem in task.take(split, 0, 400)} for split in ("train", "validation", "test")
    ]
    assert all(splits)
    assert sum(map(len, splits)) == len(set.union(*splits))


def test_every_problem_can_be_solved_and_its_solution_is_accepted_by_scorer_and_audit(task):
    for problem in task.take("test", 0, 100):
        answer = " ".join(map(str, solution(*terms_of(problem))))
        assert judged(task.scorer, answer, problem).verdict is Verdict.CORRECT
        assert judged(audit, answer, problem).verdict is Verdict.CORRECT


def test_a_solution_has_the_fewest_coins():
    assert solution(31, (4, 7, 9, 12)) == [7, 12, 12]
    assert fewest_coins(31, (4, 7, 9, 12)) == 3
    assert fewest_coins(5, (4, 7, 9, 12)) is None


@pytest.mark.parametrize("answer", ["12 12", "12 12 7 4", "31", "10 21", "-12 -12 -7", "12 12 7 none", "", "7 12 12 ."])
def test_other_answers_earn_nothing(task, answer):
    assert judged(task.scorer, answer).reward == 0
    assert judged(audit, answer).reward == 0


def test_mistakes_are_wrong(task):
    for problem in task.take("train", 0, 50):
        for answer in mistakes(problem).values():
            assert judged(task.scorer, answer, problem).verdict is Verdict.WRONG


def test_a_demonstration_subtracts_rightly_and_answers_with_the_coins_of_its_last_try(task):
    for problem in task.take("train", 0, 100):
        thought, answer = demonstration(problem)
        amount, values = terms_of(problem)
        words = thought.split()
        assert {*words, *answer.split(), *problem.prompt[0].content.split()} <= set(SYMBOLS)
        rest = amount
        for coin, after in zip(words[::2], words[1::2], strict=True):
            assert -int(coin) in values
            rest += int(coin)
            assert after == (FAIL if rest < 0 else str(rest))
            rest = amount if rest < 0 else rest
        assert (answer == NONE) == (rest != 0)
        assert answer == NONE or judged(task.scorer, answer, problem).correct


def test_a_demonstration_chooses_every_coin_uniformly(task):
    chosen = Counter()
    for problem in task.take("train", 0, 1500):
        values = terms_of(problem)[1]
        chosen.update(values.index(-int(coin)) for coin in demonstration(problem)[0].split()[::2])
    assert all(abs(count / chosen.total() - 1 / 4) < 0.01 for count in chosen.values())


def test_the_random_search_succeeds_as_often_as_its_demonstrations_do(task):
    problems = task.take("train", 0, 1500)
    found = [len(demonstration(problem)[0].split()) <= 24 and demonstration(problem)[1] != NONE for problem in problems]
    expected = [references(problem, 24)["random search"][24] for problem in problems]
    assert fmean(found) == pytest.approx(fmean(expected), abs=0.03)


def test_better_searches_succeed_more_often_and_a_longer_thought_never_hurts():
    names = ("random search", "one step of look-ahead", "best possible")
    columns = [references(PROBLEM, 40)[name] for name in names]
    rows = list(zip(*columns, strict=True))
    assert rows[0] == (0, 0, 0)
    assert all(list(row) == sorted(row) for row in rows)
    assert all(list(column) == sorted(column) for column in columns)
    assert columns[2][5:7] == [0, 1]


def test_the_random_search_of_a_small_case_is_what_counting_gives():
    problem = Problem.ask("exact_change", "15,3,5,10,12", "")
    found = references(problem, 6)["random search"]
    assert found[:4] == [0, 0, 0, 0]
    assert found[4] == pytest.approx(4 / 16)  # of 16 pairs of coins: 3 12, 12 3, 5 10, 10 5
    # three coins: those four pairs (16 of 64), 5 5 5, and no start over, since no single coin solves it
    assert found[6] == pytest.approx(17 / 64)


COINS = Problem.ask("exact_change", "15,3,5,10,12", " 15 3 5 10 12")


def value(words, tokens=6, search="best possible", *, stop=Stop.PHRASE):
    """The exact value of a thought, closed where "</think>" is among the words."""
    reply = Span(Author.MODEL, f" <think> {words}", stop=stop)
    return exact_value(COINS, Transcript.of(COINS.prompt) + reply, tokens, search)


@pytest.mark.parametrize(
    ("words", "chance"),
    [
        ("", 17 / 64),  # as the test above counts
        ("-12", 4 / 16),  # of two coins, the first must be 3: after a larger one, no single coin pays 15
        ("-5 10", 5 / 16),  # 10 and any, or 5 5
        ("-5 10 -5 5", 1 / 4),
        ("-5 10 -12", 0),
        ("-12 3 -3", 1),
        ("-12 3 -3 0 </think>", 1),
        ("-12 3 </think>", 0),
    ],
)
def test_the_value_of_a_beginning_is_the_chance_of_the_search_that_continues_it(words, chance):
    assert value(words, 6, "random search") == pytest.approx(chance)


def test_the_best_search_pays_if_the_coins_that_are_left_can():
    assert [value("-5 10", tokens) for tokens in (2, 3, 4)] == [0, 0, 1]
    assert value("-3 12 -10 2", 8) == 0  # a coin too large, and then one coin is left
    assert value("-3 12 -10 2", 10) == 1


@pytest.mark.parametrize("words", ["-12 4", "-7 8", "12 3", "-5 -10", "-12 3 -5 -2"])
def test_a_try_that_miscounts_is_worth_nothing_until_it_starts_over(words):
    assert value(words, 40) == 0
    assert value(f"{words} -5 x", 40) == 1


def test_a_complete_reply_is_worth_what_it_earns():
    assert value("-5 10 -10 0 </think> 5 10", stop=Stop.END) == 1
    assert value("-5 10 -10 0 </think> 5 5", stop=Stop.END) == 0
    assert value("-5 10 -10 0 </think> 5", stop=Stop.LENGTH) == 1
    assert value("-5 10 </think> 5", 40, stop=Stop.LENGTH) == 0


def test_a_split_of_another_name_has_training_problems():
    assert split_of(terms_of(source("prompt", 0))[1]) == "train"
