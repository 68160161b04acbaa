"""The range of levels moves with what is solved, by a rule that these tests spell out."""

import random

import pytest

from poziomka.core.errors import SettingsError, TaskError
from poziomka.core.problem import Problem
from poziomka.core.rollout import Branch, Rollout
from poziomka.learning.curriculum.levels import CurriculumSettings, LevelRange, levels_of


def range_of(levels=range(1, 10), **settings):
    plain = {"attempts": 10, "widen_at": 0.8, "narrow_at": 0.1, "drop_at": 0.9, "review_prob": 0.1}
    return LevelRange(list(levels), CurriculumSettings(kind="adaptive", **(plain | settings)))


@pytest.fixture
def tried(rollout):
    """Groups at a level: so many attempts right, wrong and failed, in groups of five."""

    def tried(level, right, wrong=0, failed=0):
        problem = Problem((), task="count", key="key", level=level)
        rewards = [1.0] * right + [0.0] * wrong + [None] * failed
        made = [Rollout("r", problem, (Branch(rollout().transcript, rollout(r).score),)) for r in rewards]
        return [made[i : i + 5] for i in range(0, len(made), 5)]

    return tried


def edges(levels):
    return levels.low, levels.high


# -------------------------------------------------------------------------------------------------------- upper edge
def test_it_widens_exactly_at_the_threshold(tried):
    below, at = range_of(), range_of()
    below.learn(tried(1, 7, 3))
    at.learn(tried(1, 8, 2))
    assert edges(below) == (1, 1)
    assert edges(at) == (1, 2)


def test_it_waits_for_as_many_attempts_as_were_asked_for(tried):
    levels = range_of()
    levels.learn(tried(1, 9))
    assert edges(levels) == (1, 1)
    levels.learn(tried(1, 1))
    assert edges(levels) == (1, 2)


def test_a_full_window_is_judged_once_and_weighs_no_longer(tried):
    levels = range_of()
    levels.learn(tried(1, 2, 8))
    levels.learn(tried(1, 9))
    assert edges(levels) == (1, 1), "nine of a new window are not ten"
    levels.learn(tried(1, 1))
    assert edges(levels) == (1, 2), "and the eight wrong ones of the window before are gone"


def test_only_attempts_at_the_edge_move_it(tried):
    levels = range_of(start=(1, 4), drop_at=None)
    for _ in range(3):
        levels.learn(tried(2, 10) + tried(3, 10))
    assert edges(levels) == (1, 4)


def test_attempts_at_the_new_edge_are_counted_from_its_coming(tried):
    levels = range_of(start=(1, 1))
    levels.learn(tried(1, 30))
    assert edges(levels) == (1, 2), "one step at a time, however many attempts"
    levels.learn(tried(2, 9))
    assert edges(levels) == (1, 2)


def test_it_narrows_where_the_edge_is_out_of_reach(tried):
    levels = range_of(start=(1, 4))
    levels.learn(tried(4, 1, 9))
    assert edges(levels) == (1, 3)
    levels.learn(tried(3, 2, 8))
    assert edges(levels) == (1, 3), "two of ten are more than one"


def test_it_never_narrows_below_its_lowest_level(tried):
    levels = range_of(start=(3, 3))
    levels.learn(tried(3, 0, 10))
    assert edges(levels) == (3, 3)


def test_where_it_is_told_never_to_narrow_it_does_not(tried):
    levels = range_of(start=(1, 4), narrow_at=None)
    levels.learn(tried(4, 0, 10))
    assert edges(levels) == (1, 4)


def test_larger_steps_end_at_the_ends(tried):
    levels = range_of(step=5, drop_at=None)
    levels.learn(tried(1, 10))
    assert edges(levels) == (1, 6)
    levels.learn(tried(6, 10))
    assert edges(levels) == (1, 9)
    levels.learn(tried(9, 0, 10))
    assert edges(levels) == (1, 4)
    levels.learn(tried(4, 0, 10))
    assert edges(levels) == (1, 1)


# -------------------------------------------------------------------------------------------------------- lower edge
def test_a_mastered_level_leaves_exactly_at_its_threshold(tried):
    below, at = range_of(start=(1, 3)), range_of(start=(1, 3))
    below.learn(tried(1, 17, 3))
    at.learn(tried(1, 18, 2))
    assert edges(below) == (1, 3)
    assert edges(at) == (2, 3)


def test_the_only_level_is_never_left(tried):
    levels = range_of(levels=[5])
    for _ in range(4):
        levels.learn(tried(5, 10))
    assert edges(levels) == (5, 5)


def test_a_forgotten_level_comes_back(tried):
    levels = range_of(start=(4, 6))
    levels.learn(tried(2, 8, 2))
    assert edges(levels) == (4, 6), "a mastered level stays mastered at widen_at"
    levels.learn(tried(2, 7, 3))
    assert edges(levels) == (2, 6)


