"""Accuracy against cost: strategies on the same problems, beside votes of equal cost and the oracle.

A study samples a pool of single replies to each problem, and attempts with each strategy at the same problems. The pool
gives the baselines of every strategy without further sampling: the accuracy of a majority of k replies, and pass@k, the
accuracy of an oracle that picks the best of k. A strategy that is not better than a majority of equal cost is not worth
its code (Snell et al. 2024, arXiv 2408.03314, compare at equal cost and choose by difficulty).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from poziomka.core.errors import SettingsError
from poziomka.core.rollout import Group, Rollout
from poziomka.core.rollouts.evaluation import Estimate, Evaluation, paired_gain, pass_at, proportion
from poziomka.core.rollouts.votes import elect
from poziomka.core.seeds import random_of
from poziomka.core.transcript import AnswerReader
from poziomka.thinking.agreement import agreeing
from poziomka.thinking.majority import answer_in

ORDERS = 64  # random orders of a pool's replies, over which the accuracy of votes is averaged


@dataclass(frozen=True)
class Point:
    """One strategy in a study: its accuracy and cost, and the baselines of equal cost.

    Attributes:
        name: name of the strategy.
        accuracy: share of correct attempts.
        tokens: mean cost per attempt, in tokens of the policy.
        latency: mean number of sampled tokens that wait for one another.
        votes: number of votes that cost as much, not rounded.
        majority: accuracy of a majority of equal cost; None if the pool is too small for it.
        gain: accuracy minus that of the majority, paired by problem; None as above, or with fewer than two problems.
        oracle: pass@k of equal cost; None as above.
    """

    name: str
    accuracy: Estimate
    tokens: float
    latency: float
    votes: float
    majority: Estimate | None
    gain: Estimate | None
    oracle: Estimate | None


@dataclass(frozen=True)
class Replies:
    """Single replies to the same problems, several each, from which votes of any size are computed.

    Attributes:
        groups: judged attempts at each problem. Attempts whose check failed are left out.
        read: function that returns the answer of a reply for votes, as strategies read it; None for the answer that the
            scorer names.

    Raises:
        SettingsError: a problem has no judged attempt, or the attempts have no number of tokens.
    """

    groups: Sequence[Group]
    read: AnswerReader | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError if a problem has no judged attempt, or the attempts have no number of tokens."""
        if not self.answers or not all(self.answers):
            message = "a pool needs a judged attempt at each problem: leave out problems whose checks all failed"
            raise SettingsError(message)
        if not self.tokens:
            message = "the replies have 0 tokens, by which costs are compared: use an endpoint that reports its usage"
            raise SettingsError(message)

    @cached_property
    def answers(self) -> list[list[tuple[str | None, bool]]]:
        """(answer, whether it is correct) of each judged attempt, by problem."""
        return [
            [(self._answer(each), each.score.correct) for each in group if each.score.reward is not None]
            for group in self.groups
        ]

    def _answer(self, attempt: Rollout) -> str | None:
        return attempt.score.answer if self.read is None else answer_in(attempt.transcript, self.read)

    @property
    def size(self) -> int:
        """Number of judged attempts at the problem that has fewest."""
        return min(map(len, self.answers))

    @cached_property
    def tokens(self) -> float:
        """Mean cost of a reply, in tokens."""
        return Evaluation(self.groups).tokens

    @cached_property
    def lengths(self) -> list[float]:
        """Mean cost of a reply to each problem, in tokens."""
        return [fmean(each.cost.tokens for each in group) for group in self.groups]

    @cached_property
    def orders(self) -> "list[list[list[tuple[str | None, bool]]]]":
        """Random orders of the replies to each problem, each cut to `size`; the same in every call.

        They are rotations of random orders, so that each reply comes first as often as any other, give or take one.
        """
        pairs = zip(self.groups, self.answers, strict=True)
        return [[_order(group[0].problem.key, each, n)[: self.size] for n in range(ORDERS)] for group, each in pairs]

    @cached_property
    def curves(self) -> list[list[list[float]]]:
        """Result of the vote of the first 1, 2, … replies, by problem and order."""
        return [[elections(order) for order in orders] for orders in self.orders]

    def majority(self, votes: int) -> list[float]:
        """Returns the accuracy of a majority of `votes` replies, by problem: the mean over random orders."""
        self._demand(votes)
        return [fmean(curve[votes - 1] for curve in curves) for curves in self.curves]

    def oracle(self, votes: int) -> list[float]:
        """Returns pass@k for k = `votes`, by problem."""
        self._demand(votes)
        return [pass_at(sum(right for _, right in each), len(each), votes) for each in self.answers]

    def at(self, votes: float, curve: Callable[[int], list[float]]) -> list[float] | None:
        """Returns the values of a curve over votes, by problem, interpolated between whole numbers of votes.

        Args:
            votes: number of votes, 1 or more; less counts as 1.
            curve: `majority` or `oracle`.

        Returns:
            One value per problem; None if the pool has fewer replies.
        """
        votes = max(votes, 1.0)
        low = int(votes)
        if votes > self.size:
            return None
        if votes == low:
            return curve(low)
        share = votes - low
        return [a + share * (b - a) for a, b in zip(curve(low), curve(low + 1), strict=True)]

    def _demand(self, votes: int) -> None:
        if not 1 <= votes <= self.size:
            message = f"the pool has {self.size} replies to each problem: received {votes} votes"
            raise SettingsError(message)


