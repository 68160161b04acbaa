"""Rewards of attempts with many replies: what the set of replies earns, credited to each of them.

Training for pass@k and majority@k rewards a set of k replies as a whole: R = f(r_1, …, r_k). Two credits of it have the
same expected gradient, that of the mean of R (Tang et al. 2025, arXiv 2503.19595):

    set            each reply has the reward R
    leave_one_out  reply i has R - R without i: what the set would lose without it; R without i does not depend on reply
                   i, so it is a baseline, and it removes the variance that the other replies cause

With f = max and rewards of 0 and 1, the second is 1 for the only correct reply of a set, and 0 for all others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from poziomka.core.problem import Score
from poziomka.thinking.ensemble import Member

Credit = Literal["set", "leave_one_out"]
Outcome = Callable[[Sequence[Member], Sequence[Score]], float | None]


@dataclass(frozen=True)
class SetReward:
    """Function from the scores of an attempt's branches to their rewards; see `core.strategy.Attempt.rewards`.

    Attributes:
        members: the replies of the set.
        outcome: function from some members and the scores of all branches to the reward of these members as a set; None
            if the check that decides it failed.
        credit: set or leave_one_out.
    """

    members: tuple[Member, ...]
    outcome: Outcome
    credit: Credit = "set"

    def __call__(self, scores: Sequence[Score]) -> list[float | None]:
        """Returns the reward of each branch, -1 to 1; None, no reward, if the outcome of the set is unknown.

        All branches of a member have its reward. Branches that belong to no member keep their own.
        """
        found = [score.reward for score in scores]
        whole = self.outcome(self.members, scores)
        for member in self.members:
            for index in member.branches:
                found[index] = None if whole is None else self._share(whole, member, scores)
        return found

    def _share(self, whole: float, member: Member, scores: Sequence[Score]) -> float:
        """Returns what a member is credited with, of the reward `whole` of the set."""
        if self.credit == "set":
            return whole
        others = [each for each in self.members if each is not member]
        without = self.outcome(others, scores)
        return min(max(whole - (without or 0.0), -1.0), 1.0)  # rewards below 0 can differ by 2


def reward_of(member: Member | None, scores: Sequence[Score]) -> float | None:
    """Returns the reward of a member's answer; None without a member, or if its check failed."""
    return None if member is None else scores[member.index].reward


def largest(members: Sequence[Member], scores: Sequence[Score]) -> float | None:
    """Returns the largest reward among members, an `Outcome`; failed checks have none, None if all failed."""
    known = [reward for reward in (reward_of(member, scores) for member in members) if reward is not None]
    return max(known, default=None)
