"""A family of reasoning-gym, worked out: its own problems and answers, in symbols for a model from nothing."""

import pytest
from reasoning_gym import create_dataset

from poziomka.core.problem import Verdict
from poziomka.core.transcript import Author, Span, Transcript
from poziomka.learning.samples.demonstrations import Lessons, LessonSettings
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.tasks import task_named
from poziomka.tasks.toy.string_splitting import HELD_OUT, LARGEST, LEVELS, MACHINES, SYMBOLS, entries, rule_of
from poziomka.testing import check_task


@pytest.fixture(scope="module")
def task():
    return task_named("string_splitting")


def replied(problem, reply):
    return Transcript.of(problem.prompt) + Span(Author.MODEL, reply)


def test_it_keeps_a_tasks_contract(task):
    check_task(task, problems=6)


def test_problems_and_answers_are_reasoning_gyms_own(task):
    gym = create_dataset("string_splitting", size=300, seed=7, max_initial_machines=MACHINES)
    known = {
        problem.key: problem
        for level in range(LEVELS[0], LEVELS[1] + 1)
        for problem in task.take("train", 0, 300, level)
    }
    seen = 0
    for entry in (gym[index] for index in range(300)):
        problem = known.get(" ".join(map(str, entry["metadata"]["initial_machines"])))
        if problem is not None:
            seen += 1
            assert problem.answer == entry["answer"]
            assert gym.score_answer(problem.answer, entry) == 1.0
    assert seen > 30


def test_a_level_is_two_steps(task):
    for level in (2, 5, 12):
        for problem in task.take("train", 0, 30, level):
            assert len(problem.facts["states"]) - 1 in (2 * level - 1, 2 * level)


def test_every_level_of_both_splits_has_problems_and_none_is_in_both():
    starts = {split: set() for split in ("train", "test")}
    for (split, _), problems in entries().items():
        starts[split] |= {problem["initial_machines"] for problem in problems}
    assert {level for _, level in entries()} == set(range(LEVELS[0], LEVELS[1] + 1))
    assert len(entries()) == 2 * (LEVELS[1] - LEVELS[0] + 1)
    assert not starts["train"] & starts["test"]
    assert len(starts["train"]) / len(starts["test"]) == pytest.approx(HELD_OUT - 1, rel=0.3)


def test_the_largest_count_has_a_symbol_and_no_symbol_is_unused(task):
    counts = {
        count
        for problems in entries().values()
        for problem in problems
        for state in problem["states"]
        for count in state
    }
    assert max(counts) == LARGEST
    written = set()
    for level in range(LEVELS[0], LEVELS[1] + 1):
        for problem in task.take("train", 0, 200, level):
            written |= set(" ".join(task.demonstration(problem)).split())
    assert written == set(SYMBOLS)


@pytest.mark.parametrize(
    ("counts", "rule"),
    [
        ((1, 5, 5, 5, 5, 0), "r1"),
        ((0, 2, 2, 1, 1, 0), "r2"),
        ((0, 1, 2, 1, 1, 0), "r3"),
        ((0, 1, 1, 1, 1, 0), "r4"),
        ((0, 1, 0, 2, 1, 3), "r5"),
    ],
)
def test_the_first_rule_that_applies_is_named(counts, rule):
    assert rule_of(counts) == rule


def test_where_no_rule_applies_none_is_named(task):
    problem = task.problem("train", 3)
    with pytest.raises(ValueError, match="not in"):
        rule_of(problem.facts["states"][-1])


def test_a_demonstration_follows_the_rules_to_the_answer(task):
    problem = next(p for p in task.take("train", 0, 200, 2) if p.key == "0 3 2")
    thought, answer = task.demonstration(problem)
    assert thought == "0 3 2 0 0 0 r2 0 1 2 1 0 0 r3 0 1 0 1 1 0 r5 0 1 0 0 0 1"
    assert answer == problem.answer == "0 1 0 0 0 1"


def test_lessons_can_be_written_in_its_symbols(task):
    chat = PlainFormat(Tokenizer.of_symbols(task.symbols))
    lessons = Lessons(task, chat, LessonSettings(tokens_per_step=3000, grow_share=0.0, skill_share=1.0), 0).at(5, 10)
    assert sum(map(len, lessons)) >= 3000


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("<think> 1 </think> {answer}", Verdict.CORRECT),
        ("{answer}", Verdict.CORRECT),
        ("<think> {answer} </think> 0 0 0 0 0 0", Verdict.WRONG),
        ("<think> {answer} </think>", Verdict.UNPARSED),
        ("<think> {answer}", Verdict.UNPARSED),
        ("{answer} 0", Verdict.UNPARSED),
        ("{answer} {answer}", Verdict.UNPARSED),
        ("A B C X Y Z", Verdict.UNPARSED),
    ],
)
def test_only_the_six_counts_after_the_thought_are_an_answer(task, reply, verdict):
    problem = task.problem("test", 0)
    assert task.scorer(problem, replied(problem, reply.format(answer=problem.answer))).verdict is verdict