def _order(key: str, answers: Sequence[tuple[str | None, bool]], number: int) -> list[tuple[str | None, bool]]:
    """Returns answers to a problem in the random order of a number; successive numbers rotate the same order."""
    shuffle, start = divmod(number, len(answers))
    found = random_of("frontier", key, shuffle).sample(answers, len(answers))
    return found[start:] + found[:start]


def elections(votes: Sequence[tuple[str | None, bool]]) -> list[float]:
    """Returns 1 if the most frequent answer is correct, else 0, for the first vote, the first two, up to all of them.

    The first of equally frequent answers counts. As in `Majority`, the first vote counts if none has an answer: scorers
    need not name the answer that they read.

    Args:
        votes: (answer, whether it is correct) of each vote; a vote without an answer does not count.
    """
    counts, rights, found = Counter[str](), dict[str, bool](), []
    for answer, right in votes:
        if answer is not None:
            counts[answer] += 1
            rights.setdefault(answer, right)
        winner = elect(counts)
        found.append(float(votes[0][1] if winner is None else rights[winner]))
    return found


def point(name: str, groups: Sequence[Group], pool: Replies) -> Point:
    """Returns the accuracy and cost of a strategy's attempts, beside the baselines of equal cost.

    Args:
        name: name of the strategy.
        groups: judged attempts with the strategy, at the problems of the pool in the same order.
        pool: single replies to the same problems.

    Raises:
        SettingsError: the problems are not those of the pool.
        TaskError: no attempt could be judged.
    """
    demand_same(groups, pool.groups)
    found = Evaluation(groups)
    corrects, votes = found.corrects, found.tokens / pool.tokens
    majority, oracle = pool.at(votes, pool.majority), pool.at(votes, pool.oracle)
    several = sum(map(bool, corrects))  # problems with a judged attempt
    return Point(
        name=name,
        accuracy=found.accuracy,
        tokens=found.tokens,
        latency=found.latency,
        votes=votes,
        majority=None if majority is None else proportion([[value] for value in majority]),
        gain=None if majority is None or several < 2 else paired_gain(corrects, [[value] for value in majority]),
        oracle=None if oracle is None else proportion([[value] for value in oracle]),
    )


