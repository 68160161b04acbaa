"""A trial is data: what was tried, what came of it, and which rules do not hold."""

import json
import re
import time
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.answers import read_integer, split_thought
from poziomka.core.seeds import random_of
from poziomka.core.task import Task
from poziomka.tasks import task_named
from poziomka.testing import Trial, check_task, trial
from poziomka.testing.degenerate_replies import JUNK as PIECES
from poziomka.testing.degenerate_replies import Case, junk, worthless
from poziomka.testing.negatives import mistakes, same
from poziomka.testing.trial import Effort
from poziomka.testing.trial_record import GOLD, JUNK, MISTAKE, WORTHLESS

SHORT = Effort(sizes={})


def source(split, index, level=None):
    first = 2 * random_of("halves", split, index).randint(10, 9999) + (split == "test")
    return Problem.ask("halves", str(first), f"{first} / 2 ?", str(first / 2), half=first / 2)


def scorer(problem, transcript):
    answer = split_thought(transcript.reply)[1]
    return Score.right(answer) if answer == problem.answer else Score.wrong(answer or "")


HALVES = Task("halves", source, scorer)


def tried(task=HALVES, problems=2, **how):
    return trial(task, problems=problems, effort=SHORT, **how)


# ---------------------------------------------------------------------------------- numbers that are changed or denied
@pytest.mark.fault("E7")
@pytest.mark.fault("E8")
def test_a_number_beside_a_word_that_changes_or_denies_it_is_tried_and_must_earn_nothing():
    def generous(problem, transcript):
        found = re.findall(r"\d+\.\d+", split_thought(transcript.reply)[1] or "")
        return Score.right(found[0]) if found == [problem.answer] else Score.wrong("")

    found = trial(replace(HALVES, scorer=generous), problems=1, effort=Effort(most=1000, sizes={}))
    for what in ("half of N", "N million", "nicht N", "can't be N", "N or thirteen", "N and a half", "x > N", "N? No."):
        assert any(repr(what) in sentence for sentence in found.broken), what
    for what in (r"-\boxed{N}", r"2\cdot\boxed{N}", r"x > \boxed{N}", r"\boxed{N million}", r"half of \boxed{N}"):
        assert any(what in sentence.replace("\\\\", "\\") for sentence in found.broken), what


@pytest.mark.fault("E7")
@pytest.mark.fault("E8")
@pytest.mark.parametrize("name", ["sums", "gcd", "large_numbers_in_words", "grade_school:sample", "competition:sample"])
def test_every_task_of_numbers_is_tried_with_them_and_passes(name):
    found = trial(task_named(name), problems=2, effort=SHORT)
    assert found.broken == ()
    assert any("N" in row.what and "where N is right" in row.what for row in found.rows)


# ------------------------------------------------------------------------------------------------------------ figures
def test_a_trial_tells_acceptance_with_intervals():
    found = tried(problems=10)
    assert found.passed
    assert str(found.gold) == "1.00 [0.84, 1.00]"
    assert str(found.wrong) == "0.00 [0.00, 0.16]"
    assert 0 < found.check_seconds < found.seconds
    assert 0 < found.source_seconds < found.seconds


def test_rows_count_what_was_tried_and_show_one_of_it():
    found = tried()
    assert {row.kind for row in found.rows} == {GOLD, MISTAKE, WORTHLESS}
    assert all(row.count == 4 for row in found.rows if row.kind == GOLD)
    assert found.count(WORTHLESS) == (0, sum(row.count for row in found.rows if row.kind == WORTHLESS))
    assert sum(row.failed for row in found.rows) == 0
    first = source("train", 0)
    (gold,) = (row for row in found.rows if row.what == "the gold answer")
    assert gold.example.problem == first.key
    assert gold.example.reply.endswith(f"</think> {first.answer}")
    assert "correct with reward 1.0" in gold.example.score


def test_a_row_shows_what_should_not_have_been():
    def generous(problem, transcript):
        return (
            Score.right("nan")
            if transcript.reply.endswith("nan") and problem == source("test", 1)
            else scorer(problem, transcript)
        )

    (row,) = (row for row in tried(replace(HALVES, scorer=generous)).rows if row.what == "nan, as the answer")
    assert (row.count, row.accepted, row.example.problem) == (4, 1, source("test", 1).key)


