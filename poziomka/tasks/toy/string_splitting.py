"""A data set of reasoning-gym with symbols and written-out solutions, for models that are trained from scratch.

Problems and answers are those of the package `reasoning-gym` (Apache-2.0). This module adds a question in few symbols,
a solution step by step, a scorer that accepts only the bare answer, and a test split that shares no problem with the
training split.

`string_splitting`: machines A, B, C are taken apart into parts X, Y, Z by five rules. The first rule that applies is
used, until none applies. How many of each are left?

    r1  A → 2X + Y     r2  2B → X     r3  2C → Y     r4  B + C → A     r5  X + Y → Z

Every step follows from the six counts before it, so a small network can learn it; the difficulty of a problem is the
number of steps without a single error. A level is two steps, so level 12 has 23 or 24.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript
from poziomka.tasks.reasoning_gym_package import library

FAMILY = "string_splitting"
MACHINES = 8  # maximal initial number of machines of a kind
LEVELS = (2, 12)
DRAWN = 5_000  # seeds of the generator; the task has their distinct problems of these levels
HELD_OUT = 5  # one start (A, B, C) in this many belongs to the test split
COUNTS = 6  # A B C X Y Z
LARGEST = 20  # problems with a larger count are left out
SYMBOLS = (*map(str, range(LARGEST + 1)), *(f"r{rule}" for rule in range(1, 6)))

Facts = Mapping[str, Any]  # metadata of a problem, from the generator


@cache
def entries() -> dict[tuple[str, int], list[Facts]]:
    """Returns the metadata of all problems of reasoning-gym's generator, by (split, level).

    Each seed is used for one problem, because problem `i` of seed `s` is problem 0 of seed `s + i`. Problems are drawn
    by 5,000 seeds, until hardly any start is missing, because the generator has no parameter for the number of steps.

    Raises:
        TaskError: reasoning-gym is not installed.
    """
    gym = library("reasoning_gym.algorithmic.string_splitting")
    found: dict[tuple[str, int], list[Facts]] = {}
    seen: set[tuple[int, ...]] = set()
    for draw in range(DRAWN):
        seed = seed_of(FAMILY, "entry", draw)
        settings = gym.StringSplittingConfig(max_initial_machines=MACHINES, seed=seed, size=1)
        made = gym.StringSplittingDataset(settings)[0]
        facts = made["metadata"] | {"answer": made["answer"]}
        start, level = facts["initial_machines"], len(facts["states"]) // 2
        largest = max(map(max, facts["states"]))
        if start not in seen and LEVELS[0] <= level <= LEVELS[1] and largest <= LARGEST:
            seen.add(start)
            split = "test" if seed_of(FAMILY, "start", *start) % HELD_OUT == 0 else "train"
            found.setdefault((split, level), []).append(facts)
    return found


def source(split: str, index: int, level: int | None = None) -> Problem:
    """Returns a problem (a task's source).

    Args:
        split: name of the split.
        index: from 0.
        level: half the number of steps, rounded up, 2 to 12; `level=None` draws it uniformly.
    """
    random = random_of(FAMILY, split, index)
    drawn = random.randint(*LEVELS)
    level = drawn if level is None else level
    facts = random.choice(entries()["test" if split == "test" else "train", level])
    start = " ".join(map(str, facts["initial_machines"]))
    problem = Problem.ask(FAMILY, start, f" {start}", facts["answer"], states=facts["states"])
    return replace(problem, level=level)


def read(transcript: Transcript) -> str | None:
    """Returns the six counts that are the whole answer after the thought; None if it is anything else."""
    answer = transcript.answer
    counts = answer.split() if len(answer) <= 8 * COUNTS else []
    fits = len(counts) == COUNTS and all(count.isascii() and count.isdigit() for count in counts)
    return " ".join(counts) if fits else None


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 if the whole answer after the thought is the six right counts of A B C X Y Z, "0 1 0 2 0 5"."""
    said = read(transcript)
    if said is None:
        return Score.unparsed("no six counts in the answer")
    if said == problem.answer:
        return Score.right(said, f"{said} is left in the end")
    return Score.wrong(said, f"{said} is not {problem.answer}")


def rule_of(counts: Sequence[int]) -> str:
    """Returns the name, "r1" to "r5", of the first rule that applies to the six counts A B C X Y Z.

    Raises:
        ValueError: no rule applies.
    """
    a, b, c, x, y, _ = counts
    applies = (a >= 1, b >= 2, c >= 2, b >= 1 and c >= 1, x >= 1 and y >= 1)
    return f"r{applies.index(True) + 1}"


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns the thought (the initial counts and, for each step, its rule and the new counts) and the last counts."""
    states: Any = problem.facts["states"]
    lines = [" ".join(map(str, states[0]))]
    for before, after in pairwise(states):
        lines.append(f"{rule_of(before)} {' '.join(map(str, after))}")
    return " ".join(lines), problem.answer


def mistakes(problem: Problem) -> dict[str, str]:
    """Returns wrong answers, keyed by the fault: intermediate or reversed counts, one too few, one too many."""
    states: Any = problem.facts["states"]
    answer = problem.answer.split()
    found = {
        "the counts at first": " ".join(map(str, states[0])),
        "a step too early": " ".join(map(str, states[-2])),
        "five counts": " ".join(answer[:-1]),
        "seven counts": " ".join([*answer, "0"]),
        "backwards": " ".join(reversed(answer)),
    }
    return {what: said for what, said in found.items() if said != problem.answer}


LIMITS = (
    "Every step and every count of a held-out problem occurs in training; what is held out is starts (A, B, C).",
    "There are fewer than 700 problems of these levels, so training meets each of them several times.",
    f"Nothing is said about more than {2 * LEVELS[1]} steps or counts above {LARGEST}.",
    "The form of the thought is shown in the warm start: reinforcement teaches exactness over many steps.",
)


def string_splitting() -> Task:
    """Task of taking machines apart by rules and counting the parts; a level, 2 to 12, is two steps.

    The problems are those of string_splitting in the package reasoning-gym.
    """
    return Task(
        FAMILY,
        source,
        scorer,
        levels=LEVELS,
        trusted=True,
        demonstration=demonstration,
        mistakes=mistakes,
        symbols=SYMBOLS,
        limits=LIMITS,
        read=read,
    )
