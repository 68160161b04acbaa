"""Problems, scores and tasks keep their contracts."""

import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from poziomka.core.errors import ProblemError, TaskError
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


@pytest.mark.parametrize("reward", [-1.1, 1.1, math.nan, math.inf, -math.inf])
def test_a_reward_outside_minus_1_to_1_is_refused(reward):
    with pytest.raises(TaskError, match="a reward lies from -1 to 1"):
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


# ------------------------------------------------------------------------------------------- what a task does wrong
def at_one(act):
    """A source that does what a test says at index 1."""
    return lambda split, index, level: act() if index == 1 else source(split, index, level)


def raising(error):
    def act(*_):
        raise error

    return act


@pytest.mark.parametrize("error", [KeyError(1), SystemExit(1), GeneratorExit(), MemoryError(), RecursionError()])
def test_a_stand_in_says_why_its_problem_could_not_be_drawn(error):
    task = Task("sums", at_one(raising(error)), scorer, splits=SPLITS)
    with pytest.raises(ProblemError, match=f"raised {type(error).__name__} at test/1"):
        task.take("test", 0, 3)
    problems = task.take("test", 0, 3, stand_ins=True)
    assert [bool(problem.fault) for problem in problems] == [False, True, False]
    assert type(error).__name__ in problems[1].fault
    assert task.first("test", 2, stand_ins=True) == problems[:2]
    assert Task("sums", at_one(raising(error)), scorer, levels=(1, 2)).draw("test", 1, 2).level == 2


@pytest.mark.parametrize(
    "given",
    [
        None,
        Problem("?", task="sums", key=7),
        Problem((7,), task="sums", key="k"),
        Problem((Message("user", 7),), task="sums", key="k"),
        Problem((Message("nobody", "?"),), task="sums", key="k"),
        Problem((), task="sums", key="k", level="hard"),
        Problem((), task="sums", key="k", facts=[1]),
    ],
)
def test_what_is_no_problem_is_not_drawn(given):
    with pytest.raises(ProblemError, match="a source returns a Problem: that of task 'sums' returned"):
        Task("sums", lambda *_: given, scorer, splits=SPLITS).problem("train", 1)


def test_a_problem_whose_answer_is_no_text_is_not_drawn():
    with pytest.raises(ProblemError, match="the answer of a problem is a text"):
        Task("sums", lambda *_: Problem("?", 12, task="sums", key="k"), scorer, splits=SPLITS).problem("train", 1)


def test_a_level_of_numpy_is_a_level():
    problem = Task("sums", lambda *_: replace(source("train", 0, 1), level=np.int64(3)), scorer).problem("test", 1)
    assert type(problem.level) is int
    assert problem.level == 3


def test_ctrl_c_inside_a_source_passes():
    with pytest.raises(KeyboardInterrupt):
        Task("sums", at_one(raising(KeyboardInterrupt())), scorer, splits=SPLITS).draw("train", 1)


def test_an_index_that_is_not_there_has_no_stand_in():
    with pytest.raises(TaskError, match="there is no index 3"):
        SUMS.draw("train", 3)


def test_a_source_that_fails_once_spoils_no_other_problem_of_an_endless_task():
    task = Task("sums", at_one(raising(KeyError(1))), scorer)
    problems = task.take("train", 0, 4, stand_ins=True) + task.take("validation", 5, 2, stand_ins=True)
    assert [bool(problem.fault) for problem in problems] == [False, True, False, False, False, False]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_only_what_stands_at_an_index_of_an_endless_task_fails_that_index(split):
    def every_third(split, index, level):
        return source(split, index, level) if index % 3 else 1 // 0

    problems = Task("sums", every_third, scorer).take(split, 0, 60, stand_ins=True)
    assert [bool(problem.fault) for problem in problems] == [index % 3 == 0 for index in range(60)]


def test_a_count_that_failed_is_not_half_known():
    task = Task("sums", at_one(raising(KeyError(1))), scorer, size=3)
    for _ in range(2):
        with pytest.raises(ProblemError, match="raised KeyError at train/1"):
            task.count("train")


@pytest.mark.parametrize("kind", [raising(SystemExit(1)), lambda problem: [problem]])
def test_a_kind_that_cannot_be_told_is_a_problem_that_cannot_be_drawn(kind):
    with pytest.raises(ProblemError, match="the kind of problem 'train-0' of task 'sums' raised"):
        Task("sums", source, scorer, kind=kind).problem("train", 0)


def test_a_size_that_cannot_be_told_is_a_task_error():
    with pytest.raises(TaskError, match="the size of split 'test' of task 'sums' raised SystemExit"):
        Task("sums", source, scorer, size=raising(SystemExit(1))).count("test")


# --------------------------------------------------------------------------------------------------- numbers of a score
@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.array(0.5), Fraction(1, 2), Decimal("0.5")])
def test_numbers_of_a_score_are_pythons_own(number):
    score = Score(
        number, Verdict.WRONG, parts={"half": number, "count": np.int64(3), "whole": 3, "yes": np.bool_(True)}
    )
    assert score.reward == 0.5
    assert score.parts == {"half": 0.5, "count": 3.0, "whole": 3, "yes": 1.0}
    assert {type(value) for value in (score.reward, *score.parts.values())} == {float, int}


@pytest.mark.parametrize(
    "parts", [None, [1.0], {"a": "0.5"}, {"a": None}, {"a": [1.0, 2.0]}, {1: 1.0}, {"a": np.ones(2)}]
)
def test_parts_that_are_no_numbers_by_name_are_refused(parts):
    with pytest.raises(TaskError, match="the parts of a score are numbers by name: received"):
        Score(1.0, Verdict.CORRECT, "1", parts=parts)


@pytest.mark.parametrize("levels", [(2, 1), (1,), "12", 3, (1.5, 2), (1, 2, 3)])
def test_levels_are_a_pair_of_integers(levels):
    with pytest.raises(TaskError, match=r"levels of task 'sums' must be \(lowest, highest\)"):
        Task("sums", source, scorer, levels=levels)


def test_levels_may_be_a_list():
    assert Task("sums", source, scorer, levels=[1, 2]).levels == (1, 2)
