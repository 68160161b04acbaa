"""Arithmetic in plain words, for pretrained models: the level of a problem is its number of steps.

Each family has a prompt of one short sentence and a thought with one line (or one word) per step, in the form that is
easiest to copy from: every line begins with the result of the line before. No number occurs twice in a chain, so the
next line is never ambiguous. The results of chains are from 0 to 99.

Numbers of tokens with SmolLM2's vocabulary, which has one token per digit; means over 200 problems, prompt without the
chat template, thought without its opening and closing tags, at the lowest, the middle and the highest level:

    family     levels     prompt          thought
    sums       2 6 10      8  22  36       9  50  91
    small_sums 2 4 7       7  13  22       7  25  52
    products   3 5 8      11  18  28      18  39  70
    letters    4 17 30    10  23  36       8  34  65
    gcd        1 3 5      13  14  15      13  40  70
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.answers import read_number
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript

HELD_OUT = 8  # one kind of problem in this many belongs to the test split
BOUND = 99  # largest running total of a chain
SMALL_BOUND = 20  # largest running total of small_sums
LARGEST = 999  # largest number in a problem of gcd
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Family:
    """A family of problems of one form, each determined by a key, a string that is also the problem's key.

    Attributes:
        draw: returns the key of a random problem of a level.
        ask: returns the question for a key.
        solve: returns the written-out thought and the answer for a key.
        kind: returns a property of a key that no two splits share.
    """

    draw: Callable[[Random, int], str]
    ask: Callable[[str], str]
    solve: Callable[[str], tuple[str, str]]
    kind: Callable[[str], str]

    def task(self, name: str, levels: tuple[int, int], limits: tuple[str, ...]) -> Task:
        """Returns the task of this family.

        Args:
            name: name of the task.
            levels: lowest and highest level; a problem drawn without a given level has each level with equal
                probability.
            limits: sentences about limitations of results on this task, in addition to those of all families.
        """

        def source(split: str, index: int, level: int | None = None) -> Problem:
            drawn = random_of(name, split, index, "level").randint(*levels) if level is None else level
            random = random_of(name, split, index, drawn)
            while True:
                key = self.draw(random, drawn)
                held_out = seed_of(name, "kind", self.kind(key)) % HELD_OUT == 0
                if held_out == (split == "test"):
                    break
            return Problem(self.ask(key), self.solve(key)[1], task=name, key=key, level=drawn)

        def demonstration(problem: Problem) -> tuple[str, str]:
            return self.solve(problem.key)

        return Task(
            name,
            source,
            scorer,
            levels=levels,
            trusted=True,
            demonstration=demonstration,
            limits=(*limits, *LIMITS),
            kind=lambda problem: self.kind(problem.key),
            read=read,
        )


def read(transcript: Transcript) -> str | None:
    """Returns the only number of the answer after the thought; None if there is none, or several."""
    return read_number(transcript.reply, transcript.question)


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 if the only number of the answer after the thought is the right one."""
    value = read_number(transcript.reply, problem.prompt[-1].content)
    if value is None:
        return Score.unparsed("no single number in the answer")
    if value == problem.answer:
        return Score.right(value, f"{value} is right")
    return Score.wrong(value, f"{value} is not {problem.answer}")


# ---------------------------------------------------------------------------------------------------------- chains
def _number(random: Random) -> int:
    """Returns a random number of one digit (1 to 9) or of two, with equal probability."""
    return random.randint(1, 9) if random.random() < 0.5 else random.randint(10, 99)


def _small(random: Random) -> int:
    """Returns a random number of one digit, 1 to 9."""
    return random.randint(1, 9)


def _chain(
    random: Random, terms: int, number: Callable[[Random], int], product: int | None = None, bound: int = BOUND
) -> str:
    """Returns a random sum such as "12 + 5 - 9" of different terms, with running totals from 0 to `bound`.

    Args:
        random: source of randomness.
        terms: number of terms.
        number: draws a term.
        product: place, from 0, of a term that is a product of two digits; `product=None` for none.
        bound: largest running total.
    """
    words: list[str] = []
    factors = random.sample(range(2, 10), 2)
    used = set() if product is None else {*factors, factors[0] * factors[1]}
    total = 0
    while len(words) < 2 * terms:
        here = product is not None and len(words) == 2 * product
        value = factors[0] * factors[1] if here else number(random)
        after = {sign: total + value if sign == "+" else total - value for sign in ("+-" if words else "+")}
        allowed = [sign for sign in after if 0 <= after[sign] <= bound]
        if here and not allowed:
            return _chain(random, terms, number, product, bound)  # the product would leave the bounds: start again
        if not allowed or (not here and value in used):
            continue
        sign = random.choice(allowed)
        words += [sign, f"{factors[0]} * {factors[1]}" if here else str(value)]
        total = after[sign]
        used.add(value)
    return " ".join(words[1:])


