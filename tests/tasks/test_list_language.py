"""The list language ends on every list, and its two interpreters, which share no code, say the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.tasks.code.list_language import BASE, MEANINGS, WORDS, compiled, run

LISTS = st.lists(st.integers(0, BASE - 1), max_size=10)
PROGRAMS = st.lists(st.sampled_from(sorted(WORDS)), max_size=8)


@pytest.mark.parametrize(
    ("word", "made"),
    [
        ("up", (6, 2, 0, 2, 3)),
        ("double", (0, 2, 8, 2, 4)),
        ("halve", (2, 0, 4, 0, 1)),
        ("flip", (4, 8, 0, 8, 7)),
        ("reverse", (2, 1, 9, 1, 5)),
        ("sort", (1, 1, 2, 5, 9)),
        ("rotate", (1, 9, 1, 2, 5)),
        ("rest", (1, 9, 1, 2)),
        ("evens", (2,)),
        ("large", (5, 9)),
        ("unique", (5, 1, 9, 2)),
        ("sums", (5, 6, 5, 6, 8)),
        ("steps", (5, 6, 8, 2, 1)),
        ("mirror", (7, 2, 8, 2, 7)),
        ("total", (8,)),
        ("largest", (9,)),
    ],
)
def test_each_word_does_what_its_meaning_says(word, made):
    assert run((word,), (5, 1, 9, 1, 2)) == made


def test_every_word_has_a_meaning():
    assert WORDS.keys() == MEANINGS.keys()


@given(PROGRAMS, LISTS)
def test_two_interpreters_that_share_no_code_say_the_same(program, numbers):
    assert list(run(program, numbers)) == compiled(program)(numbers)


@given(PROGRAMS, LISTS)
def test_a_program_makes_a_list_of_digits_that_is_no_longer(program, numbers):
    made = run(program, numbers)
    assert all(type(number) is int and 0 <= number < BASE for number in made)
    assert len(made) <= max(1, len(numbers))


@given(PROGRAMS, PROGRAMS, LISTS)
def test_one_program_after_another_is_a_program(first, second, numbers):
    assert run(first + second, numbers) == run(second, run(first, numbers))


@given(PROGRAMS, LISTS)
def test_a_compiled_program_leaves_its_input_alone(program, numbers):
    before = list(numbers)
    compiled(program)(numbers)
    assert numbers == before


@pytest.mark.parametrize("interpret", [lambda program: run(program, (1,)), compiled])
def test_a_word_that_is_none_is_refused(interpret):
    with pytest.raises(KeyError, match="sorted"):
        interpret(("sort", "sorted"))
