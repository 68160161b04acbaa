"""Exact change: pay an amount exactly with coins of four values, by search inside the thought.

The prompt gives the amount and the values, `31 4 7 9 12`. A thought pays coins one by one, each followed by the rest,
and begins again after "x" where a coin is larger than the rest:

    <think> -12 19 -7 12 -9 3 -4 x -7 24 -12 12 -12 0 </think> 7 12 12

Demonstrations choose every coin uniformly at random. A better search, which takes the coin that equals the rest and
avoids a rest that no coins can pay, is never shown. `references` computes the success rates of the random search, of a
search with one step of look-ahead, and of the best possible one, exactly and for any number of thinking tokens.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from statistics import fmean
from typing import cast

from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.answers import split_thought
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.splits import SPLITS, TRAIN
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript

NAME = "exact_change"
VALUES = tuple(range(3, 13))
COINS = 4  # values in a problem
AMOUNTS = (15, 40)
SHOWN = 40  # thinking tokens after which a demonstration gives up
HELD_OUT = 8  # of this many sets of values, one belongs to the test split and one to the validation split
FAIL, NONE = "x", "none"
NUMBERS = frozenset(map(str, range(AMOUNTS[1] + 1)))
SYMBOLS = (*map(str, range(AMOUNTS[1] + 1)), *(f"-{value}" for value in VALUES), FAIL, NONE)


def split_of(values: Sequence[int]) -> str:
    """Returns the split of a set of coin values, the same for every amount."""
    return {0: "test", 1: "validation"}.get(seed_of(NAME, "values", *values) % HELD_OUT, "train")


@cache
def fewest_coins(amount: int, values: tuple[int, ...]) -> int | None:
    """Returns the least number of coins that pay `amount` exactly; None where none do."""
    if amount <= 0:
        return 0 if amount == 0 else None
    rest = [fewest_coins(amount - value, values) for value in values]
    return min((count + 1 for count in rest if count is not None), default=None)


def solution(amount: int, values: tuple[int, ...]) -> list[int]:
    """Returns the fewest coins that pay an amount which can be paid, in order of value."""
    coins: list[int] = []
    while amount:
        value = min(
            (v for v in values if fewest_coins(amount - v, values) is not None),
            key=lambda v: (cast("int", fewest_coins(amount - v, values)), v),
        )
        coins.append(value)
        amount -= value
    return sorted(coins)


def source(split: str, index: int, _level: int | None = None) -> Problem:
    """Returns a problem that can be solved, and not by a single coin."""
    random = random_of(NAME, split, index)
    wanted = split if split in SPLITS else TRAIN
    while True:
        values = tuple(sorted(random.sample(VALUES, COINS)))
        amount = random.randint(*AMOUNTS)
        if split_of(values) == wanted and fewest_coins(amount, values) is not None:
            break
    question = f"{amount} {' '.join(map(str, values))}"
    return Problem.ask(NAME, question.replace(" ", ","), f" {question}")


def terms_of(problem: Problem) -> tuple[int, tuple[int, ...]]:
    """Returns the amount and the coin values of a problem."""
    amount, *values = map(int, problem.key.split(","))
    return amount, tuple(values)


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Reward 1 where the answer after the thought lists coins of the given values whose sum is the amount."""
    amount, values = terms_of(problem)
    answer = split_thought(transcript.reply)[1]
    if answer is None or not 0 < len(words := answer.split()) <= AMOUNTS[1] or not set(words) <= NUMBERS:
        return Score.unparsed("no list of coins after the thought")
    coins = [int(word) for word in words]
    said = " ".join(map(str, sorted(coins)))
    if not set(coins) <= set(values):
        return Score.wrong(said, f"a coin is not one of {values}")
    if sum(coins) != amount:
        return Score.wrong(said, f"the coins sum to {sum(coins)}, not {amount}")
    return Score.right(said, f"the coins sum to {amount}")


