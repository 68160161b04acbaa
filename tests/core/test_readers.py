"""Readers find the answer after the thought, and `exact` compares it with the gold answer."""

import pytest

import poziomka as pz
from poziomka.core.rollouts.scoring import judge
from poziomka.testing import check_task

PROBLEM = pz.Problem("How many?", answer="1440", task="count", key="one")


def replied(text, stop=None):
    return pz.Transcript.of([pz.Message("user", "How many?")]) + pz.Span(pz.Author.MODEL, text, stop=stop)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("1440", "1440"),
        ("It is 1,440.", "1440"),
        ("12 or 13", "13"),
        ("1, 2, 3", "3"),
        ("x = -5", "-5"),
        ("\N{MINUS SIGN}5", "-5"),
        ("20-5", "5"),
        ("+007", "7"),
        ("3.5", None),
        ("1e5", None),
        ("none", None),
        ("", None),
        ("9" * 5000, None),
        ("\N{ARABIC-INDIC DIGIT THREE}", None),
    ],
)
def test_the_last_integer_is_read(answer, found):
    assert pz.last_integer(answer) == found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("**Answer: C.**", "C"),
        ("The answer is (D)", "D"),
        ("A good one is B", None),
        ("", None),
    ],
)
def test_a_choice_is_one_letter(answer, found):
    assert pz.choice(answer) == found


def test_the_other_readers_are_strict():
    assert [pz.number(text) for text in ("The answer is 12.", "12 or 13")] == ["12", None]
    assert [pz.boxed(text) for text in (r"\boxed{x^2}", "x^2")] == ["x^2", None]
    assert [pz.whole_answer(text) for text in (" New\n York. ", " ")] == ["new york", None]


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("1440", pz.Verdict.CORRECT),
        ("<think> 12 </think> 1,440", pz.Verdict.CORRECT),
        ("<think> 1440 </think> 12", pz.Verdict.WRONG),
        ("<think> 1440", pz.Verdict.UNPARSED),
        ("many", pz.Verdict.UNPARSED),
    ],
)
def test_exact_compares_what_stands_after_the_thought(reply, verdict):
    score = pz.exact(pz.last_integer)(PROBLEM, replied(reply))
    assert (score.verdict, score.reward) == (verdict, float(verdict is pz.Verdict.CORRECT))


def test_a_gold_answer_that_cannot_be_read_is_a_failed_check():
    score = judge(pz.exact(pz.choice), PROBLEM, replied("B"))
    assert (score.verdict, score.reward) == (pz.Verdict.ERROR, None)
    assert "the gold answer of problem 'one' is no answer that choice reads: '1440'" in score.why


@pytest.mark.parametrize(
    ("reward", "verdict"),
    [(1, pz.Verdict.CORRECT), (True, pz.Verdict.CORRECT), (0.25, pz.Verdict.WRONG), (False, pz.Verdict.WRONG)],
)
def test_a_bare_number_is_a_score(reward, verdict):
    score = judge(lambda problem, transcript: reward, PROBLEM, replied("12"))
    assert (score.reward, score.verdict) == (float(reward), verdict)
    task = pz.Task("own", lambda rng: PROBLEM, lambda problem, transcript: reward)
    assert task.score(PROBLEM, replied("12")) == score


@pytest.mark.parametrize("reward", [2, -1.5, float("nan"), "1", None])
def test_a_reward_that_is_no_number_from_minus_1_to_1_is_a_failed_check(reward):
    assert judge(lambda problem, transcript: reward, PROBLEM, replied("12")).verdict is pz.Verdict.ERROR


def test_a_task_read_strictly_passes_the_trial_of_its_scorer():
    def double(rng):
        number = rng.randrange(10**6)
        return pz.Problem(f"What is twice {number}?", answer=str(2 * number))

    check_task(pz.Task("double", double, pz.exact(pz.number)), problems=5)
