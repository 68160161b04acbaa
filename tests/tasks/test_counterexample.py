"""Valid or a counterexample: half of the claims are valid, counterexamples are evaluated, and nobody is trusted."""

import sys

import pytest

from poziomka.core.problem import Verdict
from poziomka.core.rollouts.scoring import judge
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks.logic import constraints
from poziomka.tasks.logic.certificates import Setting
from poziomka.tasks.logic.constraints import models, say_assignment
from poziomka.tasks.logic.counterexample import SHAPES, UNBOUNDED, VALID, counterexample, is_valid

LEVELS = range(1, len(SHAPES) + 1)


@pytest.fixture(scope="module")
def task():
    return counterexample()


def judged(problem, answer, scorer):
    transcript = Transcript.of(problem.prompt) + Span(Author.MODEL, f"<think> hm </think> {answer}", stop=Stop.END)
    return judge(scorer, problem, transcript)


@pytest.mark.parametrize("level", LEVELS)
def test_the_demonstration_is_right_every_mistake_wrong_and_the_audit_agrees(task, level):
    for problem in (task.problem("train", index, level) for index in range(6)):
        answer = task.demonstration(problem)[1]
        assert judged(problem, answer, task.scorer).correct
        assert judged(problem, answer, task.audit).correct
        for what, wrong in task.mistakes(problem).items():
            assert judged(problem, wrong, task.scorer).reward == 0, what
            assert judged(problem, wrong, task.audit).reward == 0, what


@pytest.mark.parametrize("level", LEVELS)
def test_always_saying_valid_earns_exactly_half(task, level):
    rewards = [judged(task.problem("train", i, level), VALID, task.scorer).reward for i in range(20)]
    assert sum(rewards) == 10
    assert rewards[::2] != rewards[1::2]
    assert len(set(rewards[::2])) == 2  # the place among its neighbours does not tell


@pytest.mark.fault("E9")
@pytest.mark.parametrize("answer", ["valid.", "VALID", "Valid", "**valid**", "`valid`."])
def test_the_word_valid_is_read_in_every_clear_spelling(task, answer):
    for problem in (task.problem("train", index, 1) for index in range(2)):
        assert judged(problem, answer, task.scorer).correct == (problem.answer == VALID)
        assert judged(problem, f"not {answer}", task.scorer).reward == 0


@pytest.mark.fault("E9")
def test_a_counterexample_may_end_with_a_full_stop_and_begin_its_truth_values_with_a_capital(task):
    problem = next(p for p in (task.problem("train", index, 3) for index in range(4)) if p.answer != VALID)
    answer = task.demonstration(problem)[1]
    written = answer.replace("true", "True").replace("false", "FALSE") + "."
    assert judged(problem, written, task.scorer).correct
    assert judged(problem, written, task.audit).correct


@pytest.mark.parametrize("level", range(1, UNBOUNDED))
def test_every_counterexample_is_right(task, level):
    for problem in (task.problem("train", index, level) for index in range(4)):
        refuted = [*problem.facts["premises"], ["not", problem.facts["conclusion"]]]
        found = list(models(refuted, Setting.in_facts(problem).domains))
        assert bool(found) == (problem.answer != VALID)
        assert all(judged(problem, say_assignment(each), task.scorer).correct for each in found)


def test_valid_and_invalid_claims_look_alike(task):
    shapes = {True: set(), False: set()}
    for problem in (task.problem("train", index, 5) for index in range(60)):
        shapes[problem.answer == VALID].add((len(problem.facts["premises"]), problem.facts["conclusion"][0]))
    assert shapes[True] == shapes[False]


def test_splits_share_no_premises(task):
    premises = {
        split: {task.problem(split, index, level).key.split()[0] for level in (1, 5) for index in range(50)}
        for split in ("train", "test")
    }
    assert not premises["train"] & premises["test"]


def test_a_claim_that_the_solver_cannot_decide_is_an_error_and_no_reward(task, monkeypatch):
    monkeypatch.setattr(constraints, "EFFORT", 1)
    problem = next(p for p in (task.problem("train", i, 6) for i in range(4)) if p.answer == VALID)
    score = judged(problem, VALID, task.scorer)
    assert (score.verdict, score.reward) == (Verdict.ERROR, None)


def test_without_z3_only_claims_about_all_whole_numbers_cannot_be_judged(task, monkeypatch):
    monkeypatch.setitem(sys.modules, "z3", None)
    small, large = task.problem("train", 0, 4), task.problem("train", 0, 6)
    assert is_valid(small) == (small.answer == VALID)
    assert judged(large, VALID, task.scorer).verdict is Verdict.ERROR
    hidden = say_assignment(large.facts["hidden"])
    assert judged(large, hidden, task.scorer).correct == (large.answer != VALID)


@pytest.mark.parametrize("answer", ["not valid", "valid valid", "the claim is valid", "invalid", "", "x = 1"])
def test_a_claim_in_other_words_is_no_answer(task, answer):
    assert judged(task.problem("train", 0, 2), answer, task.scorer).verdict is Verdict.UNPARSED
