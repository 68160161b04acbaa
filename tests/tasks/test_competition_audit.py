"""The second reading of competition answers accepts what the scorer accepts, and catches one that pays for more."""

import pytest

from poziomka.core.rollouts.scoring import judge
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks.math.competition import boxed, problem_of, scorer
from poziomka.tasks.math.competition_cross_check import audit


def judged(problem, answer, by):
    transcript = Transcript.of(problem.prompt) + Span(Author.MODEL, f"<think> hm </think> {answer}", stop=Stop.END)
    return judge(by, problem, transcript)


def asked(gold):
    return problem_of({"problem": "What is it?", "answer": gold}, "here")


@pytest.mark.fault("E9")
@pytest.mark.parametrize("box", [r"\boxed{%s}", r"\fbox{%s}", r"\boxed {%s}"])
@pytest.mark.parametrize(
    ("gold", "inside"),
    [
        *(("-5", "−5"), ("-5", "–5"), ("90", "90°"), (r"\frac{1}{2}", "½"), (r"\frac{3}{2}", "1½"), ("12", r"\(12\)")),
        *(
            (r"2\pi", "2π"),
            (r"\sqrt{2}", "√2"),
            (r"\sqrt{10}", "√10"),
            (r"3\sqrt{2}", "3√2"),
            ("x^2", "x²"),
            ("12", "12."),
        ),
        *(("1234", r"1\,234"), ("1234", "1{,}234"), ("1234", "x=1234"), ("1234", "1234km"), ("1234", "1234 km")),
        *(("18", r"\text{18 dollars}"), ("18", r"18\text{ dollars}"), ("12", "12 cm^2"), ("12", r"12\text{ cm}^2")),
        *(
            (r"\emptyset", r"\varnothing"),
            (r"\emptyset", r"\{\}"),
            (r"\{1,2\}", "{2, 1}"),
            ("x=5", "5"),
            ("1,2", "x=1, x=2"),
        ),
        *(
            ("x>3", "3<x"),
            (r"x\le 3", "x ≤ 3"),
            (r"x\leq 3", r"x \leqslant 3"),
            ("y=2x", "2x=y"),
            ("[-2,7]", r"x \in [-2,7]"),
        ),
        *(("3,5", r"3 \text{ or } 5"), ("3,5", r"3\text{ and }5")),
    ],
)
def test_the_audit_accepts_every_spelling_that_the_scorer_does(gold, inside, box):
    problem = asked(gold)
    assert judged(problem, box % inside, scorer).correct
    assert judged(problem, box % inside, audit).correct


@pytest.mark.fault("E9")
@pytest.mark.parametrize("answer", ["The answer is −1234", "x = -1234", r"-1\,234", "-1234 km", "–1,234."])
def test_the_audit_reads_a_number_without_a_box(answer):
    problem = asked("-1234")
    assert judged(problem, answer, scorer).correct
    assert judged(problem, answer, audit).correct
    assert not judged(asked("1234"), answer, audit).correct


@pytest.mark.parametrize(
    ("gold", "inside"),
    [
        *(
            ("12", r"12\text{ million}"),
            ("12", "12 dozen"),
            ("12", r"12 \text{ or } 13"),
            ("12", "-12"),
            ("12", "13km"),
        ),
        *(("x=5", "y=5"), ("5", "x=6"), ("x>3", "x<3"), ("x>3", "3>x"), ("1,2", "x=1, y=2"), ("(1,2)", "(2,1)")),
        *(("[1,2]", "(1,2)"), (r"2\pi", "3π"), ("1234", r"1\,235"), (r"\sqrt{2}", "√3"), (r"\frac{3}{2}", "½")),
    ],
)
def test_the_audit_catches_a_scorer_that_pays_for_another_value(gold, inside):
    assert not judged(asked(gold), boxed(inside), audit).correct
