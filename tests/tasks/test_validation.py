"""Every built-in task has a validation split that shares no kind of problem with training or test."""

import pytest

from poziomka.learning.curriculum.levels import of_levels
from poziomka.tasks import TASKS, task_named

pytestmark = pytest.mark.fault("A13")


@pytest.mark.parametrize("name", [*TASKS, "mixture:3*sums+gcd", "grade_school:sample", "programs:sample"])
def test_validation_shares_no_kind_with_another_split(name):
    task = task_named(name)
    kind = task.kind or (lambda problem: problem.key)
    seen = {}
    for split in ("train", "validation", "test"):
        found = {kind(problem) for problem in task.first(split, 12)}
        assert found, split
        assert not found & seen.keys(), split
        seen |= dict.fromkeys(found, split)


def test_a_pair_of_the_recurrence_is_in_one_split_whatever_is_asked_of_it():
    task = task_named("recurrence")

    def pairs(split):
        return {problem.key.rpartition(",")[0] for problem in task.take(split, 0, 2000)}

    assert not pairs("train") & pairs("validation")
    assert 40 < len(pairs("validation")) < 140  # of about 900 pairs that are not for test


@pytest.mark.parametrize(
    "name",
    [
        *("caesar_cipher", "emoji_mystery", "letter_jumble", "sentence_reordering"),
        pytest.param("figlet_font", marks=pytest.mark.slow),
    ],
)
def test_no_hidden_text_of_reasoning_gym_is_in_two_splits(name):
    share_nothing(task_named(f"reasoning_gym:{name}"), lambda problem: problem.answer)


@pytest.mark.parametrize("name", ["countdown", "puzzle24"])
def test_no_set_of_numbers_of_reasoning_gym_is_in_two_splits(name):
    share_nothing(
        task_named(f"reasoning_gym:{name}"),
        lambda problem: (*sorted(problem.facts["numbers"]), "to", problem.facts["target"]),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arc_agi", "rearc"])
def test_no_task_of_arc_is_in_two_splits(name):
    share_nothing(task_named(f"reasoning_gym:{name}"), lambda problem: problem.facts["id"])


def test_a_question_of_reasoning_gym_is_in_one_split_whatever_its_answer_is():
    share_nothing(task_named("reasoning_gym:coin_flip"), lambda problem: problem.prompt[0].content)


def share_nothing(task, kind):
    """Asserts that no kind is in two splits, and that what deals them to validation tells kinds by nothing else."""
    seen = {}
    for split, count in (("train", 40), ("validation", 10), ("test", 10)):
        problems = task.first(split, count)
        found = {kind(problem) for problem in problems}
        assert found, split
        assert not found & seen.keys(), split
        assert len({(kind(problem), task.kind(problem)) for problem in problems}) == len(found)
        seen |= dict.fromkeys(found, split)


def test_levels_leave_validation_as_it_is_and_out_of_training():
    task = task_named("recurrence")
    easy = of_levels(task, 2, 3)
    assert easy.take("validation", 0, 9) == task.take("validation", 0, 9)
    held = {problem.key.rpartition(",")[0] for problem in easy.take("validation", 0, 3000)}
    assert not {problem.key.rpartition(",")[0] for problem in easy.take("train", 0, 300)} & held
    sample = task_named("grade_school:sample")
    finite = of_levels(sample, *sorted({problem.level for problem in sample.first("train", 99)})[:1] * 2)
    assert finite.first("validation", 9) == sample.first("validation", 9)
