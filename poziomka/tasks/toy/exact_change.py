"""Exact change: pay an amount exactly with coins of four values, by a search inside the thought.

The prompt has the amount and the values, `31 4 7 9 12`. The thought pays coins one by one, each followed by the
remainder, and restarts after "x" if a coin is larger than the remainder:

    <think> -12 19 -7 12 -9 3 -4 x -7 24 -12 12 -12 0 </think> 7 12 12

Demonstrations choose every coin uniformly at random. They never show a better search, which takes the coin that equals
the remainder and avoids remainders that no coins can pay. `references` computes the exact success rates of random
search, of search with one step of look-ahead, and of the best possible search, for any number of thinking tokens;
`exact_value` computes them from any point of a thought.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import zip_longest
from statistics import fmean
from typing import cast

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.splits import SPLITS, TRAIN
from poziomka.core.task import Task
from poziomka.core.transcript import CLOSE, THINK, Stop, Transcript

NAME = "exact_change"
VALUES = tuple(range(3, 13))
COINS = 4  # coin values in a problem
AMOUNTS = (15, 40)
SHOWN = 40  # thinking tokens after which a demonstration gives up
HELD_OUT = 8  # of this many sets of values, one belongs to the test split and one to the validation split
FAIL, NONE = "x", "none"
NUMBERS = frozenset(map(str, range(AMOUNTS[1] + 1)))
SYMBOLS = (*map(str, range(AMOUNTS[1] + 1)), *(f"-{value}" for value in VALUES), FAIL, NONE)


def split_of(values: Sequence[int]) -> str:
    """Returns the split of a set of coin values, "train", "validation" or "test", the same for every amount."""
    return {0: "test", 1: "validation"}.get(seed_of(NAME, "values", *values) % HELD_OUT, "train")


@cache
def fewest_coins(amount: int, values: tuple[int, ...]) -> int | None:
    """Returns the minimal number of coins that pay `amount` exactly; None if it cannot be paid."""
    if amount <= 0:
        return 0 if amount == 0 else None
    rest = [fewest_coins(amount - value, values) for value in values]
    return min((count + 1 for count in rest if count is not None), default=None)


def solution(amount: int, values: tuple[int, ...]) -> list[int]:
    """Returns the fewest coins that pay a payable amount, sorted by value."""
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
    """Returns a solvable problem (a task's source); no two splits share a set of coin values."""
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


def read(transcript: Transcript) -> str | None:
    """Returns the coins of the answer after the thought, sorted by value; None if it is no list of coins."""
    words = transcript.answer.split()
    if not 0 < len(words) <= AMOUNTS[1] or not set(words) <= NUMBERS:
        return None
    return " ".join(sorted(words, key=int))


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 if the answer after the thought lists coins of the given values that sum to the amount."""
    amount, values = terms_of(problem)
    said = read(transcript)
    if said is None:
        return Score.unparsed("no list of coins in the answer")
    coins = [int(word) for word in said.split()]
    if not set(coins) <= set(values):
        return Score.wrong(said, f"a coin is not one of {values}")
    if sum(coins) != amount:
        return Score.wrong(said, f"the coins sum to {sum(coins)}, not {amount}")
    return Score.right(said, f"the coins sum to {amount}")


def audit(problem: Problem, transcript: Transcript) -> Score:
    """Returns a second score, independent of `scorer`: counts each coin value in the text after the closing tag."""
    amount, *values = problem.key.split(",")
    said = transcript.reply.rpartition("</think>")[2].strip()
    if not re.fullmatch(r"\d{1,2}( \d{1,2})*", said):
        return Score.unparsed("not a list of numbers")
    counts = Counter(said.split(" "))
    paid = sum(int(value) * counts.pop(value, 0) for value in values)
    return Score.right(said) if not counts and paid == int(amount) else Score.wrong(said)


def mistakes(problem: Problem) -> Mapping[str, str]:
    """Returns wrong answers, keyed by the fault: they pay another amount or use a coin value that is not given."""
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
    """Returns a random search as the thought, the same on every call, and the coins that it ended with as the answer.

    The answer is "none" if the search did not reach the amount within 40 thinking tokens.
    """
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


# ---------------------------------------------------------------------------------- searches with known success rates
Choice = Callable[[int, tuple[int, ...]], Sequence[int]]
Chance = Callable[[int, int], float]


def at_random(_rest: int, values: tuple[int, ...]) -> Sequence[int]:
    """Returns all coin values, whatever the remainder: the choice in the demonstrations' random search."""
    return values


def one_step_ahead(rest: int, values: tuple[int, ...]) -> Sequence[int]:
    """Returns the coin values that a search with one step of look-ahead chooses from, for a remainder.

    This is the value equal to the remainder; otherwise the values below it; otherwise all values.
    """
    return [rest] if rest in values else [value for value in values if value < rest] or values


# Each search: the coins that it chooses from, and its success from the successes after each: their mean, or the best.
SEARCHES: Mapping[str, tuple[Choice, Callable[[Iterable[float]], float]]] = {
    "random search": (at_random, fmean),
    "one step of look-ahead": (one_step_ahead, fmean),
    "best possible": (at_random, max),
}


@lru_cache(1024)
def success(amount: int, values: tuple[int, ...], search: str) -> Chance:
    """Returns the probability that a search pays `amount`, as a function of where it is: chance(rest, coins).

    `rest` is the remainder after the last coin, negative if the coin was larger, and `coins` the number of coins that
    can still be chosen. The probabilities are exact, by dynamic programming over both.

    Args:
        amount: amount to pay.
        values: coin values.
        search: a key of SEARCHES.
    """
    choice, of = SEARCHES[search]

    @cache
    def chance(rest: int, coins: int) -> float:
        if rest == 0:
            return 1.0
        here = rest if rest > 0 else amount
        return of(chance(here - value, coins - 1) for value in choice(here, values)) if coins else 0.0

    return chance


def references(problem: Problem, tokens: int) -> Mapping[str, Sequence[float]]:
    """Returns the probabilities that known searches succeed within 0, 1, … `tokens` thinking tokens.

    They are keyed by the name of the search: random, with one step of look-ahead, and the best possible. A coin takes
    two tokens, one for the coin and one for the remainder or the failure.
    """
    amount, values = terms_of(problem)
    return {
        name: [success(amount, values, name)(amount, count // 2) for count in range(tokens + 1)] for name in SEARCHES
    }


def exact_value(problem: Problem, transcript: Transcript, tokens: int, search: str = "best possible") -> float:
    """Returns the exact probability that a reply is right if a known search continues its thought.

    It reads the problem and no solution. A complete reply has the value 1 if the scorer accepts it, a closed thought if
    it ended at the amount. A try with a wrong remainder, or with a word that no search writes, has the value 0 until
    it starts over.

    Args:
        problem: problem that is attempted.
        transcript: prompt with a reply, or with its beginning.
        tokens: number of thinking tokens after which the thought is closed.
        search: a key of SEARCHES, the search that continues the thought.
    """
    if transcript.stop is Stop.END:
        return float(scorer(problem, transcript).correct)
    amount, values = terms_of(problem)
    thought, closed, _ = transcript.reply.replace(THINK, "").partition(CLOSE)
    words = thought.split()
    rest: int | None = amount
    for coin, after in zip_longest(words[::2], words[1::2]):
        rest = _paid(amount, values, rest, coin)
        if after == FAIL:
            rest = -1
        elif rest is not None and after not in (None, str(rest) if rest >= 0 else FAIL):
            rest = None
    if rest is None:
        return 0.0
    left = 0 if closed else max(tokens // 2 - (len(words) + 1) // 2, 0)
    return success(amount, values, search)(rest, left)


def _paid(amount: int, values: Sequence[int], rest: int | None, coin: str) -> int | None:
    """Returns the remainder after a written coin; None if the try is lost, or the word is no coin of the problem."""
    if rest is None or coin not in {f"-{value}" for value in values}:
        return None
    return (rest if rest > 0 else amount) + int(coin)


LIMITS = (
    "Held-out problems share no set of coin values with training; every subtraction of a coin occurs in training.",
    "How a search is written down is shown in the warm start, with every coin chosen at random.",
    "Nothing is said about more coins, larger amounts or longer searches.",
)


def exact_change() -> Task:
    """Task of paying an amount exactly with coins of four values; many answers are right. No levels."""
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
        read=read,
    )
