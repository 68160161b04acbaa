"""One election for all votes, with a rule for ties that each caller names."""

from collections import Counter

import pytest

from poziomka.core.rollouts.votes import at_random, elect, first_voted


def test_most_votes_win_whichever_came_first():
    assert elect(Counter("aabbbc")) == "b"
    assert elect({"a": 0.3, "b": 0.4}) == "b"


def test_without_an_answer_there_is_no_winner():
    assert elect({}) is None
    assert elect({}, at_random(0.5)) is None


@pytest.mark.parametrize(
    ("tie", "winner"),
    [(first_voted, "c"), (at_random(0.0), "a"), (at_random(0.5), "b"), (at_random(0.99), "c")],
)
def test_the_rule_for_ties_chooses_among_equals(tie, winner):
    assert elect(Counter("cbabacd"), tie) == winner