def audit(problem: Problem, transcript: Transcript) -> Score:
    """Judges the same in another way: counts each coin value in the text after the last closing mark."""
    amount, *values = problem.key.split(",")
    said = transcript.reply.rpartition("</think>")[2].strip()
    if not re.fullmatch(r"\d{1,2}( \d{1,2})*", said):
        return Score.unparsed("not a list of numbers")
    counts = Counter(said.split(" "))
    paid = sum(int(value) * counts.pop(value, 0) for value in values)
    return Score.right(said) if not counts and paid == int(amount) else Score.wrong(said)


def mistakes(problem: Problem) -> Mapping[str, str]:
    """Returns answers that pay another amount, or with a coin that is not offered."""
    amount, values = terms_of(problem)
    coins = solution(amount, values)
    missing = next(value for value in range(1, VALUES[-1] + 2) if value not in values)
    return {
        "a coin is missing": " ".join(map(str, coins[1:])),
        "a coin too many": " ".join(map(str, (*coins, values[0]))),
        "coins of a value that is not offered": " ".join(map(str, [missing] * (amount // missing) or [missing])),
        "the amount itself": str(amount) if amount not in values else f"{amount} {amount}",
    }


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns the one random search shown for a problem, and the coins that it ended with; "none" where it gave up."""
    amount, values = terms_of(problem)
    random = random_of(NAME, "demonstration", problem.key)
    words: list[str] = []
    rest, paid = amount, list[int]()
    while rest and len(words) < SHOWN:
        value = random.choice(values)
        words.append(f"-{value}")
        if value > rest:
            words.append(FAIL)
            rest, paid = amount, []
        else:
            rest -= value
            paid.append(value)
            words.append(str(rest))
    return " ".join(words), NONE if rest else " ".join(map(str, paid))


# ------------------------------------------------------------------------------------------- searches of known success
Choice = Callable[[int, tuple[int, ...]], Sequence[int]]


def at_random(_rest: int, values: tuple[int, ...]) -> Sequence[int]:
    """Returns all values: the search of the demonstrations."""
    return values


def one_step_ahead(rest: int, values: tuple[int, ...]) -> Sequence[int]:
    """Returns the value that equals the rest; else those below it; else all."""
    return [rest] if rest in values else [value for value in values if value < rest] or values


def success(amount: int, values: tuple[int, ...], tokens: int, choice: Choice) -> list[float]:
    """Returns the chances that a search pays `amount` within 0, 1, … `tokens` thinking tokens.

    Args:
        amount: to be paid.
        values: of the coins.
        tokens: most thinking tokens; each coin takes two, one for the coin and one for the rest or the failure.
        choice: the values among which the search draws uniformly, given the rest.
    """

    @cache
    def chance(rest: int, coins: int) -> float:
        return fmean(after(rest - value, coins - 1) for value in choice(rest, values)) if coins else 0.0

    def after(rest: int, coins: int) -> float:
        return 1.0 if rest == 0 else chance(rest if rest > 0 else amount, coins)

    return [chance(amount, count // 2) for count in range(tokens + 1)]


def references(problem: Problem, tokens: int) -> Mapping[str, Sequence[float]]:
    """Returns the chances that known searches pay the amount within 0, 1, … `tokens` thinking tokens, by name."""
    amount, values = terms_of(problem)
    fewest = fewest_coins(amount, values)
    return {
        "random search": success(amount, values, tokens, at_random),
        "one step of look-ahead": success(amount, values, tokens, one_step_ahead),
        "best possible": [float(fewest is not None and 2 * fewest <= count) for count in range(tokens + 1)],
    }


LIMITS = (
    "Held-out problems share no set of coin values with training; every subtraction of a coin occurs in training.",
    "How a search is written down is shown in the warm start, with every coin chosen at random.",
    "Nothing is said about more coins, larger amounts or longer searches.",
)


def exact_change() -> Task:
    """Exact change: pay an amount exactly with coins of four values. No levels."""
    return Task(
        NAME,
        source,
        scorer,
        trusted=True,
        demonstration=demonstration,
        mistakes=mistakes,
        audit=audit,
        symbols=SYMBOLS,
        limits=LIMITS,
        splits=SPLITS,
        references=references,
    )
