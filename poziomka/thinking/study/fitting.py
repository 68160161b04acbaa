"""Fit of `AgreementVotes` to a study: votes are added where they raise accuracy most per token, up to a mean cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from poziomka.core.errors import SettingsError
from poziomka.core.rollouts.evaluation import Estimate, proportion
from poziomka.thinking.agreement import agreeing
from poziomka.thinking.study.frontier import ORDERS, Replies


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
            totals = [votes[agreeing([answer for answer, _ in order[:probe]])] for order in pool.orders[number]]
            pairs = zip(pool.curves[number], totals, strict=True)
            by_problem[number] = fmean(curve[total - 1] for curve, total in pairs)
            costs[number] = fmean(totals) * pool.lengths[number]
    accuracy = proportion([[value] for value in by_problem])
    return Fitted(tuple(_allotted(pool, range(count), probe, most)), accuracy, by_problem, fmean(costs))


def _allotted(pool: Replies, numbers: Sequence[int], probe: int, most: float) -> list[int]:
    """Returns the number of votes for each number of agreeing replies, fitted to some problems of a pool.

    Starts with `probe` votes everywhere, and repeatedly takes the step that raises accuracy most per token. Problems
    whose replies disagree tend to have longer replies, so a vote costs as much as a reply to its own problem.
    """
    curves = _curves(pool, numbers, probe)
    votes = [probe] * (probe + 1)
    left = most * ORDERS * len(numbers) - probe * sum(vote for _, vote, _ in curves.values())  # tokens, over all orders
    while True:
        steps = [
            (count * (accuracy[total] - accuracy[votes[key]]) / (vote * (total - votes[key])), key, total)
            for key, (count, vote, accuracy) in curves.items()
            for total in accuracy
            if total > votes[key] and vote * (total - votes[key]) <= left
        ]
        gain, key, total = max(steps, default=(0.0, 0, 0))
        if gain <= 0:
            return votes
        left -= curves[key][1] * (total - votes[key])
        votes[key] = total


def _curves(pool: Replies, numbers: Sequence[int], probe: int) -> dict[int, tuple[int, float, dict[int, float]]]:
    """Returns orders grouped by their number of agreeing first replies.

    Returns:
        By that number: the number of orders, the cost in tokens of a further vote in all of them, and their accuracy
        by the number of votes.
    """
    grouped: dict[int, list[tuple[float, list[float]]]] = {}
    for number in numbers:
        for order, curve in zip(pool.orders[number], pool.curves[number], strict=True):
            key = agreeing([answer for answer, _ in order[:probe]])
            grouped.setdefault(key, []).append((pool.lengths[number], curve))
    totals = range(probe, pool.size + 1)
    return {
        key: (
            len(members),
            sum(length for length, _ in members),
            {total: fmean(curve[total - 1] for _, curve in members) for total in totals},
        )
        for key, members in grouped.items()
    }