def test_a_bounded_range_leaves_its_easiest_levels(tried):
    levels = range_of(start=(1, 3), width=3, drop_at=None)
    levels.learn(tried(3, 10))
    assert edges(levels) == (2, 4)
    assert edges(range_of(start=(1, 9), width=2)) == (8, 9)


# ------------------------------------------------------------------------------------------------- all, none, failed
def test_where_all_is_solved_it_ends_at_the_highest_level(tried):
    levels = range_of()
    for _ in range(40):
        groups = [group for level in range(levels.low, levels.high + 1) for group in tried(level, 10)]
        levels.learn(groups)
    assert edges(levels) == (9, 9)


def test_where_nothing_is_solved_it_stays_at_the_lowest(tried):
    levels = range_of(start=(2, 5))
    for _ in range(40):
        levels.learn([group for level in range(levels.low, levels.high + 1) for group in tried(level, 0, 10)])
    assert edges(levels) == (2, 2)


def test_failed_checks_are_no_attempts(tried):
    levels = range_of(start=(1, 3))
    for _ in range(5):
        metrics = levels.learn(tried(3, 0, 0, 20) + tried(1, 0, 0, 20))
    assert edges(levels) == (1, 3)
    assert "curriculum/edge_pass_rate" not in metrics
    levels.learn(tried(3, 8, 2, 20))
    assert edges(levels) == (1, 4), "and they are no wrong ones beside others"


def test_a_reward_that_is_not_full_is_not_solved(tried, rollout):
    levels = range_of()
    problem = Problem((), task="count", key="key", level=1)
    levels.learn([[Rollout("r", problem, (Branch(rollout().transcript, rollout(0.9).score),))] * 10])
    assert edges(levels) == (1, 1)


# ----------------------------------------------------------------------------------------------------------- drawing
def drawn(levels, count=4000):
    generator = random.Random(0)
    found = [levels.draw(generator) for _ in range(count)]
    return {level: found.count(level) / count for level in sorted(set(found))}


def test_levels_of_the_range_are_drawn_alike_and_mastered_ones_rehearsed():
    shares = drawn(range_of(start=(4, 6), review_prob=0.1))
    assert list(shares) == [1, 2, 3, 4, 5, 6]
    assert sum(shares[level] for level in (1, 2, 3)) == pytest.approx(0.1, abs=0.02)
    assert all(shares[level] == pytest.approx(0.3, abs=0.03) for level in (4, 5, 6))


def test_nothing_is_rehearsed_where_nothing_is_mastered():
    assert list(drawn(range_of(start=(1, 2), review_prob=0.5))) == [1, 2]


def test_levels_may_have_gaps(tried):
    levels = range_of(levels=[2, 5, 40])
    levels.learn(tried(2, 10))
    assert edges(levels) == (2, 5)
    assert set(drawn(levels, 50)) == {2, 5}


# -------------------------------------------------------------------------------------------------------- the books
def test_what_is_logged_is_the_range_that_was_dealt_from(tried):
    levels = range_of(start=(1, 3))
    metrics = levels.learn(tried(1, 5) + tried(3, 8, 2))
    assert metrics == {
        "curriculum/level_low": 1.0,
        "curriculum/level_high": 3.0,
        "curriculum/level_mean": pytest.approx(7 / 3),
        "curriculum/edge_pass_rate": pytest.approx(0.8),
    }
    assert edges(levels) == (1, 4)


def test_a_restored_range_goes_on_with_half_a_window(tried):
    one, two = range_of(start=(1, 3)), range_of(start=(1, 3))
    one.learn(tried(3, 6))
    two.restore(one.state())
    for levels in (one, two):
        levels.learn(tried(3, 2, 2))
        assert edges(levels) == (1, 4)
    assert one.state() == two.state()


# ---------------------------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"start": (3,)}, "curriculum.start must be two levels"),
        ({"start": (3, 2)}, "curriculum.start must be two levels"),
        ({"narrow_at": 0.8}, "narrow_at must be below widen_at: received 0.8 and 0.8"),
        ({"drop_at": 0.7}, "drop_at must be widen_at or more: received 0.7 and 0.8"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, said):
    with pytest.raises(SettingsError, match=said):
        range_of(**settings)


def test_a_start_that_is_no_level_is_refused():
    with pytest.raises(TaskError, match=r"start names levels \[0, 3\]: there are levels 1 to 9"):
        range_of(start=(0, 3))
    with pytest.raises(TaskError, match=r"start names levels \[2, 3\]: there are levels 2, 5, 40"):
        range_of(levels=[2, 5, 40], start=(2, 3))


def test_a_task_says_its_levels(counting, graded):
    assert levels_of(counting) == list(range(1, 10))
    assert levels_of(graded) == [0, 1, 2, 3] * 3
