"""Parallel strategies: best-of-n by a judge, and votes that are sampled until the vote is decided."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal, get_args

from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.strategy import Attempt, OpenSession, Rewards, Strategy
from poziomka.core.transcript import AnswerReader, Transcript
from poziomka.thinking.credit import Credit, SetReward, largest, reward_of
from poziomka.thinking.ensemble import Ensemble, Member
from poziomka.thinking.judges.judge import Judge
from poziomka.thinking.majority import answers_of, demand_reward, elected, votes_of

Reward = Literal["scorer", "choice", "maximum"]


@dataclass(frozen=True)
class BestOf(Strategy):
    """Best-of-n: samples `replies` replies and answers with the one that the judge values most.

    With an exact judge, its accuracy is pass@n, an upper bound of all choices among the same replies. With a weak
    judge it can be below one reply: if the judge accepts a correct reply with probability t and a wrong one with f, the
    accuracy approaches p t / (p t + (1 - p) f), where p is the accuracy of one reply. The rewards of the replies in
    training are named by `reward`:

        scorer   those of the task's scorer
        choice   that of the reply that the judge chooses
        maximum  the largest reward of all replies: training for pass@n (Tang et al. 2025, arXiv 2503.19595; Walder and
                 Karkhanis 2025, arXiv 2505.15201, with k = n)

    Attributes:
        replies: number of replies, 1 or more.
        judge: values the replies; of equal values, the first sampled wins.
        inner: strategy that makes the replies.
        reward: scorer, choice or maximum.
        credit: reward of each reply if `reward` is not "scorer": set, that of the set, or leave_one_out, what the set
            would lose without the reply (`thinking.credit`).

    Raises:
        SettingsError: there is no reply, or no reward or credit of that name.
    """

    replies: int
    judge: Judge
    inner: Strategy = SINGLE_REPLY
    reward: Reward = "scorer"
    credit: Credit = "set"

    def __post_init__(self) -> None:
        """Raises SettingsError if there is no reply, or no reward or credit of that name."""
        if self.replies < 1:
            message = f"best-of-n needs at least 1 reply: received {self.replies}"
            raise SettingsError(message)
        demand_reward(self.reward, self.credit, get_args(Reward))

    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns an attempt with the branches of all replies, answered by the one of largest value."""
        ensemble = Ensemble(self.inner, sampler, open_session, problem)
        members = await ensemble.sample(prompt, votes_of(params, self.replies))
        values = await ensemble.weigh(self.judge, members, params.seed)
        return ensemble.attempt(best(members, values), self._rewards(members, values))

    def _rewards(self, members: Sequence[Member], values: Mapping[int, float]) -> Rewards | None:
        """Returns the rewards of replies that are rewarded as a set; None for those of the scorer."""

        def chosen(some: Sequence[Member], scores: Sequence[Score]) -> float | None:
            return reward_of(best(some, values), scores)

        outcome = {"choice": chosen, "maximum": largest}.get(self.reward)
        return None if outcome is None else SetReward(tuple(members), outcome, self.credit)


def best(members: Sequence[Member], values: Mapping[int, float]) -> Member | None:
    """Returns the member of largest value, the first of equal ones; None if no member has a value."""
    valued = [member for member in members if member.index in values]
    return max(valued, key=lambda member: values[member.index], default=None)


@dataclass(frozen=True)
class AdaptiveConsistency(Strategy):
    """Adaptive consistency: samples votes in rounds until the leading answer will most probably stay the majority.

    Aggarwal et al. 2023 (arXiv 2305.11860), with their Beta criterion on the two most frequent answers. The votes are
    the first ones of `Majority`, so both are compared on the same replies. Sampling also ends when the votes that are
    left cannot change the winner.

    Attributes:
        most: maximum number of votes, 1 or more.
        threshold: probability at which the vote is decided, 0.5 to 1; at 1, only a winner that cannot change decides.
        per_round: number of votes that are sampled at once, 1 or more; rounds wait for one another.
        read: reader of answers for the vote, as that of `Majority`.
        inner: strategy that makes the replies.

    Raises:
        SettingsError: a number is out of range.
    """

    most: int
    threshold: float = 0.95
    per_round: int = 4
    read: AnswerReader | None = None
    inner: Strategy = SINGLE_REPLY

    def __post_init__(self) -> None:
        """Raises SettingsError if a number is out of range."""
        if self.most < 1 or self.per_round < 1 or not 0.5 <= self.threshold <= 1:
            message = (
                "adaptive voting needs 1 vote or more, 1 or more a round, and a threshold from 0.5 to 1: "
                f"received {self.most}, {self.per_round}, {self.threshold}"
            )
            raise SettingsError(message)

    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns an attempt with the branches of all votes, answered by the first reply with the winning answer."""
        ensemble = Ensemble(self.inner, sampler, open_session, problem)
        members: list[Member] = []
        for first in range(0, self.most, self.per_round):
            count = min(self.per_round, self.most - first)
            members += await ensemble.sample(prompt, votes_of(params, count, first))
            answers = answers_of(members, self.read)
            if self._decided(list(answers.values()), self.most - first - count):
                break
        return ensemble.attempt(elected(members, answers, {member.index: 1.0 for member in members}))

    def _decided(self, answers: list[str | None], left: int) -> bool:
        counts = Counter(answer for answer in answers if answer is not None)
        (_, first), (_, second) = [*counts.most_common(2), ("", 0), ("", 0)][:2]
        return first - second > left or stays_majority(first, second) >= self.threshold


def stays_majority(first: int, second: int) -> float:
    """Returns the probability that the leading of two answers is the more probable one, given their votes.

    It is P(x > 1/2) for x of the distribution Beta(first + 1, second + 1), the posterior after a uniform prior; as a
    sum, P(k <= first) for the number k of heads in first + second + 1 tosses of a fair coin.

    Args:
        first: number of votes of the leading answer.
        second: number of votes of the other one.
    """
    tosses = first + second + 1
    return float(sum(comb(tosses, heads) for heads in range(first + 1)) / 2**tosses)
