"""Program synthesis that a tiny model learns in minutes: six words, lists of three digits, tests in an interpreter.

A program is a row of words of the list language, found from two examples: " 3 1 4 > 4 1 3 ; …". What it is worth is
found by running it on two lists that are shown and sixteen that are not: it is written down as a Python function and
called in an interpreter that holds what runs in it (`small_synthesis:monty`). Whoever audits asks the language's own
interpreter, in this process, on more lists.

Its words keep a list as long as it is, so that a thought can run a candidate and check it digit by digit:

    up 4 2 5 sort 2 4 5 > 5 x      the candidate `up sort` makes 2 4 5 of the first list, but 5 comes first: a miss
    flip 6 8 5 > 6 8 5 ok          `flip` makes what is wanted: on to the second example

A problem's level is the number of words that it needs (no shorter program does the same on a fixed set of probe lists).
Of the behaviours of two words one in HELD_OUT is never a solution in training, however it is spelled; as a candidate in
vain it may occur. Of one word there are six only: all occur in training, and held-out problems show other lists.
"""

from functools import cache
from random import Random
from typing import cast

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Scorer, Task
from poziomka.core.transcript import Message, Transcript
from poziomka.environments.sandbox.interpreter import Interpreter
from poziomka.environments.sandbox.registry import interpreter_named
from poziomka.tasks.code.list_functions import LIMITS, examples_of, fault_of
from poziomka.tasks.code.list_language import BASE, Numbers, Program, in_python, run
from poziomka.tasks.code.synthesis import (
    LONGEST,
    Examples,
    audit,
    fits,
    in_symbols,
    mistakes,
    neighbours,
    probes,
    read_program,
    spell,
    tell_apart,
)

DIALECT = ("up", "double", "halve", "flip", "reverse", "sort")
LEVELS = (1, 2)  # words of the program that a problem is made with
SHOWN, HIDDEN = 2, 16  # examples
LENGTH = 3  # of a list that is shown; those that are hidden have 2 to 6 numbers
HELD_OUT = 3  # one behaviour in this many belongs to the test split
TRIED = 6  # most candidates that a demonstration tries in vain
MORE = 0.8  # chance that one is tried before the right one
SYMBOLS = (*map(str, range(BASE)), *DIALECT, ">", ";", "(", ")", "ok", "x")


@cache
def behaviours(words: int) -> frozenset[tuple[Numbers, ...]]:
    """Returns what the programs of up to so many words make of the probes."""
    found = {probes()}
    latest = set(found)
    for _ in range(words):
        latest = {tuple(run((word,), row) for row in rows) for rows in latest for word in DIALECT} - found
        found |= latest
    return frozenset(found)


def named(outputs: object) -> str:
    """Returns a name for what a program makes of some lists."""
    return f"{seed_of('small_synthesis', 'behaviour', str(outputs)):016x}"


def held_out(name: str) -> bool:
    """Whether what has this name belongs to the test split."""
    return seed_of("small_synthesis", "held out", name) % HELD_OUT == 0


def _program(random: Random, level: int) -> tuple[Program, str]:
    """Returns a program that needs so many words, and the name of what it does."""
    while True:
        program = tuple(random.choice(DIALECT) for _ in range(level))
        does = tuple(run(program, row) for row in probes())
        if does not in behaviours(level - 1):
            return program, named(does)


def _kind(problem: Problem) -> str:
    """Returns what no two splits share: what the program does, or, of one word only, its examples."""
    program = tuple(cast("list[str]", problem.facts["program"]))
    return problem.key if problem.level == 1 else named(tuple(run(program, row) for row in probes()))


def _examples(random: Random, program: Program) -> tuple[Examples, Examples] | None:
    """Returns examples to show and to hide; None where those shown do not tell the program from its neighbours."""

    def of(count: int, shortest: int, longest: int) -> Examples:
        lengths = [random.randint(shortest, longest) for _ in range(count)]
        rows = [tuple(random.randrange(BASE) for _ in range(length)) for length in lengths]
        return tuple((row, run(program, row)) for row in rows)

    shown, hidden = of(SHOWN, LENGTH, LENGTH), of(HIDDEN, 2, 6)
    return (shown, hidden) if tell_apart(shown, hidden, neighbours(program, DIALECT)) else None