def test_a_trial_can_be_written_as_json():
    assert json.loads(json.dumps(asdict(tried())))["task"] == "halves"


def test_long_junk_is_tried_once():
    found = trial(HALVES, problems=1, effort=Effort(sizes={"a kilobyte": 1000}))
    counts = {row.what: row.count for row in found.rows if row.kind == JUNK}
    assert set(counts.values()) == {1}
    assert {f"a kilobyte of {what}" for what in PIECES} < counts.keys()


def test_replies_of_ten_megabytes_are_that_long():
    case = Case("train/0", source("train", 0), "hm", "1.5")
    lengths = [len(transcript.reply) for _, transcript in junk(case)]
    assert max(lengths) > 10_000_000
    assert all(abs(length - 1_000_000) < 1000 or abs(length - 10_000_000) < 1000 for length in lengths)


# ---------------------------------------------------------------------------------- whatever a task does is a sentence
def raising(*given):
    raise KeyError(given)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"source": raising}, "the source of task 'halves' raised KeyError at train/0"),
        ({"size": raising}, "of task 'halves' raised KeyError"),
        ({"mistakes": raising}, "the task raised KeyError"),
        ({"demonstration": raising}, "the task raised KeyError"),
        ({"mistakes": lambda problem: {"none": problem.answer}}, "a mistake is no right answer"),
        ({"scorer": raising}, "a scorer never raises: at the gold answer of train/0, the scorer raised KeyError"),
        ({"scorer": lambda problem, transcript: "yes"}, "the scorer returned str, not a Score"),
    ],
)
def test_a_task_that_raises_is_a_broken_one(changes, broken):
    found = tried(replace(HALVES, **changes))
    assert broken in found.broken[0]
    assert not found.passed


def test_a_scorer_that_changes_a_problem_is_caught():
    def forgetful(problem, transcript):
        problem.facts.clear()
        return scorer(problem, transcript)

    assert "leaves a problem's facts as they are" in tried(replace(HALVES, scorer=forgetful)).broken[0]


def test_a_scorer_that_hangs_ends_its_trial_after_a_few_replies():
    found = tried(replace(HALVES, scorer=lambda problem, transcript: time.sleep(10**6)), seconds=0.1)
    assert len(found.rows) == 3
    assert found.broken[0].startswith("a scorer returns quickly: at the gold answer of train/0")


def test_a_trial_without_time_still_tries_a_problem_of_each_split():
    found = trial(HALVES, problems=5, effort=Effort(budget=0.0, sizes={}))
    assert {row.count for row in found.rows if row.kind == GOLD} == {2}
    assert {row.count for row in found.rows if row.what == "an empty reply"} == {2}


def test_a_task_for_evaluation_only_is_tried_on_what_it_has():
    found = tried(replace(HALVES, size={"train": 0, "test": 3}.__getitem__))
    assert found.passed
    assert len(found.golds) == 2


# --------------------------------------------------------------------------------------- where many answers are right
def shown(answers):
    """A task without stated answers that demonstrates some in turn; "right" is right."""

    def source(split, index, level=None):
        return Problem.ask("shown", f"{split}{index}", "say what is right", number=index)

    def scorer(problem, transcript):
        answer = split_thought(transcript.reply)[1]
        if answer == "right":
            return Score.right(answer)
        return Score.wrong(answer or "") if answer in ("wrong", "rightx") else Score.unparsed("neither")

    return Task(
        "shown", source, scorer, demonstration=lambda problem: ("hm", answers[problem.facts["number"] % len(answers)])
    )


def test_a_demonstration_may_miss_where_no_answer_is_stated():
    found = tried(shown(("right", "right", "wrong")), problems=3)
    assert found.passed
    assert found.gold.mean == pytest.approx(2 / 3)


def test_most_demonstrations_must_not_miss():
    assert "refuses 4 of 6 demonstrations" in tried(shown(("right", "wrong", "wrong")), problems=3).broken[0]


def test_a_demonstration_that_cannot_be_read_is_a_fault():
    assert "received unparsed" in tried(shown(("right", "right", "?")), problems=3).broken[0]


def test_a_task_that_tells_no_answer_has_no_estimate():
    found = tried(replace(shown(("right",)), demonstration=None))
    assert (found.passed, found.gold, found.wrong) == (True, None, None)
    assert found.count(WORTHLESS)[1] > 0


