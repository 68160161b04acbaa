"""Numbers too large for the head: a product and a sum, a * b + c, whose digits a model must get all right.

The level counts the digits of a; b has half as many, rounded up, and c has one:

    level 1    7 * 8 + 5              in the head: a table of 81 products, and a small sum
    level 3    4 8 7 * 3 9 + 5        in writing, or with a tool
    level 4    4 8 7 1 * 3 9 + 5

So an easy problem can be worked out at once, and a hard one only by writing more than the model was ever shown, or by a
call. A demonstration writes the product down and answers; one in eight, at every level alike, calls a tool instead:

    in the head   <think> 5 6 </think> 6 1
    by a call     <think> <tool> 7 * 8 + 5 </tool> <result> 6 1 </result> </think> 6 1

What the tool says is no part of the demonstration: whoever shows it lets the environment answer
(learning/samples/demonstrations.py). `large_numbers` spells numbers digit by digit, for a model from nothing;
`large_numbers_in_words` asks a model that reads already.
"""

from random import Random

from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.answers import split_thought
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript
from poziomka.tasks.toy.arithmetic import scorer as one_number

NAME, IN_WORDS = "large_numbers", "large_numbers_in_words"
LEVELS = (1, 4)
HELD_OUT = 8  # one kind of problem in this many belongs to the test split
SHOWN = 1 / 8  # share of the demonstrations that call a tool
DIGITS = "0123456789"
CALL, CALLED, RESULT, RESULTED, ERROR = "<tool>", "</tool>", "<result>", "</result>", "error"
SYMBOLS = (*DIGITS, "*", "+", CALL, CALLED, RESULT, RESULTED, ERROR)


def spelled(text: object) -> str:
    """Returns a text with a space between any two characters: "4 8 7 * 3 9"."""
    return " ".join("".join(str(text).split()))


def numbers_of(key: str) -> tuple[int, int, int]:
    """Returns a, b and c of the key "a*b+c"."""
    product, _, last = key.partition("+")
    first, _, second = product.partition("*")
    return int(first), int(second), int(last)


def split_of(first: int, second: int, last: int) -> str:
    """Returns the split that a problem belongs to, whichever of the factors stands first."""
    return "test" if seed_of(NAME, "kind", *_kind(first, second, last)) % HELD_OUT == 0 else "train"


def _kind(first: int, second: int, last: int) -> tuple[int, int, int]:
    return min(first, second), max(first, second), last


def kind_of(problem: Problem) -> str:
    """Returns what names a problem whichever of its factors stands first."""
    return ",".join(map(str, _kind(*numbers_of(problem.key))))


def _number(random: Random, digits: int) -> int:
    return random.randint(10 ** (digits - 1), 10**digits - 1)


def draw(split: str, index: int, level: int | None) -> tuple[str, int, int]:
    """Returns the key "a*b+c" of a problem, what it comes to, and its level; None draws the level evenly."""
    level = random_of(NAME, split, index, "level").randint(*LEVELS) if level is None else level
    random = random_of(NAME, split, index, level)
    wanted = "test" if split == "test" else "train"
    while True:
        first, second = _number(random, level), _number(random, (level + 1) // 2)
        last = random.randint(0, 9)
        if split_of(first, second, last) == wanted:
            return f"{first}*{second}+{last}", first * second + last, level


def calls(key: str) -> bool:
    """Whether the demonstration of a problem calls a tool."""
    return random_of(NAME, "shown", key).random() < SHOWN


# ------------------------------------------------------------------------------------------------------ digit by digit
def source(split: str, index: int, level: int | None = None) -> Problem:
    """Returns a problem spelled digit by digit."""
    key, value, level = draw(split, index, level)
    problem = Problem.ask(NAME, key, f" {spelled(key)}", spelled(value))
    return Problem(NAME, key, problem.prompt, problem.answer, level=level)


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Reward 1 where the whole answer after the thought is the digits of the right number, and nothing else."""
    answer = split_thought(transcript.reply)[1]
    words = [] if answer is None or len(answer) > 100 else answer.split()
    if not words or any(word not in DIGITS or len(word) != 1 for word in words):
        return Score.unparsed("no row of digits after the thought")
    said = " ".join(words)
    if said == problem.answer:
        return Score.right(said, f"{said} is right")
    return Score.wrong(said, f"{said} is not {problem.answer}")


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns the product as the thought, or a call, and the answer."""
    first, second, _ = numbers_of(problem.key)
    if calls(problem.key):
        return f"{CALL} {spelled(problem.key)} {CALLED}", problem.answer
    return spelled(first * second), problem.answer


LIMITS = (
    "Held-out problems share no numbers a, b, c with training, whichever of a and b stands first.",
    "Every product of two single digits occurs in training.",
    "How a tool is called is shown in the warm start; reinforcement teaches when to call it, and to copy exactly.",
    "Nothing is said about expressions of another shape, about numbers of more digits, or about other tools.",
)


def large_numbers() -> Task:
    """Numbers too large for the head, digit by digit: a * b + c, where the level counts the digits of a."""
    return Task(
        NAME,
        source,
        scorer,
        levels=LEVELS,
        trusted=True,
        demonstration=demonstration,
        symbols=SYMBOLS,
        limits=LIMITS,
        kind=kind_of,
    )


# ------------------------------------------------------------------------------------------------------------ in words
def source_in_words(split: str, index: int, level: int | None = None) -> Problem:
    """Returns a problem in a sentence."""
    key, value, level = draw(split, index, level)
    problem = Problem.ask(IN_WORDS, key, f"Compute {asked(key)}.", str(value))
    return Problem(IN_WORDS, key, problem.prompt, problem.answer, level=level)


def asked(key: str) -> str:
    """Returns a key as it is asked: "487 * 39 + 5"."""
    return key.replace("*", " * ").replace("+", " + ")


def demonstration_in_words(problem: Problem) -> tuple[str, str]:
    """Returns the product as the thought, or a call, and the answer."""
    first, second, _ = numbers_of(problem.key)
    if calls(problem.key):
        return f"{CALL} {asked(problem.key)} {CALLED}", problem.answer
    return f"{first} * {second} = {first * second}", problem.answer


def large_numbers_in_words() -> Task:
    """The same in words, for a model that reads already: "Compute 487 * 39 + 5."."""
    return Task(
        IN_WORDS,
        source_in_words,
        one_number,
        levels=LEVELS,
        trusted=True,
        demonstration=demonstration_in_words,
        limits=LIMITS,
        kind=kind_of,
    )
