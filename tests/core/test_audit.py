"""The second opinion: an answer that says the gold one and no other, read in another way than scorers read."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.rollouts.answers import read_number
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
    ("12", "-$ 12"),
    ("12", "(-) 12"),
    ("12", "!= 12"),
    ("12", "! = 12"),
    ("12", r"$\neq$ 12"),
    ("12", r"\(\sqrt\) 12"),
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


# ---------------------------------------------------------------------------- every spelling that the scorers accept
AROUND = (
    ["", "The answer is ", "So x = ", "A total of ", "the grand total is ", "Area in cm² is ", "* ", "- ", "half of "],
    [
        "{}",
        r"\boxed{{{}}}",
        r"$\fbox{{{}}}$",
        r"\[\boxed{{{}}}\]",
        r"**\boxed{{{}}}**",
        r"2 * \boxed{{{}}}",
        r"-\boxed{{{}}}",
    ],
    [
        "",
        ".",
        "!",
        " dollars.",
        " more",
        " and more",
        " times a week",
        " is the grand total",
        " or 13",
        " in total.",
        " k",
    ],
)
SPELLED = {
    "12": [
        *("12km", "12 km", "12°", r"12^\circ", r"12^{\circ}", "x=12", "x = 12", "12 cm²", "12 cm^2", "12%", r"12\%"),
        *(
            r"\fbox{12}",
            r"\framebox{12}",
            r"\boxed {12}",
            r"12\text{ dollars}",
            r"\text{12}",
            r"\text{12 dollars}",
            "12 $",
        ),
        *(
            "#### 12",
            "####12",
            "€12",
            "12€",
            r"\$12",
            "<answer>12</answer>",
            "12 times",
            "12 km/h",
            r"\(12\)",
            r"\[12\]",
        ),
        *(
            "12 square feet",
            r"12\text{ cm}^2",
            "12 m²",
            r"12\text{ m}^2",
            "Area in cm² is 12",
            "Area of the square: 12",
            "The grand total is 12.",
            "12 %",
        ),
        *(
            r"**Answer:** **\boxed{12}**.",
            r"* \boxed{12}",
            "\n=> \\boxed{12}",
            r"5 + 7 = \boxed{12}\%",
            r"\[\boxed{12}\]",
        ),
    ],
    "-12": ["–12", "−12", "-$12", r"-\$12", r"\boxed{-12}"],
    "1234": ["1,234", r"1\,234", "1{,}234", "1~234", "1\u202f234", r"1\ 234", r"1,\!234", "1234km", "x=1234", "£1,234"],
    "0.5": ["½", ".5", "$.50", "½ km"],
    "1.5": ["1½", r"\boxed{1½}"],
}
SPELLINGS = [(gold, reply) for gold, replies in SPELLED.items() for reply in replies]
QUESTION = "How many dollars or km is it, times 7, in the area of a square?"


@pytest.mark.fault("E9")
@pytest.mark.parametrize(("gold", "reply"), SPELLINGS)
def test_every_spelling_that_a_scorer_reads_as_the_gold_number_is_accepted(gold, reply):
    assert read_number(reply, QUESTION) == gold
    assert says(gold, reply) is Verdict.CORRECT
    for other in ("13", "-1", f"{gold}1", gold[1:] if gold[0] == "-" else f"-{gold}"):
        assert says(other, reply) is not Verdict.CORRECT


@pytest.mark.fault("E9")
@pytest.mark.parametrize(
    ("gold", "reply"),
    [
        *(("1000", "1e3"), ("1.23e+04", "1.23E4"), ("0x1f", "0X1F"), ("0x1f", "0x01f"), ("3/4", r"$\frac{3}{4}$")),
        *(("[[1, 2], [3, 4]]", "[[1,2],[3,4]]"), ("a, b, c", "a,b,c"), ("1 days, 03:20", "1 day, 03:20")),
    ],
)
def test_other_forms_that_scorers_read_are_accepted(gold, reply):
    assert says(gold, reply) is Verdict.CORRECT


@pytest.mark.parametrize(
    "reply",
    [
        *(
            "12 and more",
            "12 dollars and more",
            "square 12",
            "times 12",
            "12 grand",
            "12k",
            "12th",
            "12 k",
            "x > 12",
            "x≠12",
        ),
        *(
            r"-\boxed{12}",
            r"2 \cdot \boxed{12}",
            "2 * \\boxed{12}",
            r"1\boxed{12}",
            r"x \le \boxed{12}",
            r"half of \boxed{12}",
        ),
        *(
            r"\boxed{12}^2",
            r"\boxed{12}0",
            r"\boxed{12} million",
            r"\boxed{12}\% and more",
            r"not \boxed{12}",
            "12^2",
            "12²",
        ),
        *(
            r"\boxed{12\text{ million}}",
            r"\sqrt{\boxed{12}}",
            "1\\,2",
            "12 ½",
            r"1\frac{1}{2}",
            "0x12",
            "twice 12",
            "12e1",
        ),
    ],
)
def test_a_scorer_that_pays_for_another_value_is_caught(reply):
    assert says("12", reply) is not Verdict.CORRECT


@given(st.sampled_from(SPELLINGS), *(st.sampled_from(words) for words in AROUND))
def test_whatever_the_reader_of_numbers_reads_as_the_gold_one_is_accepted(spelled, before, box, after):
    gold, spelling = spelled
    reply = before + (spelling if "box" in spelling else box.format(spelling)) + after
    if read_number(reply, QUESTION) == gold:
        assert says(gold, reply) is Verdict.CORRECT


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