def test_a_trial_of_nothing_has_no_estimate():
    assert (Trial("x", (), ()).gold, Trial("x", (), ()).wrong, Trial("x", (), ()).passed) == (None, None, True)


def test_mistakes_of_the_task_are_tried_instead_of_changes():
    told = replace(HALVES, mistakes=lambda problem: {"a lie": f"{float(problem.answer) + 0.25}"})
    assert [row.what for row in tried(told).rows if row.kind == MISTAKE] == ["a lie"]


def test_a_mistake_that_earns_a_part_is_one_too_many():
    def kind(problem, transcript):
        score = scorer(problem, transcript)
        return replace(score, reward=0.25) if score.answer == "almost" else score

    told = replace(HALVES, scorer=kind, mistakes=lambda problem: {"a near miss": "almost"})
    with pytest.raises(AssertionError, match="a scorer refuses 'almost', a near miss, where"):
        check_task(told, problems=1)


# ------------------------------------------------------------------------------------------------ the catalogue itself
@pytest.mark.parametrize(
    ("gold", "wrongs"),
    [
        ("42", ["43", "41", "24", "-42", "420", "4", "42.01"]),
        ("-7", ["-8", "-6", "7", "-70", "-17", "-7.01"]),
        ("0", ["1", "10", "0.01"]),
        ("3.50", ["3.51", "3.49", "3.05", "4.50", "-3.50"]),
        ("12:09", ["12:10", "12:08", "12:90", "13:09"]),
        ("[1, 2]", ["[1, 3]", "[1, 1]", "[2, 2]"]),
        ("yes", ["yesx", "yet", "ye"]),
        ("p and q", ["p and qx", "p and r", "p and", "p p and q"]),
        ("(())", ["(())x", "(()"]),
    ],
)
def test_mistakes_are_near(gold, wrongs):
    problem = Problem.ask("task", "key", "?", gold)
    assert list(mistakes(HALVES, problem, gold).values()) == wrongs


GOLDS = st.integers().map(str) | st.decimals(-(10**6), 10**6, places=2).map(str) | st.text(min_size=1, max_size=30)


def readable(gold):
    return gold.strip() and gold == gold.strip() and "think>" not in gold


@settings(max_examples=150)
@given(GOLDS.filter(readable))
def test_no_mistake_says_what_the_right_answer_says(gold):
    wrongs = mistakes(HALVES, Problem.ask("task", "key", "?", gold), gold)
    assert wrongs
    assert not any(same(wrong, gold) for wrong in wrongs.values())


@settings(max_examples=100)
@given(GOLDS.filter(readable), st.lists(GOLDS, max_size=3), st.booleans())
def test_nothing_of_the_catalogue_is_right_for_a_scorer_that_is_exact(gold, others, stated):
    problem = Problem.ask("task", "key", "What is it?", gold if stated else "")
    case = Case("train/0", problem, "hm", gold, mistakes(HALVES, problem, gold), others)
    for what, transcript in worthless(case):
        assert split_thought(transcript.reply)[1] != gold, what


@settings(max_examples=60)
@given(st.integers(-999, 999))
def test_nothing_of_the_catalogue_is_right_for_a_reader_of_integers(value):
    problem = Problem.ask("task", "key", "What is it?", str(value))
    case = Case("train/0", problem, "hm", str(value), mistakes(HALVES, problem, str(value)), ["1", "2"])
    for what, transcript in worthless(case):
        assert read_integer(transcript.reply) != value, what


def test_the_catalogue_holds_what_it_promises():
    problem = replace(source("train", 0), answer="-12")
    case = Case("train/0", problem, "hm", "-12", mistakes(HALVES, problem, "-12"), ["3", "4"])
    kinds = dict(worthless(case))
    assert len(kinds) == len(list(worthless(case))) > 60  # no kind hides another
    assert kinds["every candidate listed"].reply.endswith("3 -12 4")
    assert kinds["full-width digits"].reply.endswith("-１２")
    assert kinds["a zero-width space inside"].reply.endswith("-1\u200b2")
    assert kinds["a sum of the prompt, not worked out, as the answer"].reply.endswith(f"{problem.key} / 2")
