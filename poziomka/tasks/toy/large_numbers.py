"""Multiplication too large for one step: a * b + c, where every digit of the result must be right.

The level is the number of digits of a; b has half as many, rounded up, and c has one:

    level 1    7 * 8 + 5              in one step: a table of 81 products, and a small sum
    level 3    4 8 7 * 3 9 + 5        by long multiplication, or with a tool
    level 4    4 8 7 1 * 3 9 + 5

An easy problem needs no written steps; a hard one needs more of them than any demonstration shows, or a tool call. A
demonstration writes the product and answers; one in eight, at every level alike, calls a tool instead:

    direct        <think> 5 6 </think> 6 1
    by a call     <think> <tool> 7 * 8 + 5 </tool> <result> 6 1 </result> </think> 6 1

A demonstration has no tool results: `learning/samples/demonstrations.py` gets them from the environment.
`large_numbers` has one symbol per digit, for a model that is trained from scratch; `large_numbers_in_words` has prompts
in words, for pretrained models.
"""

from random import Random

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript
from poziomka.tasks.toy.arithmetic import read as read_one_number
from poziomka.tasks.toy.arithmetic import scorer as one_number

NAME, IN_WORDS = "large_numbers", "large_numbers_in_words"
LEVELS = (1, 4)
HELD_OUT = 8  # one kind of problem in this many belongs to the test split
SHOWN = 1 / 8  # fraction of the demonstrations that call a tool
DIGITS = "0123456789"
CALL, CALLED, RESULT, RESULTED, ERROR = "<tool>", "</tool>", "<result>", "</result>", "error"
SYMBOLS = (*DIGITS, "*", "+", CALL, CALLED, RESULT, RESULTED, ERROR)


def spelled(text: object) -> str:
    """Returns a text with a space between its characters: "4 8 7 * 3 9"."""
    return " ".join("".join(str(text).split()))


def numbers_of(key: str) -> tuple[int, int, int]:
    """Parses the key "a*b+c" into a, b and c."""
    product, _, last = key.partition("+")
    first, _, second = product.partition("*")
    return int(first), int(second), int(last)


def split_of(first: int, second: int, last: int) -> str:
    """Returns the split of a problem a * b + c, "train" or "test", the same if a and b are exchanged."""
    return "test" if seed_of(NAME, "kind", *_kind(first, second, last)) % HELD_OUT == 0 else "train"


def _kind(first: int, second: int, last: int) -> tuple[int, int, int]:
    return min(first, second), max(first, second), last


def kind_of(problem: Problem) -> str:
    """Returns a problem's numbers as text, the smaller factor first, so that exchanged factors give the same text."""
    return ",".join(map(str, _kind(*numbers_of(problem.key))))


def _number(random: Random, digits: int) -> int:
    return random.randint(10 ** (digits - 1), 10**digits - 1)


def draw(split: str, index: int, level: int | None) -> tuple[str, int, int]:
    """Returns the key "a*b+c" of a random problem, its value and its level; `level=None` draws one from 1 to 4."""
    level = random_of(NAME, split, index, "level").randint(*LEVELS) if level is None else level
    random = random_of(NAME, split, index, level)
    wanted = "test" if split == "test" else "train"
    while True:
        first, second = _number(random, level), _number(random, (level + 1) // 2)
        last = random.randint(0, 9)
        if split_of(first, second, last) == wanted:
            return f"{first}*{second}+{last}", first * second + last, level


def calls(key: str) -> bool:
    """Whether the demonstration of the problem with this key calls a tool; true for one in eight."""
    return random_of(NAME, "shown", key).random() < SHOWN


# ------------------------------------------------------------------------------------------------------ digit by digit
def source(split: str, index: int, level: int | None = None) -> Problem:
    """Returns a problem with one symbol per digit, " 4 8 7 * 3 9 + 5" (a task's source)."""
    key, value, level = draw(split, index, level)
    problem = Problem.ask(NAME, key, f" {spelled(key)}", spelled(value))
    return Problem(problem.prompt, problem.answer, task=NAME, key=key, level=level)


def read(transcript: Transcript) -> str | None:
    """Returns the whole answer after the thought, with a space between its digits; None if it is no row of digits."""
    answer = transcript.answer
    words = [] if len(answer) > 100 else answer.split()
    unread = not words or any(word not in DIGITS or len(word) != 1 for word in words)
    return None if unread else " ".join(words)


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 if the whole answer after the thought is the right number, with a space between its digits."""
    said = read(transcript)
    if said is None:
        return Score.unparsed("no row of digits in the answer")
    if said == problem.answer:
        return Score.right(said, f"{said} is right")
    return Score.wrong(said, f"{said} is not {problem.answer}")


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns a thought, the product or a tool call, and the answer, with a space between all digits."""
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
    """Task of computing a * b + c, digit by digit or with a tool; the level, 1 to 4, counts the digits of a."""
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
        read=read,
    )


# ------------------------------------------------------------------------------------------------------------ in words
def source_in_words(split: str, index: int, level: int | None = None) -> Problem:
    """Returns a problem in a sentence, "Compute 487 * 39 + 5." (a task's source)."""
    key, value, level = draw(split, index, level)
    problem = Problem.ask(IN_WORDS, key, f"Compute {asked(key)}.", str(value))
    return Problem(problem.prompt, problem.answer, task=IN_WORDS, key=key, level=level)


def asked(key: str) -> str:
    """Returns a key "487*39+5" in the format of the prompt: "487 * 39 + 5"."""
    return key.replace("*", " * ").replace("+", " + ")


def demonstration_in_words(problem: Problem) -> tuple[str, str]:
    """Returns a thought, the product or a tool call, and the answer, with numbers as usual."""
    first, second, _ = numbers_of(problem.key)
    if calls(problem.key):
        return f"{CALL} {asked(problem.key)} {CALLED}", problem.answer
    return f"{first} * {second} = {first * second}", problem.answer


def large_numbers_in_words() -> Task:
    """Task with the problems of large_numbers in words, for pretrained models: "Compute 487 * 39 + 5."."""
    return Task(
        IN_WORDS,
        source_in_words,
        one_number,
        levels=LEVELS,
        trusted=True,
        demonstration=demonstration_in_words,
        limits=LIMITS,
        kind=kind_of,
        read=read_one_number,
    )