def _solve_chain(key: str) -> tuple[str, str]:
    """Returns the thought and the answer of a chain.

    The thought has one line per step: the product, if there is one, and then each running total.
    """
    lines = []
    words = key.split()
    if "*" in words:
        place = words.index("*")
        left, right = int(words[place - 1]), int(words[place + 1])
        lines.append(f"{left} * {right} = {left * right}")
        words[place - 1 : place + 2] = [str(left * right)]
    total = int(words[0])
    for sign, word in zip(words[1::2], words[2::2], strict=True):
        after = total + int(word) if sign == "+" else total - int(word)
        lines.append(f"{total} {sign} {word} = {after}")
        total = after
    return "\n".join(lines), str(total)


CHAIN = Family(
    draw=lambda random, level: _chain(random, level, _number),
    ask=lambda key: f"Compute {key}.",
    solve=_solve_chain,
    kind=lambda key: ",".join(sorted(word for word in key.split() if word.isdigit())),
)
SMALL = replace(
    CHAIN,
    draw=lambda random, level: _chain(random, level, _small, bound=SMALL_BOUND),
    kind=lambda key: ",".join(word for word in key.split() if word.isdigit()),
)
PRODUCT = replace(CHAIN, draw=lambda random, level: _chain(random, level - 1, _number, random.randrange(level - 1)))


def sums() -> Task:
    """Task of computing chains of + and - over numbers of up to two digits; the level, 2 to 10, counts them."""
    return CHAIN.task("sums", (2, 10), ("Held-out problems share no set of numbers with training.",))


def small_sums() -> Task:
    """Task of computing chains of + and - over different digits, up to 20; the level, 2 to 7, counts the digits."""
    return SMALL.task("small_sums", (2, 7), ("Held-out problems share no row of digits with training, signs aside.",))


def products() -> Task:
    """Task of computing chains of + and - with one product of two digits, which comes first in the thought.

    The level, 3 to 8, counts the numbers.
    """
    limits = ("There are 28 products of two different digits, and all of them occur in training.",)
    return PRODUCT.task("products", (3, 8), ("Held-out problems share no set of numbers with training.", *limits))


# --------------------------------------------------------------------------------------------------------- letters
def _draw_letters(random: Random, level: int) -> str:
    """Returns a random key such as "e:reder": the letter to count, and `level` letters, a third of them that one."""
    wanted = random.choice(LETTERS)
    return f"{wanted}:{''.join(wanted if random.random() < 1 / 3 else random.choice(LETTERS) for _ in range(level))}"


def _solve_letters(key: str) -> tuple[str, str]:
    """Returns the thought (each letter with the count so far, "r0 e1 d1") and the answer."""
    wanted, row = key.split(":")
    counts = [row[: place + 1].count(wanted) for place in range(len(row))]
    return " ".join(f"{letter}{count}" for letter, count in zip(row, counts, strict=True)), str(counts[-1])


def _ask_letters(key: str) -> str:
    wanted, row = key.split(":")
    return f"Count the letter {wanted} in: {' '.join(row)}"


def letters() -> Task:
    """Task of counting a letter in a row of letters; the level, 4 to 30, counts the letters of the row."""
    family = Family(_draw_letters, _ask_letters, _solve_letters, lambda key: "".join(sorted(key)))
    limits = (
        "A guess of a third of the row's length is often right, so compare with what the model answers at once.",
        "Held-out rows are no rearrangement of a row of training.",
    )
    return family.task("letters", (4, 30), limits)


# ------------------------------------------------------------------------------------------------------------- gcd
def _draw_gcd(random: Random, level: int) -> str:
    """Returns a random key "84,36": two numbers for which Euclid's algorithm takes `level` divisions.

    They are drawn by their quotients.
    """
    largest = {1: 40, 2: 9}.get(level, 4)  # largest quotient: larger ones would leave only small divisors
    while True:
        small, divided = 0, random.randint(2, 20)
        for division in range(level):
            small, divided = divided, random.randint(2 if division == 0 else 1, largest) * divided + small
        if divided <= LARGEST:
            return f"{divided},{small}"


def _solve_gcd(key: str) -> tuple[str, str]:
    """Returns the thought (the divisions of Euclid's algorithm, one per line, down to remainder 0) and the answer."""
    large, small = map(int, key.split(","))
    lines = []
    while small:
        lines.append(f"{large} = {large // small} * {small} + {large % small}")
        large, small = small, large % small
    return "\n".join(lines), str(large)


def _kind_gcd(key: str) -> str:
    large, small = map(int, key.split(","))
    divisor = int(_solve_gcd(key)[1])
    return f"{large // divisor}/{small // divisor}"


def gcd() -> Task:
    """Task of computing the greatest common divisor of two numbers; the level, 1 to 5, counts Euclid's divisions."""
    family = Family(_draw_gcd, lambda key: f"Compute the gcd of {key.replace(',', ' and ')}.", _solve_gcd, _kind_gcd)
    limits = (
        "Small answers are frequent, so some guesses are right: compare with what the model answers at once.",
        "Held-out pairs are no multiple of a pair of training.",
    )
    return family.task("gcd", (1, 5), limits)


LIMITS = (
    "Every kind of step of a held-out problem occurs in training; what is held out is how they are put together.",
    "The form of the thought is shown in the warm start: reinforcement teaches when to use it, and exactness.",
    "Nothing is said about more steps than the highest level has.",
)
