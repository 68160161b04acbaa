"""Problems, scores and tasks keep their contracts."""

import math

import pytest

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.splits import SPLITS
from poziomka.core.task import Task
from poziomka.core.transcript import Message


def source(split, index, level):
    return Problem("?", "1", task="sums", key=f"{split}-{index}", level=level or 0)


def scorer(problem, transcript):
    return Score.right("1")


SUMS = Task("sums", source, scorer, size=3, levels=(1, 2), splits=SPLITS)


def test_ask_makes_one_user_message():
    problem = Problem.ask("sums", "1+1", "1 + 1 ?", "2", low=1)
    assert problem.prompt == (Message("user", "1 + 1 ?"),)
    assert problem.facts == {"low": 1}


@pytest.mark.parametrize("reward", [-0.1, 1.1, math.nan, math.inf, -math.inf])
def test_a_reward_outside_0_to_1_is_refused(reward):
    with pytest.raises(TaskError, match="a reward lies from 0 to 1"):
        Score(reward, Verdict.WRONG)


@pytest.mark.parametrize("verdict", [Verdict.ERROR, Verdict.TIMEOUT])
def test_a_failed_check_is_never_a_reward(verdict):
    with pytest.raises(TaskError, match="never a reward"):
        Score(0.0, verdict)


@pytest.mark.parametrize(
    ("score", "reward", "verdict", "correct"),
    [
        (Score.right("1"), 1.0, Verdict.CORRECT, True),
        (Score.wrong("2"), 0.0, Verdict.WRONG, False),
        (Score.unparsed("nothing"), 0.0, Verdict.UNPARSED, False),
        (Score.failed(Verdict.ERROR, "boom"), None, Verdict.ERROR, False),
    ],
)
def test_each_score_has_its_reward_and_verdict(score, reward, verdict, correct):
    assert (score.reward, score.verdict, score.correct) == (reward, verdict, correct)


def test_a_task_gives_its_problems():
    assert SUMS.problem("train", 2, 1).key == "train-2"


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_the_split_is_refused(index):
    with pytest.raises(TaskError, match=f"has 3 problems in 'train': there is no index {index}"):
        SUMS.problem("train", index)


def test_an_endless_task_has_no_negative_index():
    with pytest.raises(TaskError, match="has endless problems in 'train': there is no index -1"):
        Task("sums", source, scorer).problem("train", -1)


def test_an_empty_task_is_not_endless():
    with pytest.raises(TaskError, match="has 0 problems in 'train'"):
        Task("sums", source, scorer, size=0).problem("train", 0)


def test_a_split_that_is_empty_cannot_be_taken_from():
    only_test = Task("sums", source, scorer, size=lambda split: 2 if split == "test" else 0)
    assert [problem.key for problem in only_test.take("test", 0, 3)] == ["test-0", "test-1", "test-0"]
    with pytest.raises(TaskError, match="has no problems in 'train'"):
        only_test.take("train", 0, 1)


def test_the_first_problems_are_as_many_as_there_are():
    only_test = Task("sums", source, scorer, size=lambda split: 2 if split == "test" else 0)
    assert [problem.key for problem in only_test.first("test", 5)] == ["test-0", "test-1"]
    assert len(Task("sums", source, scorer).first("test", 5)) == 5


@pytest.mark.parametrize("level", [0, 3])
def test_a_level_outside_the_range_is_refused(level):
    with pytest.raises(TaskError, match=f"there is no level {level}"):
        SUMS.problem("train", 0, level)


def test_a_task_without_levels_has_none():
    with pytest.raises(TaskError, match="levels None"):
        Task("sums", source, scorer).problem("train", 0, 1)


def test_a_source_that_raises_is_named_with_the_place():
    def broken(split, index, level):
        raise KeyError(index)

    with pytest.raises(TaskError, match="'sums' raised KeyError at train/5: 5"):
        Task("sums", broken, scorer).problem("train", 5)


def test_a_sources_own_task_error_is_kept():
    refusal = "no split of that name"

    def refuses(split, index, level):
        raise TaskError(refusal)

    with pytest.raises(TaskError, match=r"^no split of that name$"):
        Task("sums", refuses, scorer).problem("dev", 0)


def test_take_goes_round_at_the_end_of_a_finite_split():
    assert [problem.key for problem in SUMS.take("train", 2, 3)] == ["train-2", "train-0", "train-1"]


def test_take_goes_on_in_an_endless_one():
    endless = Task("sums", source, scorer, splits=SPLITS)
    assert [problem.key for problem in endless.take("train", 9, 2)] == ["train-9", "train-10"]


@pytest.mark.parametrize(
    "values", [(1.0, Verdict.CORRECT, 12), (1.0, Verdict.CORRECT, "12", 3), (1.0, "correct", "12"), (0.0, None)]
)
def test_a_score_that_no_journal_could_keep_is_refused(values):
    with pytest.raises(TaskError, match=r"received (12|3|'correct'|None)"):
        Score(*values)
