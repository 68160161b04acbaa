"""Which problems come next is named by seed and place, and goes on from a saved state."""

import json
from dataclasses import replace

import pytest

from poziomka.core.errors import TaskError
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.splits import SPLITS
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.curriculum.levels import CurriculumSettings, of_levels


@pytest.fixture
def finite(echo):
    return replace(echo, size=10, splits=SPLITS)


def keys(problems):
    return [problem.key for problem in problems]


def solved(rollout, problem, *rewards):
    """A group at a problem."""
    scores = [rollout(reward).score for reward in rewards]
    return [Rollout(f"r{n}", problem, (Branch(rollout().transcript, score),)) for n, score in enumerate(scores)]


# -------------------------------------------------------------------------------------------------------- curriculum
def test_an_endless_task_gives_no_problem_twice(echo):
    curriculum = Curriculum(echo, seed=1)
    dealt = keys(curriculum.take(50)) + keys(curriculum.take(50))
    assert len(set(dealt)) == 100


def test_seeds_name_different_problems_and_the_same_seed_the_same(echo):
    one, again, other = (keys(Curriculum(echo, seed).take(30)) for seed in (1, 1, 2))
    assert one == again
    assert not set(one) & set(other)


def test_a_finite_tasks_problems_come_once_each_round_in_a_new_order(finite):
    curriculum = Curriculum(finite, seed=1)
    rounds = [keys(curriculum.take(10)) for _ in range(3)]
    assert all(sorted(each) == sorted(rounds[0]) == sorted(f"train{n}" for n in range(10)) for each in rounds)
    assert len({tuple(each) for each in rounds}) == 3


def test_how_many_are_taken_at_a_time_changes_nothing(finite):
    one, many = Curriculum(finite, seed=1), Curriculum(finite, seed=1)
    assert [key for _ in range(7) for key in keys(one.take(3))] == keys(many.take(21))


def test_a_problem_that_is_solved_often_enough_is_retired(finite, rollout):
    curriculum = Curriculum(finite, seed=1, retire_at=0.75)
    first, second, third = curriculum.take(3)
    curriculum.learn([solved(rollout, first, 1.0, 1.0, 1.0, 0.0), solved(rollout, second, 1.0, 1.0, 0.0, 0.0)])
    curriculum.learn([solved(rollout, third, None, None)])
    assert keys(finite.problem("train", index) for index in curriculum.retired) == [first.key]
    assert first.key not in keys(curriculum.take(40))


def test_failed_checks_do_not_keep_a_problem(finite, rollout):
    curriculum = Curriculum(finite, seed=1, retire_at=1.0)
    (problem,) = curriculum.take(1)
    curriculum.learn([solved(rollout, problem, 1.0, None, 1.0)])
    assert len(curriculum.retired) == 1


@pytest.mark.parametrize("retire_at", [None, 0.5])
def test_nothing_retires_where_nothing_should(echo, finite, rollout, retire_at):
    curriculum = Curriculum(finite if retire_at is None else echo, seed=1, retire_at=retire_at)
    (problem,) = curriculum.take(1)
    curriculum.learn([solved(rollout, problem, 1.0, 1.0)])
    assert curriculum.retired == set()


def test_when_all_are_retired_it_says_so(finite, rollout):
    curriculum = Curriculum(finite, seed=1, retire_at=0.5)
    curriculum.learn([solved(rollout, problem, 1.0) for problem in finite.take("train", 0, 10)])
    with pytest.raises(TaskError, match="all 10 problems of task 'echo' are retired"):
        curriculum.take(1)


def test_it_goes_on_from_a_saved_state(finite, rollout):
    one, two = (Curriculum(finite, seed=1, retire_at=0.5) for _ in range(2))
    one.learn([solved(rollout, problem, 1.0) for problem in one.take(4)])
    two.restore(one.state())
    assert keys(one.take(25)) == keys(two.take(25))
    assert one.state() == two.state()


# ------------------------------------------------------------------------------------------------------------ levels
def test_a_finite_task_is_taught_by_its_problems_of_some_levels(graded):
    easy = of_levels(graded, 1, 2)
    assert easy.count("train") == 6
    assert sorted(keys(Curriculum(easy, seed=1).take(6))) == sorted(f"train{n}" for n in (1, 2, 5, 6, 9, 10))
    assert [easy.problem("test", n) for n in range(6)] == [graded.problem("test", n) for n in range(6)]


def test_a_problem_of_some_levels_retires_as_itself(graded, rollout):
    curriculum = Curriculum(of_levels(graded, 3, 3), seed=1, retire_at=0.5)
    (problem,) = curriculum.take(1)
    curriculum.learn([solved(rollout, problem, 1.0)])
    assert problem.key not in keys(curriculum.take(20))
    assert len(set(keys(curriculum.take(20)))) == 2


def test_an_endless_task_draws_the_levels_it_is_taught_at(counting):
    easy = of_levels(counting, 2, 4)
    assert {problem.level for problem in Curriculum(easy, seed=1).take(60)} == {2, 3, 4}
    assert easy.problem("train", 7) == easy.problem("train", 7)
    assert easy.problem("test", 7) == counting.problem("test", 7)


@pytest.mark.parametrize(("low", "high"), [(0, 3), (8, 10), (4, 2)])
def test_levels_that_an_endless_task_has_not_are_refused(counting, low, high):
    with pytest.raises(TaskError, match=rf"has levels \(1, 9\): it cannot be trained on levels {low} to {high}"):
        of_levels(counting, low, high)


def test_levels_without_a_problem_are_refused_with_those_there_are(graded):
    with pytest.raises(
        TaskError, match=r"no problem of task 'echo' is of levels 4 to 9: its levels are \[0, 1, 2, 3\]"
    ):
        of_levels(graded, 4, 9)


