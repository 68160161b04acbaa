"""Votes and oracles of a pool equal direct counts; strategies stand beside votes of equal cost."""

from itertools import permutations
from statistics import fmean

import pytest

from poziomka.core.errors import SettingsError
from poziomka.core.rollout import Cost
from poziomka.thinking.study.frontier import Replies, agreement, by_difficulty, elections, point


@pytest.mark.parametrize(
    ("votes", "right"),
    [
        ([("1", True), ("2", False)], 1.0),
        ([("2", False), ("1", True)], 0.0),
        ([("2", False), ("1", True), ("1", True)], 1.0),
        ([(None, False), (None, False), ("1", True)], 1.0),
        ([(None, False)], 0.0),
    ],
)
def test_the_most_frequent_answer_is_elected_and_the_first_of_equal_ones(votes, right):
    assert elections(votes)[-1] == right


def test_a_majority_of_a_pool_is_the_mean_over_its_orders(groups):
    answers = ["1", "1", "2", "3", None]
    pool = Replies(groups(answers))
    assert pool.size == 5
    assert pool.majority(5) == [1.0]
    exact = fmean(elections([(a, a == "1") for a in order])[2] for order in permutations(answers))
    assert pool.majority(3)[0] == pytest.approx(exact, abs=0.15)
    assert pool.majority(1)[0] == pytest.approx(0.4, abs=0.15)
    assert pool.majority(3) == Replies(groups(answers)).majority(3)


def test_an_oracle_is_pass_at_k_and_bounds_every_vote(groups):
    pool = Replies(groups(["1", "2", "2", "2"], ["1", "1", "2", None]))
    assert pool.oracle(1) == [0.25, 0.5]
    assert pool.oracle(2) == [pytest.approx(0.5), pytest.approx(1 - 1 / 6)]
    for votes in range(1, 5):
        assert all(a <= b + 0.1 for a, b in zip(pool.majority(votes), pool.oracle(votes), strict=True))


def test_a_curve_is_interpolated_and_ends_with_the_pool(groups):
    pool = Replies(groups(["1", "2", "2", "2"]))
    one, two = pool.oracle(1), pool.oracle(2)
    assert pool.at(1.5, pool.oracle) == [pytest.approx((one[0] + two[0]) / 2)]
    assert pool.at(0.2, pool.oracle) == one
    assert pool.at(4.0, pool.oracle) == [1.0]
    assert pool.at(4.1, pool.oracle) is None
    with pytest.raises(SettingsError):
        pool.majority(5)


def test_failed_checks_are_left_out_of_a_pool(groups):
    pool = Replies(groups(["1", "!", "1"]))
    assert (pool.size, pool.oracle(1)) == (2, [1.0])
    with pytest.raises(SettingsError):
        Replies(groups(["1"], ["!"]))


def test_a_strategy_stands_beside_votes_of_equal_cost(groups):
    pool = Replies(groups(["1", "2", "3", "4"], ["1", "1", "1", "1"]))
    spent = Cost(sampled=10, judged=10.0, latency=7)
    found = point("better", groups(["1"], ["1"], spent=spent), pool)
    assert (found.accuracy.mean, found.tokens, found.latency, found.votes) == (1.0, 20.0, 7.0, 2.0)
    assert found.majority.mean == pytest.approx(fmean(pool.majority(2)))
    assert found.gain.mean == pytest.approx(1 - fmean(pool.majority(2)))
    assert found.oracle.mean == pytest.approx((0.5 + 1.0) / 2)


def test_no_baseline_is_made_up_beyond_the_pool(groups):
    pool = Replies(groups(["1", "2"], ["1", "1"]))
    found = point("dear", groups(["1"], ["1"], spent=Cost(sampled=100)), pool)
    assert (found.votes, found.majority, found.gain, found.oracle) == (10.0, None, None, None)


def test_other_problems_than_the_pools_are_refused(groups):
    with pytest.raises(SettingsError):
        point("other", groups(["1"]), Replies(groups(["1"], ["2"])))


def test_agreement_is_the_share_of_the_most_frequent_answer():
    assert agreement(["1", "1", "2", None]) == 0.5
    assert agreement([None]) == agreement([]) == 0.0


def test_each_bin_of_difficulty_has_its_own_strategy(groups):
    """Easy problems agree, and a single reply is right; hard ones do not, and only the search is."""
    easy, hard = ["1", "1", "1", "1"], ["2", "3", "4", "1"]
    pool = Replies(groups(*[easy, easy, hard, hard] * 4))
    strategies = {
        "single": groups(*[["1"], ["1"], ["2"], ["2"]] * 4),
        "search": groups(*[["2"], ["2"], ["1"], ["1"]] * 4),
    }
    choice = by_difficulty(strategies, pool, most=10, bins=2)
    assert choice.names == ("single", "search")
    assert (choice.accuracy.mean, choice.tokens) == (1.0, 10.0)


def test_a_choice_is_judged_on_problems_that_did_not_decide_it(groups):
    """Which of two strategies is right is noise: the choice that fits one half fails on the other."""
    pool = Replies(groups(*[["1", "1"]] * 8))
    even = [["1"] if number % 2 else ["2"] for number in range(8)]
    odd = [["2"] if number % 2 else ["1"] for number in range(8)]
    choice = by_difficulty({"even": groups(*even), "odd": groups(*odd)}, pool, most=10, bins=1, probe=2)
    assert choice.accuracy.mean == 0.0


def test_strategies_that_cost_too_much_are_not_chosen(groups):
    pool = Replies(groups(["1"], ["1"]))
    dear = groups(["1"], ["1"], tokens=50)
    assert by_difficulty({"dear": dear, "cheap": groups(["2"], ["2"])}, pool, most=10).names == ("cheap",) * 5
    with pytest.raises(SettingsError):
        by_difficulty({"dear": dear}, pool, most=10)
