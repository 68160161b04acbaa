"""Lines of a reply break between words, however the text comes."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.app.cli.chat.wrap import Wrap

WORDS = "the quick brown fox jumps over the lazy dog and runs away from it all"


def wrapped(text, width, size=1):
    wrap = Wrap(width)
    return "".join([wrap.add(text[i : i + size]) for i in range(0, len(text), size)]) + wrap.end()


@pytest.mark.fault("C10")
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_line_breaks_between_words(size):
    assert wrapped(WORDS, 20, size) == "\n".join(textwrap.wrap(WORDS, 20))


def test_lines_that_were_written_stay_with_what_they_begin_with():
    assert wrapped("a:\n    b\n\nc", 20) == "a:\n    b\n\nc"


def test_a_word_wider_than_the_line_is_left_to_the_terminal():
    assert wrapped("ab " + "x" * 50, 20) == "ab\n" + "x" * 50


def test_text_without_spaces_is_not_held_back():
    wrap = Wrap(10)
    assert wrap.add("你好世") == "你好世"
    assert wrap.add("界你好") == "界你\n好"


def test_without_a_width_everything_passes():
    assert wrapped(WORDS * 10, None) == WORDS * 10


@given(st.text(alphabet="ab \n", max_size=200), st.integers(3, 20), st.integers(1, 7))
def test_no_word_is_lost_and_no_line_is_wider_than_its_longest_word_or_the_terminal(text, width, size):
    shown = wrapped(text, width, size)
    assert shown.split() == text.split()
    longest = max([width, *map(len, text.split())])
    assert all(len(line) <= max(longest, len(line) - len(line.lstrip()) + longest) for line in shown.split("\n"))
