"""Values of formulas: exact where they are fractions, bounded, and told apart at points nobody can choose."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.tasks.math.formulas.reader import read_formula
from poziomka.tasks.math.formulas.values import ValueFailure, agree, fraction_of, points, value_at


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2^{10}", 1024),
        (r"8^{\frac{2}{3}}", 4),
        (r"\sqrt{\frac{9}{4}}", Fraction(3, 2)),
        ("(-1)^{999999999}", -1),
        ("0^5", 0),
        (r"\binom{10}{3}", 120),
        ("5!", 120),
        (r"\lfloor \frac{7}{2} \rfloor", 3),
        ("|-3|", 3),
    ],
)
def test_exact_values(text, value):
    assert fraction_of(read_formula(text)) == value


@pytest.mark.parametrize(
    "text", ["9^{9^{9}}", "2^{100000}", "5000!", r"\frac{1}{0}", "0^{-1}", "0^0", r"\sqrt{2}", r"\pi", "(-8)^{1/3}"]
)
def test_what_is_no_fraction_or_too_large_is_refused_at_once(text):
    with pytest.raises(ValueFailure):
        fraction_of(read_formula(text))


@pytest.mark.parametrize("text", ["9^{9^{9}}", r"\frac{1}{0}", "500!", r"\ln 0", r"\infty", "(1,2)"])
def test_what_has_no_value_at_a_point_is_refused(text):
    with pytest.raises(ValueFailure):
        value_at(read_formula(text), {})


def test_two_formulas_without_values_are_not_said_to_agree():
    assert agree(read_formula("9^{9^{9}}"), read_formula("9^{9^{9}}")) is None


def test_points_are_the_same_for_the_same_names_and_have_both_signs():
    one = points(frozenset("xy"), real=True)
    assert one == points(frozenset("yx"), real=True)
    assert {point["x"].real > 0 for point in one} == {True, False}


@given(st.fractions(max_denominator=99), st.fractions(max_denominator=99))
def test_fractions_agree_exactly_if_they_are_equal(left, right):
    one, other = (read_formula(rf"\frac{{{each.numerator}}}{{{each.denominator}}}") for each in (left, right))
    assert (fraction_of(one) == fraction_of(other)) == (left == right)
    assert agree(one, other) is (left == right)