def source(split: str, index: int, level: int | None = None) -> Problem:
    """Returns a problem; pure."""
    drawn = random_of("small_synthesis", split, index, "level").randint(*LEVELS) if level is None else level
    random = random_of("small_synthesis", split, index, drawn)
    while True:
        program, behaviour = _program(random, drawn)
        examples = _examples(random, program)
        if examples is None:
            continue
        key = named((behaviour, examples[0]))
        if held_out(key if drawn == 1 else behaviour) == (split == "test"):
            break
    shown, hidden = ([[list(given), list(wanted)] for given, wanted in each] for each in examples)
    facts: dict[str, object] = {"program": list(program), "shown": shown, "hidden": hidden, "index": index}
    return Problem("small_synthesis", key, (Message("user", in_symbols(examples[0])),), facts=facts, level=drawn)


def scorer_of(interpreter: Interpreter) -> Scorer:
    """Returns a scorer that gives reward 1 where the program, as Python, gives every output in the interpreter."""

    def scorer(problem: Problem, transcript: Transcript) -> Score:
        program = read_program(transcript.reply)
        if isinstance(program, str):
            return Score.unparsed(program)
        answer = spell(program)
        if len(program) > LONGEST:
            return Score.wrong(answer[:200], f"{len(program)} words, and {LONGEST} are allowed")
        examples = examples_of(problem)
        fault = fault_of(interpreter, in_python(program), examples)
        return Score.wrong(answer, fault) if fault else Score.right(answer, f"gives all {len(examples)} outputs")

    return scorer


# ------------------------------------------------------------------------------------------------------ written out
def trace(program: Program, shown: Examples) -> str:
    """Returns a program's run on the examples that are shown, until one misses.

    Each word stands before what it makes; then come the digits that are wanted, up to the first that differs.
    """
    words: list[str] = []
    for given, wanted in shown:
        row = given
        for word in program:
            row = run((word,), row)
            words += [word, *map(str, row)]
        right = next((place for place in range(len(wanted)) if row[place] != wanted[place]), len(wanted))
        words += [">", *map(str, wanted[: right + 1]), "ok" if row == wanted else "x"]
        if row != wanted:
            break
    return " ".join(words)


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns candidates that are tried, none to TRIED in vain, until the right one is; they are drawn blindly.

    So what is shown is how to run and to check a program, and hardly how to guess one.
    """
    program = cast("Program", tuple(cast("list[str]", problem.facts["program"])))
    shown = examples_of(problem)[:SHOWN]
    random = random_of("small_synthesis", "demonstration", problem.key, cast("int", problem.facts["index"]))
    lines = []
    for _ in range(TRIED):
        if random.random() >= MORE:
            break
        candidate = tuple(random.choice(DIALECT) for _ in range(random.randint(*LEVELS)))
        if not fits(candidate, shown):
            lines.append(trace(candidate, shown))
    return " ".join([*lines, trace(program, shown)]), spell(program)


def small_synthesis(where: str) -> Task:
    """Programs from examples for a tiny model, tested in an interpreter: small_synthesis:monty. Levels are words.

    Args:
        where: the interpreter, by its name.

    Raises:
        SettingsError: no interpreter has this name.
        EnvironmentFailure: it cannot run here.
    """
    return Task(
        "small_synthesis",
        source,
        scorer_of(interpreter_named(where, LIMITS)),
        levels=LEVELS,
        trusted=True,  # a program of the language always ends
        demonstration=demonstration,
        mistakes=mistakes,
        audit=audit,
        symbols=SYMBOLS,
        kind=_kind,
        limits=(
            "Six words that keep a list's length: nothing is said of loops, conditions, variables or names.",
            "Every word occurs in training; what is held out is what programs of two words do, and lists.",
            "Behaviours are few, so compare by level.",
            "Two examples may fit more than one program.",
        ),
    )
