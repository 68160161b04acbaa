"""Countdown: reach a target with each of three numbers once, by +, - and ×. Many answers are right.

Checking an attempt is easier than making one, so a model gains by guessing and checking, and accuracy rises with the
number of attempts (e3, arXiv 2506.09026). Each whole number is one symbol, so arithmetic is a lookup table; the harder
variant with one symbol per digit is not this task.

The prompt is "7 12 3 > 33". An attempt is "12 - 7 = 5 , 5 * 3 = 15". In the thought, a failed attempt is followed by
"x" and "|", and a successful one by "ok"; the answer repeats the last attempt. Only the answer is scored, by
recomputing its arithmetic; the contents of the thought have no effect on the reward.
"""

from collections.abc import Sequence
from functools import cache
from itertools import permutations
from random import Random
from typing import cast

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript, split_thought

LARGEST = 12  # largest given number
TARGETS = range(10, 41)
BOUND = 99  # largest intermediate result
OPERATORS = ("+", "-", "*")
HELD_OUT = 8  # one problem in this many belongs to the test split
MOST_ATTEMPTS = 32  # attempts in a demonstration
SYMBOLS = [*(str(number) for number in range(BOUND + 1)), *OPERATORS, "=", ",", "|", ">", "ok", "x"]

Step = tuple[int, str, int, int]  # left, operator, right, result


def apply(left: int, operator: str, right: int) -> int:
    """Returns the result of `left operator right`."""
    return left + right if operator == "+" else left - right if operator == "-" else left * right


def moves(numbers: tuple[int, ...]) -> list[tuple[Step, tuple[int, ...]]]:
    """Returns the legal steps from some numbers, each with the numbers that are left after it.

    A step is (left, operator, right, result); the larger operand comes first, and the result is from 0 to 99.
    """
    found = []
    for i, j in permutations(range(len(numbers)), 2):
        left, right = numbers[i], numbers[j]
        if left < right or (left == right and i > j):
            continue
        rest = tuple(number for place, number in enumerate(numbers) if place not in (i, j))
        for operator in OPERATORS:
            result = apply(left, operator, right)
            if 0 <= result <= BOUND:
                found.append(((left, operator, right, result), (*rest, result)))
    return found


@cache
def reachable(numbers: tuple[int, ...]) -> frozenset[int]:
    """Returns the numbers that can be the final result of combining all of the given numbers, a sorted tuple."""
    if len(numbers) == 1:
        return frozenset(numbers)
    return frozenset().union(*(reachable(tuple(sorted(rest))) for _, rest in moves(numbers)))


def attempt(numbers: tuple[int, ...], random: Random) -> list[Step]:
    """Returns random legal steps that combine all numbers into one, each drawn uniformly."""
    steps = []
    while len(numbers) > 1:
        step, numbers = random.choice(moves(numbers))
        steps.append(step)
    return steps


def spell(steps: list[Step]) -> str:
    """Returns steps as text: "12 - 7 = 5 , 5 * 3 = 15"."""
    return " , ".join(f"{left} {operator} {right} = {result}" for left, operator, right, result in steps)


def source(split: str, index: int, level: int | None = None) -> Problem:  # noqa: ARG001 the task has no levels
    """Returns a solvable problem (a task's source); no two splits share the three numbers together with the target."""
    random = random_of("countdown", split, index)
    wanted = "test" if split == "test" else "train"
    while True:
        numbers = tuple(random.randint(1, LARGEST) for _ in range(3))
        target = random.choice(TARGETS)
        key = f"{','.join(map(str, sorted(numbers)))}>{target}"
        held_out = seed_of("countdown", "instance", key) % HELD_OUT == 0
        if (wanted == "test") == held_out and target in reachable(tuple(sorted(numbers))):
            break
    question = f" {' '.join(map(str, numbers))} > {target}"
    return Problem.ask("countdown", key, question, numbers=list(numbers), target=target, index=index)


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 if the answer's two steps use each number once, are computed correctly and end at the target."""
    answer = split_thought(transcript.reply)[1]
    if answer is None:
        return Score.unparsed("the thought never ended")
    steps = _parse(answer)
    if steps is None:
        return Score.unparsed("the answer is not two steps a o b = c")
    numbers, target = _given(problem)
    pool = list(numbers)
    for left, operator, right, result in steps:
        for number in (left, right):
            if number not in pool:
                return Score.wrong(answer, f"{number} is not there to be used")
            pool.remove(number)
        if apply(left, operator, right) != result:
            return Score.wrong(answer, f"{left} {operator} {right} is not {result}")
        pool.append(result)
    if pool != [target]:
        return Score.wrong(answer, f"ends at {pool}, not at {target}")
    return Score.right(answer, f"reaches {target}")


def read(transcript: Transcript) -> str | None:
    """Returns the answer after the thought if it is two steps; None for anything else."""
    answer = transcript.answer
    return None if _parse(answer) is None else answer


def _given(problem: Problem) -> tuple[tuple[int, ...], int]:
    """Returns the numbers and the target of a problem."""
    return tuple(cast("Sequence[int]", problem.facts["numbers"])), cast("int", problem.facts["target"])


def _parse(answer: str) -> list[Step] | None:
    """Parses an answer as two steps, each (left, operator, right, result); returns None for anything else."""
    if len(answer) > 80:
        return None
    steps = []
    for part in answer.split(" , "):
        words = part.split(" ")
        if len(words) != 5 or words[1] not in OPERATORS or words[3] != "=":
            return None
        numbers = [words[0], words[2], words[4]]
        if not all(number.isascii() and number.isdigit() and len(number) <= 2 for number in numbers):
            return None
        steps.append((int(words[0]), words[1], int(words[2]), int(words[4])))
    return steps if len(steps) == 2 else None


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns random attempts up to the first success, at most 32, as the thought, and the last one as the answer.

    The attempts are random on purpose: better guesses are left to reinforcement learning.
    """
    numbers, target = _given(problem)
    random = random_of("countdown", "demonstration", problem.key, cast("int", problem.facts["index"]))
    lines = []
    for _ in range(MOST_ATTEMPTS):
        steps = attempt(numbers, random)
        hit = steps[-1][3] == target
        lines.append(f"{spell(steps)} {'ok' if hit else 'x'}")
        if hit:
            break
    return " | ".join(lines), spell(steps)


LIMITS = (
    "Each whole number is one symbol, so arithmetic is a table learned in the warm start; nothing is said of digits.",
    "Demonstrations are random attempts: what reinforcement adds is better guesses, fewer repetitions and exactness.",
)


def countdown() -> Task:
    """Task of reaching a target with each of three numbers once, by +, - and ×; many answers are right. No levels."""
    return Task(
        "countdown",
        source,
        scorer,
        trusted=True,
        demonstration=demonstration,
        symbols=tuple(SYMBOLS),
        limits=LIMITS,
        read=read,
    )
