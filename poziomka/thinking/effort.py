"""Effort: how much thinking a problem gets, as a fixed level or decided from the agreement of the first replies.

`AgreementVotes` samples a few replies. If they agree, the answer is probably settled; if no two agree, more votes rarely help
either, and the problem is given up. How many votes each degree of agreement is worth is fitted to the rollouts of a
study (`fit`): votes are added where they raise accuracy most per token, until the mean cost reaches its limit.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem
from poziomka.core.rollout import Cost
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.rollouts.evaluation import Estimate, proportion
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.strategy import Attempt, OpenSession, Strategy
from poziomka.core.transcript import Transcript
from poziomka.thinking.frontier import Replies, elected
from poziomka.thinking.majority import last_words


@dataclass(frozen=True)
class AgreementVotes(Strategy):
    """Majority voting whose number of votes depends on how many of the first replies agree.

    Attributes:
        votes: total number of votes if 0, 1, 2, … of the first replies give the most frequent answer; 0 means that none
            has an answer. There are as many first replies as the last index. A total of at most that number stops.
        read: function that returns the answer of a reply; None for a reply without an answer, which has no vote.
        inner: strategy that makes each vote.

    Raises:
        SettingsError: there are fewer than two numbers of votes, or one is below 1.
    """

    votes: tuple[int, ...]
    read: Callable[[Transcript], str | None] = last_words
    inner: Strategy = SINGLE_REPLY

    def __post_init__(self) -> None:
        """Raises SettingsError if there are fewer than two numbers of votes, or one is below 1."""
        if len(self.votes) < 2 or min(self.votes) < 1:
            message = f"agreement needs a number of votes for 0, 1, … agreeing replies: received {list(self.votes)}"
            raise SettingsError(message)

    @property
    def probe(self) -> int:
        """Number of first replies."""
        return len(self.votes) - 1

    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns an attempt with one branch per vote; see Strategy.attempt for the arguments."""

        async def sample(numbers: Sequence[int]) -> list[Attempt]:
            requests = [replace(params, seed=seed_of(params.seed, "majority", number)) for number in numbers]
            return await self.inner.attempts(sampler, prompt, requests, open_session=open_session, problem=problem)

        found = await sample(range(self.probe))
        cost = Cost.together(each.cost for each in found)
        total = self.votes[max(Counter(filter(None, map(self._answer, found))).values(), default=0)]
        if total > self.probe:
            more = await sample(range(self.probe, total))
            found, cost = found + more, cost + Cost.together(each.cost for each in more)
        answers = [self._answer(each) for each in found]
        counts = Counter(filter(None, answers))
        winner = max(counts, key=lambda answer: counts[answer]) if counts else None
        failure = next((each.failure for each in found if each.failure is not None), None)
        branches = tuple(each.branches[each.answer] for each in found)
        return Attempt(branches, answers.index(winner), failure, cost)

    def _answer(self, attempt: Attempt) -> str | None:
        return self.read(attempt.branches[attempt.answer].transcript)


@dataclass(frozen=True)
class Fitted:
    """Numbers of votes that were fitted to a pool of replies, and what they are worth on other problems.

    Attributes:
        votes: total number of votes by the number of agreeing first replies, from 0 on.
        accuracy: accuracy, cross-fitted: each half of the problems uses the votes that were fitted to the other half.
        by_problem: the same by problem, for paired comparisons.
        tokens: mean cost per problem, cross-fitted.
    """

    votes: tuple[int, ...]
    accuracy: Estimate
    by_problem: list[float]
    tokens: float


def fit(pool: Replies, *, probe: int, most: float) -> Fitted:
    """Fits the numbers of votes of `AgreementVotes` to a pool of replies, for the highest accuracy at a mean cost.

    Args:
        pool: single replies to the problems of a study.
        probe: number of first replies, at least 1.
        most: highest mean cost per problem, in tokens.

    Raises:
        SettingsError: the pool has fewer replies than `probe`, or fewer than two problems.
    """
    count = len(pool.orders)
    if not 1 <= probe <= pool.size or count < 2:
        message = f"a fit needs {probe} replies to each of at least 2 problems: received {pool.size} to each of {count}"
        raise SettingsError(message)
    by_problem, costs = [0.0] * count, [0.0] * count
    for fold in (0, 1):
        votes = _allotted(pool, [number for number in range(count) if number % 2 != fold], probe, most)
        for number in range(fold, count, 2):
            totals = [votes[_agreeing(order[:probe])] for order in pool.orders[number]]
            pairs = list(zip(pool.orders[number], totals, strict=True))
            by_problem[number] = fmean(elected(order[:total]) for order, total in pairs)
            costs[number] = fmean(totals) * pool.tokens
    accuracy = proportion([[value] for value in by_problem])
    return Fitted(tuple(_allotted(pool, range(count), probe, most)), accuracy, by_problem, fmean(costs))


def _allotted(pool: Replies, numbers: Sequence[int], probe: int, most: float) -> list[int]:
    """Returns the number of votes for each number of agreeing replies, fitted to some problems of a pool.

    Starts with `probe` votes everywhere, and repeatedly takes the step that raises accuracy most per vote.
    """
    curves = _curves(pool, numbers, probe)
    everything = sum(weight for weight, _ in curves.values())
    votes = [probe] * (probe + 1)
    left = (most / pool.tokens - probe) * everything  # votes that may be added, over all replies of all orders
    while True:
        steps = [
            ((accuracy[total] - accuracy[votes[key]]) / (total - votes[key]), key, total)
            for key, (weight, accuracy) in curves.items()
            for total in accuracy
            if total > votes[key] and weight * (total - votes[key]) <= left
        ]
        gain, key, total = max(steps, default=(0.0, 0, 0))
        if gain <= 0:
            return votes
        left -= curves[key][0] * (total - votes[key])
        votes[key] = total


def _curves(pool: Replies, numbers: Sequence[int], probe: int) -> dict[int, tuple[int, dict[int, float]]]:
    """Returns, by number of agreeing replies: the number of orders with it, and the accuracy by number of votes."""
    grouped: dict[int, list[Sequence[tuple[str | None, bool]]]] = {}
    for number in numbers:
        for order in pool.orders[number]:
            grouped.setdefault(_agreeing(order[:probe]), []).append(order)
    totals = range(probe, pool.size + 1)
    return {
        key: (len(orders), {total: fmean(elected(order[:total]) for order in orders) for total in totals})
        for key, orders in grouped.items()
    }


def _agreeing(votes: Sequence[tuple[str | None, bool]]) -> int:
    """Returns the number of votes for the most frequent answer; 0 if no vote has an answer."""
    return max(Counter(answer for answer, _ in votes if answer is not None).values(), default=0)
