"""Which problems and demonstrations come next is named by seed and place, and goes on from a saved state."""

from dataclasses import replace

import pytest

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Task
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.transcript import Author
from poziomka.learning.curriculum import Curriculum, Lessons, LessonSettings, of_levels
from poziomka.models.chat import PlainFormat
from poziomka.models.tokenizer import Tokenizer


@pytest.fixture
def finite(echo):
    return replace(echo, size=10)


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
@pytest.fixture
def graded(echo):
    """Twelve problems for training and more to hold out, of levels 0 to 3 in turn."""

    def source(split, index, level):
        return replace(echo.source(split, index, level), level=index % 4)

    return replace(echo, source=source, size=12, levels=None)


def test_a_finite_task_is_taught_by_its_problems_of_some_levels(graded):
    easy = of_levels(graded, 1, 2)
    assert easy.size == 6
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


# ----------------------------------------------------------------------------------------------------------- lessons
@pytest.fixture
def counting():
    """Count up to the level: "1 2 3" for level 3."""

    def source(split, index, level):
        level = 5 if level is None else level
        return replace(Problem.ask("count", f"{split}{index}", f" {level}", str(level)), level=level)

    return Task(
        "count",
        source,
        lambda problem, transcript: None,
        levels=(1, 9),
        demonstration=lambda problem: (" ".join(map(str, range(1, problem.level))), problem.answer),
    )


@pytest.fixture
def digits():
    return PlainFormat(Tokenizer.of_symbols([str(digit) for digit in range(10)]))


def lessons_of(task, chat, seed=0, **settings):
    return Lessons(task, chat, LessonSettings(**({"tokens": 600} | settings)), seed)


def levels(lessons):
    return [int(lesson.reply.split()[-1]) for lesson in lessons]


def direct(lesson):
    return lesson.reply.startswith(" <think> </think>")


def test_lessons_are_named_by_seed_and_update(counting, digits):
    one, again, other = (lessons_of(counting, digits, seed).at(7, 20) for seed in (0, 0, 1))
    assert [lesson.text for lesson in one] == [lesson.text for lesson in again]
    assert [lesson.text for lesson in one] != [lesson.text for lesson in other]
    assert [lesson.text for lesson in one] != [lesson.text for lesson in lessons_of(counting, digits).at(8, 20)]


def test_an_update_has_about_the_tokens_that_were_asked_for(counting, digits):
    lessons = lessons_of(counting, digits, tokens=300).at(3, 20)
    total = sum(map(len, lessons))
    assert 300 <= total < 300 + len(lessons[-1])


def test_the_skill_comes_first_all_written_out(counting, digits):
    lessons = lessons_of(counting, digits, skill_share=0.5)
    assert not any(
        direct(lesson) for update in (1, 5, 10) for lesson in lessons.at(update, 20) if levels([lesson]) > [1]
    )
    assert any(direct(lesson) for lesson in lessons.at(11, 20))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_then_come_direct_answers_in_their_share(counting, digits, share):
    lessons = lessons_of(counting, digits, skill_share=0.0, direct_share=share, tokens=4000).at(20, 20)
    lessons = [lesson for lesson in lessons if levels([lesson]) > [1]]  # a thought to 1 is empty
    assert sum(map(direct, lessons)) / len(lessons) == pytest.approx(share, abs=0.08)


def test_the_highest_level_grows_to_its_end(counting, digits):
    lessons = lessons_of(counting, digits, skill_share=0.8, grow_share=0.5, tokens=3000)
    tops = [max(levels(lessons.at(update, 20))) for update in (1, 5, 9, 20)]
    assert tops[0] == 1
    assert tops == sorted(tops)
    assert tops[2] == tops[3] == 9


def test_levels_are_drawn_log_uniformly(counting, digits):
    lessons = lessons_of(counting, digits, skill_share=0.0, grow_share=0.0, tokens=20_000).at(20, 20)
    assert sum(level < 3 for level in levels(lessons)) / len(lessons) == pytest.approx(0.477, abs=0.04)


def test_a_task_without_levels_is_shown_as_it_comes(echo, chat):
    lessons = lessons_of(echo, chat).at(1, 10)
    assert {lesson.reply.split()[-1] for lesson in lessons} == {"a", "b"}


def test_a_tasks_lowest_level_may_be_0(counting, digits):
    lessons = lessons_of(replace(counting, levels=(0, 3)), digits).at(9, 10)
    assert set(levels(lessons)) == {1, 2, 3}


def test_a_finite_tasks_lessons_are_its_own_problems(counting, digits):
    lessons = lessons_of(replace(counting, size=4), digits).at(1, 10)
    assert lessons


def test_demonstrations_are_the_teachers_words(counting, digits):
    (*_, last) = lessons_of(counting, digits).at(20, 20)[0]
    assert last.author is Author.TEACHER
    assert last.tokens[-1] == digits.tokenizer.end


def test_a_task_without_demonstrations_is_refused(counting, digits):
    with pytest.raises(TaskError, match="'count' has none"):
        lessons_of(replace(counting, demonstration=None), digits)
