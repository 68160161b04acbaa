"""The recurrence: two numbers, each next one their sum modulo 32; which is the k-th?

The task is sequential: the answer at k needs k steps, so thinking pays, and the required length of a thought is known.
A step is a table of 1,024 entries, which a small network can memorize; reinforcement learning can teach when to think,
and exactness.

The prompt is "a b k". A thought repeats the two numbers and continues, each number with a counter of the steps left:
"a k+1 b k x1 k-1 x2 k-2 … xk 0", with counters written k31 … k0. The repetition makes the first step look like any
other. Without it, a network may memorize first steps pair by pair and fail on held-out pairs.
"""

from dataclasses import replace

from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.answers import read_integer
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript

MODULUS = 32
LONGEST = 30  # steps of the hardest problem; its thought has 64 tokens
HELD_OUT = 8  # one (a, b) pair in this many belongs to the test split
SYMBOLS = [*(str(number) for number in range(MODULUS)), *(f"k{count}" for count in range(LONGEST + 2))]


def terms(first: int, second: int, count: int) -> list[int]:
    """Returns the next `count` numbers of the recurrence after the first two, each the sum of two modulo 32."""
    numbers = [first, second]
    for _ in range(count):
        numbers.append((numbers[-2] + numbers[-1]) % MODULUS)
    return numbers[2:]


def split_of(first: int, second: int) -> str:
    """Returns the split, "train" or "test", of the recurrence that starts with two numbers, whichever term is asked."""
    return "test" if seed_of("recurrence", "pair", first, second) % HELD_OUT == 0 else "train"


def source(split: str, index: int, level: int | None = None) -> Problem:
    """Returns a problem (a task's source); `level` is k, and `level=None` draws it log-uniformly from 2 to 30."""
    random = random_of("recurrence", split, index)
    wanted = "test" if split == "test" else "train"
    while True:
        first, second = random.randrange(MODULUS), random.randrange(MODULUS)
        if split_of(first, second) == wanted:
            break
    count = min(LONGEST, int(2 * (LONGEST / 2 + 0.5) ** random.random())) if level is None else level
    answer = str(terms(first, second, count)[-1])
    key = f"{first},{second},{count}"
    problem = Problem.ask("recurrence", key, f" {first} {second} k{count}", answer, first=first, second=second)
    return replace(problem, key=key, answer=answer, level=count)


def read(transcript: Transcript) -> str | None:
    """Returns the integer that is the whole answer after the thought; None if it is anything else."""
    value = read_integer(transcript.reply)
    return None if value is None else str(value)


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 if the whole answer after the thought is the k-th number of the problem's recurrence."""
    value = read(transcript)
    if value is None:
        return Score.unparsed("no single number in the answer")
    if value == problem.answer:
        return Score.right(value, f"{value} is number {problem.level}")
    return Score.wrong(value, f"{value} is not {problem.answer}, number {problem.level}")


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns the thought, all numbers with a counter of the steps left, and the answer."""
    first, second, count = (int(part) for part in problem.key.split(","))
    numbers = [first, second, *terms(first, second, count)]
    thought = " ".join(f"{number} k{count + 1 - place}" for place, number in enumerate(numbers))
    return thought, problem.answer


LIMITS = (
    "A step of the recurrence is a table of 1,024 entries that the network learns by heart in the warm start.",
    "What reinforcement teaches is when to think, and exactness over many steps; it discovers no new skill.",
    "Held-out problems share no pair (a, b) with training, but every step of their solution occurs in training.",
    "Nothing is said about more steps than the 30 that training covers: the counters end there.",
    "Majority voting cannot do well here: a short thought cannot reach the answer, however often it is repeated.",
)


def recurrence() -> Task:
    """Task of finding the k-th number after two given ones, each the sum of the last two modulo 32; the level is k."""
    return Task(
        "recurrence",
        source,
        scorer,
        levels=(1, LONGEST),
        trusted=True,
        demonstration=demonstration,
        symbols=tuple(SYMBOLS),
        limits=LIMITS,
        kind=lambda problem: problem.key.rpartition(",")[0],  # the pair (a, b)
        read=read,
    )
