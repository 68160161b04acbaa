"""Elections: the answer with most votes, and the rule that decides among answers with equally many."""

from collections.abc import Callable, Mapping, Sequence

Tie = Callable[[Sequence[str]], str]  # chooses among answers with equally many votes, in the order of their first votes


def first_voted(tied: Sequence[str]) -> str:
    """Returns the first of tied answers, which was voted for before the others."""
    return tied[0]


def at_random(draw: float) -> Tie:
    """Returns a rule that chooses among tied answers by a random number, whatever the order of the votes.

    Args:
        draw: random number, 0 or more and below 1.
    """
    return lambda tied: sorted(tied)[int(draw * len(tied))]


def elect(votes: Mapping[str, float], tie: Tie = first_voted) -> str | None:
    """Returns the answer with most votes; None if there is no answer.

    Args:
        votes: number of votes, or sum of their weights, by answer, in the order of the first vote for each.
        tie: chooses among answers with equally many votes.
    """
    if not votes:
        return None
    most = max(votes.values())
    return tie([answer for answer, count in votes.items() if count == most])
