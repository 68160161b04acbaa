"""The second opinion: an answer that says the gold one and no other, read in another way than scorers read."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.rollouts.cross_check import audit, auditable, says_gold
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Transcript


def of(reply):
    return Transcript((Span(Author.USER, "how many?"), Span(Author.MODEL, reply)))


def says(gold, reply):
    return says_gold(Problem.ask("t", "k", "how many?", gold), of(reply)).verdict


ACCEPTED = [
    ("12", "12"),
    ("12", "= 12."),
    ("12", "The answer is **12**."),
    ("12", "It takes 3*4 = 12, so \\boxed{12}."),
    ("12", "<think>13 or 14</think> 12 apples"),
    ("12", "$12.00"),
    ("1200", "1,200"),
    ("0.5", ".5"),
    ("0.5", "1/2"),
    ("-3", "\N{MINUS SIGN}3"),
    ("a", "The answer is A."),
    ("{1, 2}", "{1,  2}"),
    ("\\frac{3}{4}", "\\boxed{\\frac{3}{4}}"),
    ("(", "("),
]
REFUSED = [
    ("12", ""),
    ("12", "13"),
    ("12", "12 or 13"),
    ("12", "-12"),
    ("12", "- 12"),
    ("12", "not 12"),
    ("12", "12 million"),
    ("12", "24/2"),
    ("12", "1e1 12"),
    ("12", "\N{ARABIC-INDIC DIGIT ONE}\N{ARABIC-INDIC DIGIT TWO}"),
    ("12", "\\boxed{12} and \\boxed{13}"),
    ("12", "<think>12"),
    ("12", "<think>12</think>"),
    ("12", "<think>a</think>12</think>"),
    ("12", "12 " + "x" * 2000),
    ("a", "b"),
    ("a", "a b"),
    ("yes", "yes no"),
    ("yes", "no, not yes"),
]


@pytest.mark.parametrize(("gold", "reply"), ACCEPTED)
def test_what_says_the_gold_answer_is_accepted(gold, reply):
    assert says(gold, reply) is Verdict.CORRECT


@pytest.mark.parametrize(("gold", "reply"), REFUSED)
def test_what_says_another_or_more_is_refused(gold, reply):
    assert says(gold, reply) in (Verdict.WRONG, Verdict.UNPARSED)


@given(st.text(max_size=300), st.sampled_from(["12", "a", "-1/3", "("]))
def test_no_reply_breaks_it(reply, gold):
    says_gold(Problem.ask("t", "k", "?", gold), of(reply))


def test_ten_megabytes_are_refused():
    assert says("12", "12 " * 3_000_000) is Verdict.UNPARSED


# ---------------------------------------------------------------------------------------------------- whose opinion
def rollout(name, reply, gold="12", reward=1.0):
    score = Score.failed(Verdict.ERROR, "it broke") if reward is None else Score(reward, Verdict.CORRECT, reply)
    return Rollout(name, Problem.ask("t", "k", "?", gold), (Branch(of(reply), score),))


def task(**how):
    return Task("t", lambda *_: Problem.ask("t", "k", "?", "12"), lambda *_: Score.right("12"), **how)


def test_every_judged_rollout_gets_an_opinion():
    groups = [[rollout("a", "12"), rollout("b", "13")], [rollout("c", "12", reward=None)]]
    assert {name: score.correct for name, score in audit(task(), groups).items()} == {"a": True, "b": False}


def test_a_task_may_have_an_audit_of_its_own():
    own = task(audit=lambda problem, transcript: Score.wrong("", "never"), trusted=True)
    assert audit(own, [[rollout("a", "12", gold="")]])["a"].why == "never"


def test_without_a_gold_answer_nothing_is_known():
    assert not auditable(task(), Problem.ask("t", "k", "?"))
    assert audit(task(), [[rollout("a", "12", gold="")]]) == {}


def test_an_audit_that_fails_is_no_opinion():
    def raises(problem, transcript):
        raise ZeroDivisionError

    assert audit(task(audit=raises, trusted=True), [[rollout("a", "12")]]) == {}


def test_an_audit_that_is_not_trusted_may_hang():
    def hangs(problem, transcript):
        while True:
            time.sleep(1)

    assert audit(task(audit=hangs), [[rollout("a", "12")]], seconds=0.2) == {}
