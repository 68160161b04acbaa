"""The reader knows the forms of answers, refuses every other, and neither raises otherwise nor takes long."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poziomka.tasks.math.formulas.equality import equal
from poziomka.tasks.math.formulas.formula import FormulaError, number
from poziomka.tasks.math.formulas.reader import LONGEST, read_formula
from poziomka.tasks.math.formulas.spelling import spell

PIECES = [
    "1",
    "23",
    "4.5",
    ",",
    "x",
    "y",
    "+",
    "-",
    "*",
    "/",
    "^",
    "_",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    r"\{",
    r"\}",
    "=",
    "|",
]
PIECES += [
    r"\frac",
    r"\sqrt",
    r"\pm",
    r"\pi",
    r"\infty",
    r"\cup",
    r"\sin",
    r"\log",
    "!",
    "%",
    r"\circ",
    r"\text{cm}",
    " ",
    "<",
]
PIECES += [
    r"\begin{pmatrix}",
    r"\end{pmatrix}",
    r"\\",
    "&",
    "\\",
    r"\boxed",
    "$",
    ".",
    r"\in",
    r"\left",
    r"\overline{3}",
]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("12", "number"),
        ("58,500", "number"),
        (r"\frac14", "quotient"),
        (r"\frac{270}7\text{ degrees}", "measured"),
        (r"\sin^2 3x + 1", "sum"),
        ("|x-|y||", "apply"),
        ("(1,234)", "tuple"),
        ("3, 5, 7", "list"),
        ("5x - 7y + 11z + 4 = 0", "chain"),
        (r"\text{ellipse}", "words"),
        ("p - q", "sum"),
        (r"\langle 1, 2 \rangle", "tuple"),
        ("−3", "minus"),
        ("½", "quotient"),
        ("√2", "apply"),
        ("{1, 2}", "set"),
        (r"\emptyset", "set"),
    ],
)
def test_it_knows_the_forms_of_answers(text, kind):
    assert read_formula(text).kind == kind


def test_a_comma_inside_brackets_divides_entries():
    assert read_formula("(1,234)").parts == (number(1), number(234))


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "()", "1 +", r"\frac{1}{", r"\frac{}{}", "5 6", "x2", "((((", "9**9", "1e5", "1/2/", "2..5", "1 = "),
        *(
            r"12 \text{ and }",
            r"\foo{3}",
            "٣",
            "－3",
            "⅟3",
            "x\u200b",
            "12\0",
            "x^2^3",
            "19_8",
            "]1,2[",
            r"\text{}",
            r"7 \text{ or 8}",
            r"7 \text{ is wrong}",
        ),
        *("a" * (LONGEST + 1), "(" * 100 + "1" + ")" * 100, "2^{" * 60 + "2" + "}" * 60, "__import__('os')"),
        *(
            r"2(1,2)",
            r"\infty + 1",
            r"3 \cup 4",
            r"\boxed{3}",
            r"\begin{pmatrix} 1 & 2 \\ 3 \end{pmatrix}",
            r"\sqrt[]{2}",
        ),
        *(r"5\text{ cm}^{1+1}", r"5\text{ cm}^{x}", r"5\text{ cm}^{2.5}", "12_{4+4}", "12_{x}"),
        *("x_{}", "x_{(1,2)}", r"x_{\emptyset}", r"x_{\infty+1}", r"\sin_2 x", r"\sin^2^3 x", r"\log_2_3 8"),
    ],
)
def test_it_refuses_what_it_does_not_understand_as_a_whole(text):
    with pytest.raises(FormulaError):
        read_formula(text)


@settings(max_examples=400)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=14).map("".join)))
def test_any_text_is_a_formula_or_an_error_and_a_formula_equals_its_own_spelling(text):
    try:
        formula = read_formula(text)
    except FormulaError:
        return
    again = read_formula(spell(formula)) if len(spell(formula)) <= LONGEST else formula
    assert equal(formula, again) or again.kind == "list"  # a list of lists is spelled as one


@pytest.mark.parametrize(
    "text", ["1,234" * 80, "1," * 199 + "1", "-" * 400, "x" * 400, r"\frac" * 80, "|" * 400, "2^{" * 133]
)
def test_long_answers_take_no_time(text):
    with suppress(FormulaError):
        equal(read_formula(text), read_formula(text))
