"""A box is opened at the brace that closes it, and what stands before it is looked at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.rollouts.boxes import Box, open_box, trouble_before
from poziomka.core.rollouts.number_words import words_in


@given(st.text(alphabet="\\{}boxed 12frac$.", max_size=40))
def test_whatever_is_said_a_box_is_opened_or_it_is_said_why_not(text):
    found = open_box(text)
    inside = "" if isinstance(found, str) else found.inside
    assert inside.count("{") == inside.count("}") or "\\" in inside


@given(
    st.recursive(
        st.sampled_from(["1", "x", r"\{", r"\}"]),
        lambda inner: st.lists(inner, max_size=3).map(lambda parts: "{" + "".join(parts) + "}"),
    )
)
def test_a_box_is_opened_at_the_brace_that_closes_it(inside):
    assert open_box(f"so \\boxed{{{inside}}}.") == Box(inside, "so ", ".")


@pytest.mark.parametrize(
    ("written", "inside"),
    [("12\\ ", "12"), ("12\\\\ ", "12\\\\"), ("a\\\\\\ ", "a\\\\"), (" 12 ", "12"), ("12\\,", "12\\,")],
)
def test_escaped_space_at_the_end_of_a_box_is_white_space(written, inside):
    assert open_box(f"\\boxed{{{written}}}").inside == inside
    assert open_box("\\boxed{\\\r}") == "the box is empty"


def test_a_word_that_nobody_knows_before_a_box_is_trouble_unless_the_question_has_it():
    assert "stands before the box" in trouble_before("the gerbil ")
    assert trouble_before("the gerbil ", words_in("How old is the gerbil?")) == ""


def test_a_denial_counts_in_its_clause_only():
    assert "denies or doubts" in trouble_before("The answer is certainly not the number ")
    assert trouble_before("As 6 is not prime, the answer is ") == ""


@pytest.mark.fault("E7")
def test_an_equation_is_denied_by_what_governs_it():
    for lead in ("It is not true that x = ", "We cannot have x = ", "I doubt that x = ", "that x is not = "):
        assert "denies or doubts" in trouble_before(lead)
    for lead in ("As n is not prime x = ", "n is not even and so x = ", "a share that does not depend on n, x = "):
        assert trouble_before(lead) == ""


def test_white_space_before_a_box_takes_no_time():
    assert trouble_before(" " * 1_000_000) == ""
    assert trouble_before("x" + " " * 1_000_000 + "y") != ""


@given(st.text() | st.text(alphabet="\\\\ =.:,;-+*(){}[]$ isnotx12\n", max_size=40))
def test_whatever_stands_before_a_box_is_read(text):
    assert isinstance(trouble_before(text), str)