def demand_same(groups: Sequence[Group], singles: Sequence[Group]) -> None:
    """Raises SettingsError if groups are not attempts at the problems of single replies, in the same order."""
    ours, theirs = ([group[0].problem.key for group in each] for each in (groups, singles))
    if ours != theirs:
        message = "strategies are compared on the same problems in the same order: received others than the pool's"
        raise SettingsError(message)


# ------------------------------------------------------------------------------------------------------- difficulty
@dataclass(frozen=True)
class Choice:
    """Strategies chosen by difficulty, and what the choice is worth on problems that did not decide it.

    Attributes:
        names: name of the chosen strategy in each bin, from the easiest to the hardest problems, from all problems.
        accuracy: accuracy of the choice, cross-fitted: each half of the problems is answered by the strategies that are
            best on the other half.
        tokens: mean cost of the choice, cross-fitted, without the replies that predict the difficulty.
    """

    names: tuple[str, ...]
    accuracy: Estimate
    tokens: float


def by_difficulty(
    strategies: Mapping[str, Sequence[Group]], pool: Replies, *, most: float, bins: int = 5, probe: int = 4
) -> Choice:
    """Chooses a strategy for each bin of difficulty among those whose mean cost is at most `most` tokens.

    Difficulty is predicted without gold answers: one minus the share of the most frequent answer among the first
    `probe` replies of the pool. Bins are quantiles; problems of equal difficulty share a bin.

    Args:
        strategies: judged attempts at the problems of the pool, by name of the strategy.
        pool: single replies to the same problems.
        most: highest mean cost per attempt over all problems, in tokens.
        bins: number of quantiles.
        probe: number of replies that predict the difficulty.

    Raises:
        SettingsError: no strategy is cheap enough, or there are fewer than two problems.
    """
    cheap = {name: groups for name, groups in strategies.items() if Evaluation(groups).tokens <= most}
    if not cheap or len(pool.groups) < 2:
        message = f"no strategy costs at most {most:g} tokens, or there are fewer than two problems"
        raise SettingsError(message)
    for groups in cheap.values():
        demand_same(groups, pool.groups)
    hard = [1.0 - agreement([answer for answer, _ in each[:probe]]) for each in pool.answers]
    cuts = sorted(hard)
    edges = [cuts[len(cuts) * number // bins] for number in range(1, bins)]
    which = [sum(value >= edge for edge in edges) for value in hard]
    rights = {
        name: [fmean(each) if each else None for each in Evaluation(groups).corrects] for name, groups in cheap.items()
    }
    corrects: list[list[float]] = [[] for _ in hard]
    costs: list[float] = []
    for fold in (0, 1):
        chosen = _best(rights, which, [number for number in range(len(hard)) if number % 2 != fold], bins)
        for number in range(fold, len(hard), 2):
            name = chosen[which[number]]
            right = rights[name][number]
            corrects[number] = [] if right is None else [right]
            costs.append(fmean(each.cost.tokens for each in cheap[name][number]))
    return Choice(tuple(_best(rights, which, range(len(hard)), bins)), proportion(corrects), fmean(costs))


def agreement(answers: Sequence[str | None]) -> float:
    """Returns the share of replies that give the most frequent answer, 0 to 1; 0 if none has an answer."""
    return agreeing(answers) / len(answers) if answers else 0.0


def _best(
    rights: Mapping[str, Sequence[float | None]], which: Sequence[int], numbers: Sequence[int], bins: int
) -> list[str]:
    """Returns the strategy with the highest accuracy in each bin, among the problems `numbers`.

    A bin without problems takes the strategy that is best on all of them.
    """

    def mean(name: str, members: Sequence[int]) -> float:
        values = [right for number in members if (right := rights[name][number]) is not None]
        return fmean(values) if values else -1.0

    chosen = []
    for bin_ in range(bins):
        members = [number for number in numbers if which[number] == bin_] or list(numbers)
        chosen.append(max(rights, key=lambda name: mean(name, members)))
    return chosen
