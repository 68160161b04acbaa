"""Seeds come from names, and are the same everywhere."""

from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.seeds import random_of, seed_of


def test_seeds_are_pinned():
    assert seed_of() == 6_510_301_506_637_419_378
    assert seed_of("recurrence", "train", 7) == 5_732_653_233_080_368_508
    assert seed_of("recurrence", "train", 8) == 4_041_364_787_548_518_497


def test_draws_are_pinned():
    assert random_of("recurrence", "train", 7).randrange(10**9) == 897_847_717


def test_a_number_and_its_text_are_different_names():
    assert seed_of(7) != seed_of("7")


def test_the_order_of_names_counts():
    assert seed_of("a", "b") != seed_of("b", "a")


def test_joined_names_are_other_names():
    assert seed_of("ab") != seed_of("a", "b")


@given(st.lists(st.text() | st.integers(), max_size=4))
def test_a_seed_has_63_bits(names):
    assert 0 <= seed_of(*names) < 2**63


def test_neighbours_share_no_draws():
    draws = [random_of("train", index).random() for index in range(200)]
    assert len(set(draws)) == 200
