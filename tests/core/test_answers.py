"""Reading answers: strict, and never raising."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.answers import read_integer, split_thought

PARTS = st.lists(
    st.sampled_from(["<think>", "</think>", " ", "7", "-", "+", "1e5", "nan", "seven", "７", "²"]), max_size=9
)


@pytest.mark.parametrize(
    ("reply", "parts"),
    [
        ("<think> a b </think> 7", ("a b", "7")),
        (" a b </think> 7", ("a b", "7")),  # the prompt opened the thought
        ("<think> a </think> b <think> c </think> 7", ("a </think> b <think> c", "7")),
        ("<think> a </think> b </think> 7", ("a </think> b", None)),  # thought went on after its end
        ("<think> a b", ("a b", None)),
        ("<think> a </think> <think> 7", ("a", None)),
        (" 7 ", ("", "7")),
        ("", ("", "")),
        ("</think>", ("", "")),
    ],
)
def test_a_reply_is_split_where_its_thought_ends(reply, parts):
    assert split_thought(reply) == parts


@pytest.mark.parametrize(
    ("reply", "value"),
    [("<think> 1 </think> 7", 7), ("7", 7), (" -7\n", -7), ("+7", 7), ("007", 7), ("1" * 39, int("1" * 39))],
)
def test_an_integer_alone_is_the_answer(reply, value):
    assert read_integer(reply) == value


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "-",
        "+-7",
        "7 8",
        "7.",
        "7.0",
        "1e3",
        "nan",
        "inf",
        "seven",
        "= 7",
        "７",
        "²",
        "<think> 7",
        "1" * 41,
        "1_000",
    ],
)
def test_anything_else_is_no_answer(reply):
    assert read_integer(reply) is None


@given(st.text() | PARTS.map("".join))
def test_no_text_makes_the_readers_raise(reply):
    thought, answer = split_thought(reply)
    assert isinstance(thought, str)
    assert answer is None or answer == answer.strip()
    assert read_integer(reply) is None or answer is not None


@given(st.integers(-(10**38), 10**38), st.text(alphabet="abc 123", max_size=20))
def test_every_integer_is_read_back(value, thought):
    assert read_integer(f"<think> {thought} </think> {value}") == value


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_two_numbers_are_no_answer(a, b):
    assert read_integer(f"<think> </think> {a} {b}") is None