# ------------------------------------------------------------------------------------------------------ adaptive ones
def adaptive(task, seed=1, **settings):
    return Curriculum(task, seed, None, CurriculumSettings(kind="adaptive", **({"attempts": 4} | settings)))


def dealt(curriculum, rollout, right, steps=10, problems=4):
    """Levels and keys of the problems of some steps, at which `right` says by level what attempts earn."""
    seen = []
    for _ in range(steps):
        taken = curriculum.take(problems)
        seen.append([(problem.level, problem.key) for problem in taken])
        curriculum.learn([solved(rollout, problem, *right(problem.level)) for problem in taken])
    return seen


def easy(level):
    """Attempts that are right up to level 5, and then wrong."""
    return (1.0, 1.0) if level <= 5 else (0.0, 0.0)


def test_an_adaptive_curriculum_begins_where_it_is_told_to(counting):
    assert {problem.level for problem in adaptive(counting).take(30)} == {1}
    assert {problem.level for problem in adaptive(counting, start=(3, 5)).take(60)} == {1, 2, 3, 4, 5}
    assert {problem.level for problem in adaptive(counting, start=(3, 5), review_prob=0.0).take(60)} == {3, 4, 5}


def test_it_gives_no_problem_of_an_endless_task_twice(counting):
    curriculum = adaptive(counting)
    assert len(set(keys(curriculum.take(50)) + keys(curriculum.take(50)))) == 100


def test_it_climbs_as_far_as_problems_are_solved(counting, rollout):
    curriculum = adaptive(counting, narrow_at=None)
    seen = dealt(curriculum, rollout, easy, steps=40)
    assert [level for level, _ in seen[0]] == [1] * 4
    assert max(level for step in seen for level, _ in step) == curriculum.range.high == 6


def test_it_goes_on_from_the_middle_as_if_it_had_not_stopped(counting, graded, rollout):
    for task in (counting, graded):
        whole, stopped, resumed = (adaptive(task, seed=3) for _ in range(3))
        every = dealt(whole, rollout, easy, steps=30)
        first = dealt(stopped, rollout, easy, steps=11)
        resumed.restore(json.loads(json.dumps(stopped.state())))
        assert first + dealt(resumed, rollout, easy, steps=19) == every
        assert resumed.state() == whole.state()
        assert len({level for step in every for level, _ in step}) > 2


def test_how_many_are_taken_at_a_time_changes_no_level(counting, graded):
    for task in (counting, graded):
        one, many = (adaptive(task, start=(1, 3)) for _ in range(2))
        assert [problem for _ in range(7) for problem in one.take(3)] == many.take(21)


def test_seeds_name_different_levels(counting):
    one, again, other = ([p.level for p in adaptive(counting, seed, start=(1, 9)).take(30)] for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_a_finite_tasks_problems_of_a_level_come_once_each_round(graded):
    curriculum = adaptive(graded, start=(2, 2), review_prob=0.0)
    rounds = [keys(curriculum.take(3)) for _ in range(4)]
    assert all(sorted(each) == ["train10", "train2", "train6"] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


def test_an_adaptive_curriculum_retires_no_problem(graded, rollout):
    settings = CurriculumSettings(kind="adaptive", attempts=4)
    curriculum = Curriculum(graded, 1, 0.5, settings)
    curriculum.learn([solved(rollout, problem, 1.0) for problem in curriculum.take(60)])
    assert not curriculum.finished
    assert curriculum.take(1)


def test_a_curriculum_of_all_levels_is_the_one_without_settings(counting):
    assert Curriculum(counting, 1, None, CurriculumSettings()).take(9) == Curriculum(counting, 1).take(9)
    assert Curriculum(counting, 1, None, CurriculumSettings()).learn([]) == {}


@pytest.mark.parametrize("size", [None, 10])
def test_the_levels_of_a_task_without_any_cannot_adapt(echo, size):
    with pytest.raises(TaskError, match="follows levels, and the problems of task 'echo' have none"):
        adaptive(replace(echo, size=size))


# ------------------------------------------------------------------------------------ problems that cannot be drawn
@pytest.fixture
def moody(graded):
    """A task whose source raises at the indices of a set; and the set."""
    bad = set()

    def source(split, index, level):
        if index in bad:
            raise KeyError(index)
        return graded.source(split, index, level)

    return replace(graded, source=source), bad


def test_an_endless_task_deals_a_stand_in_for_what_its_source_cannot_give(moody):
    task, bad = moody
    curriculum = Curriculum(replace(task, size=None), seed=1)
    bad.add(curriculum._first + 2)
    dealt = curriculum.take(3) + curriculum.take(2)
    assert [bool(problem.fault) for problem in dealt] == [False, False, True, False, False]


@pytest.mark.parametrize("kind", ["all", "adaptive"])
def test_a_finite_task_deals_a_stand_in_too_and_learns_from_the_rest(moody, rollout, kind):
    task, bad = moody
    curriculum = Curriculum(task, 1, 0.5, CurriculumSettings(kind=kind, start=(1, 3) if kind == "adaptive" else None))
    bad |= {1, 2, 5}
    dealt = curriculum.take(24)
    assert any(problem.fault for problem in dealt)
    assert not all(problem.fault for problem in dealt)
    curriculum.learn([solved(rollout, problem, *((None,) if problem.fault else (1.0,))) for problem in dealt])
    bad.clear()
    if kind == "all":
        curriculum.learn([solved(rollout, task.problem("train", 1), 1.0)])  # it was not known when rewards were counted
        assert curriculum.retired == set(range(12)) - {1, 2, 5}
