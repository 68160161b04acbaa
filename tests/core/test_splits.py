"""One kind of training problem in ten is for validation, in every task, and is never trained on."""

import pytest

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score
from poziomka.core.splits import ONE_IN, SPLITS
from poziomka.core.task import Task

pytestmark = pytest.mark.fault("A13")


def source(split, index, level=None):
    """An endless source of a user who knows "train" and "test" only: 400 training problems that come again."""
    number = index % 400
    return Problem.ask("own", f"test {number}" if split == "test" else f"{number}", f"{number} ?", str(number))


def scorer(problem, transcript):
    return Score.right(problem.answer)


def few(count, **settings):
    return Task("own", lambda split, index, _: source(split, index % count), scorer, **settings)


def keys(task, split, count):
    return {problem.key for problem in task.take(split, 0, count)}


def test_a_source_that_knows_train_and_test_only_gets_a_validation_split():
    task = Task("own", source, scorer)
    train, validation = keys(task, "train", 4000), keys(task, "validation", 400)
    assert not train & validation
    assert len(train | validation) == 400
    assert 20 <= len(validation) <= 60  # about one in ten
    assert task.problem("test", 3) == source("test", 3)


def test_every_problem_of_a_finite_split_is_counted_once():
    task = Task("own", source, scorer, size=400)
    counts = {split: task.count(split) for split in SPLITS}
    assert counts["train"] + counts["validation"] == 400 == counts["test"]
    assert len(keys(task, "train", counts["train"]) | keys(task, "validation", counts["validation"])) == 400
    assert abs(counts["validation"] - 400 / ONE_IN) < 20
    with pytest.raises(TaskError, match="there is no index"):
        task.problem("validation", counts["validation"])


def test_a_validation_problem_is_the_same_in_every_order():
    task, again = Task("own", source, scorer), Task("own", source, scorer)
    assert [again.problem("validation", i) for i in reversed(range(50))][::-1] == task.take("validation", 0, 50)


def test_problems_of_one_kind_are_in_one_split():
    task = Task("own", source, scorer, kind=lambda problem: str(int(problem.key) % 20))
    train, validation = (keys(task, split, 1000) for split in ("train", "validation"))
    assert not {int(key) % 20 for key in train} & {int(key) % 20 for key in validation}


@pytest.mark.parametrize("size", [None, 3])
def test_of_few_problems_one_is_for_validation(size):
    task = few(3, size=size)
    train, validation = keys(task, "train", 10), keys(task, "validation", 10)
    assert (len(train), len(validation), train & validation) == (2, 1, set())


def test_a_single_problem_is_trained_on_and_its_task_says_what_is_missing():
    task = few(1)
    assert keys(task, "train", 3) == {"0"}
    with pytest.raises(TaskError, match=r"none of 1000 training problems of task 'own' .* a validation split of its"):
        task.problem("validation", 0)
    assert (few(1, size=1).count("train"), few(1, size=1).count("validation")) == (1, 0)


def test_a_validation_split_of_the_tasks_own_is_left_alone():
    own = Task("own", lambda split, index, _: Problem.ask("own", f"{split} {index}", "?"), scorer, splits=SPLITS)
    assert [own.problem(split, 0).key for split in SPLITS] == ["train 0", "validation 0", "test 0"]


def test_a_level_without_a_validation_problem_is_named():
    def leveled(split, index, level):
        kind = index % 1000 if level != 1 else 0
        return Problem((), "1", task="own", key=f"{kind}", level=level or 2)

    with pytest.raises(TaskError, match=r"problems of level 1 of task 'own'"):
        Task("own", leveled, scorer, levels=(1, 2)).problem("validation", 0, 1)


def test_a_kind_that_a_finite_source_has_at_other_levels_stays_in_its_split():
    def leveled(split, index, level):
        return Problem((), "1", task="own", key=f"{(index * (level or 1)) % 50}", level=level or 1)

    task = Task("own", leveled, scorer, size=50, levels=(1, 3))
    for level in (2, 3):
        found = [
            {task.problem(split, index, level).key for index in range(task.count(split))}
            for split in ("train", "validation")
        ]
        assert not found[0] & found[1]
        assert all(found)
