"""Which demonstrations come next is named by seed and update."""

import re
from asyncio import CancelledError
from dataclasses import replace

import pytest

from poziomka.core.environment import Reply
from poziomka.core.errors import SettingsError, TaskError
from poziomka.core.splits import SPLITS
from poziomka.core.transcript import Author, Span
from poziomka.learning.samples.demonstrations import Lessons, LessonSettings
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer


@pytest.fixture
def digits():
    return PlainFormat(Tokenizer.of_symbols([str(digit) for digit in range(10)]))


def lessons_of(task, chat, seed=0, **settings):
    return Lessons(task, chat, LessonSettings(**({"tokens_per_step": 600} | settings)), seed)


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
    lessons = lessons_of(counting, digits, tokens_per_step=300).at(3, 20)
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
    lessons = lessons_of(counting, digits, skill_share=0.0, direct_share=share, tokens_per_step=4000).at(20, 20)
    lessons = [lesson for lesson in lessons if levels([lesson]) > [1]]  # a thought to 1 is empty
    assert sum(map(direct, lessons)) / len(lessons) == pytest.approx(share, abs=0.08)


def test_hasty_thoughts_break_off_at_any_of_their_words(counting, digits):
    def thoughts(update):
        lessons = lessons_of(
            counting, digits, skill_share=0.5, direct_share=0.0, cutoff_prob=0.5, grow_share=0.0, tokens_per_step=9000
        )
        found = [lesson.reply.partition("</think>") for lesson in lessons.at(update, 20)]
        return [(len(thought.split()) - 1, int(answer) - 1) for thought, _, answer in found]  # written, whole

    assert all(written == whole for written, whole in thoughts(10)), "the skill itself is shown without haste"
    long = [written for written, whole in thoughts(20) if whole >= 4]
    shares = [long.count(length) / len(long) for length in range(4)]
    assert shares == pytest.approx([0.5, 0.25, 0.125, 0.0625], abs=0.05)


def test_without_haste_lessons_are_what_they_were_before_there_was_any(counting, digits):
    plain, hasty = (
        lessons_of(counting, digits, skill_share=0.0, cutoff_prob=haste).at(20, 20) for haste in (0.0, 1e-9)
    )
    assert [lesson.text for lesson in plain] == [lesson.text for lesson in hasty]


def test_the_highest_level_grows_to_its_end(counting, digits):
    lessons = lessons_of(counting, digits, skill_share=0.8, grow_share=0.5, tokens_per_step=3000)
    tops = [max(levels(lessons.at(update, 20))) for update in (1, 5, 9, 20)]
    assert tops[0] == 1
    assert tops == sorted(tops)
    assert tops[2] == tops[3] == 9


def test_levels_are_drawn_log_uniformly(counting, digits):
    lessons = lessons_of(counting, digits, skill_share=0.0, grow_share=0.0, tokens_per_step=20_000).at(20, 20)
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


# ------------------------------------------------------------------------------------------------------------ levels
def test_lessons_may_be_of_fewer_levels_than_are_trained_on(counting, digits):
    lessons = lessons_of(counting, digits, levels=(2, 4), grow_share=0.0, tokens_per_step=3000)
    assert set(levels(lessons.at(20, 20))) == {2, 3, 4}


@pytest.mark.parametrize("wrong", [(3,), (4, 2)])
def test_levels_of_lessons_are_a_lowest_and_a_highest(wrong):
    with pytest.raises(SettingsError, match="levels must be two numbers"):
        LessonSettings(levels=wrong)


def test_lessons_of_levels_that_are_not_there_are_refused(counting, digits):
    with pytest.raises(TaskError, match=r"has levels \(1, 9\): it cannot be trained on levels 5 to 12"):
        lessons_of(counting, digits, levels=(5, 12))


# --------------------------------------------------------------------------------------------- what a task does wrong
class Room:
    """An environment and its session that answer each 2; one part raises at problems of level 5."""

    def __init__(self, part, error, level=5):
        self.part, self.error, self.level = part, error, level

    def do(self, part, result=None):
        if part == self.part and self.level == 5:
            raise self.error
        return result

    @property
    def stop(self):
        return self.do("stop", ("2",))

    def open(self, problem):
        return self.do("open", self)

    def unfinished(self, transcript):
        return self.do("unfinished", result=False)

    async def reply(self, transcript):
        return self.do("reply", Reply(Span(Author.ENVIRONMENT, " 0")))

    def close(self):
        self.do("close")


def faulty(task, part, error):
    """The task with one part that raises at problems of level 5."""

    def at_five(function):
        def act(problem):
            if problem.level == 5:
                raise error
            return function(problem)

        return act

    def source(split, index, level):
        problem = task.source(split, index, level)
        return at_five(lambda given: given)(problem)

    if part == "source":
        return replace(task, source=source, splits=SPLITS)
    if part == "demonstration":
        return replace(task, demonstration=at_five(task.demonstration))
    room = (lambda problem: Room(part, error, problem.level)) if part != "environment" else at_five(lambda _: None)
    return replace(task, environment=room)


TASK_PARTS = ("source", "demonstration", "environment", "stop", "open", "unfinished", "reply", "close")


@pytest.mark.parametrize("part", TASK_PARTS)
@pytest.mark.parametrize("error", [KeyError("door"), SystemExit(1), CancelledError(), SettingsError("no such door")])
def test_a_demonstration_whose_task_raises_is_left_out_and_counted(counting, digits, part, error):
    lessons = lessons_of(faulty(counting, part, error), digits, grow_share=0.0, tokens_per_step=2000)
    shown = lessons.at(10, 20)
    assert 5 not in levels(shown)
    assert {4, 6} <= set(levels(shown))
    note = lessons.notes[0]
    assert re.fullmatch(rf"\d+ demonstrations were left out: \w+: .* raised {type(error).__name__}.*", note)


@pytest.mark.parametrize("part", TASK_PARTS)
def test_ctrl_c_inside_a_task_ends_a_warm_start(counting, digits, part):
    with pytest.raises(KeyboardInterrupt):
        lessons_of(faulty(counting, part, KeyboardInterrupt()), digits, grow_share=0.0, tokens_per_step=2000).at(10, 20)


def test_a_session_that_fails_and_cannot_be_closed_is_left_out_for_the_first_reason(counting, digits):
    class Torn(Room):
        def close(self):
            raise OSError

    task = replace(counting, environment=lambda problem: Torn("reply", KeyError("door"), 5), levels=(5, 5))
    lessons = lessons_of(task, digits)
    with pytest.raises(TaskError, match="the session raised KeyError: 'door'"):
        lessons.at(1, 20)


@pytest.mark.parametrize("given", [None, ("1", 5), "1 2"])
def test_a_demonstration_that_is_no_thought_and_answer_is_left_out(counting, digits, given):
    with pytest.raises(TaskError, match=r"no demonstration of task 'count' can be shown: 1000 .*ProblemError"):
        lessons_of(replace(counting, demonstration=lambda _: given), digits).at(1, 20)
