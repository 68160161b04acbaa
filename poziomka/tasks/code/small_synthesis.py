"""Program synthesis for tiny models: six words, lists of three digits, programs tested in a sandboxed interpreter.

The model finds a program of the list language from two examples: " 3 1 4 > 4 1 3 ; …". The scorer translates the
program into a Python function and calls it in an interpreter (`small_synthesis:monty`) on the two lists of the prompt
and on sixteen hidden ones. The audit runs the language's own second interpreter in this process, on more lists.

The six words keep the length of a list, so that a thought can run a candidate and check it digit by digit:

    up 4 2 5 sort 2 4 5 > 5 x      the candidate `up sort` maps the first list to 2 4 5, but 5 comes first: a miss
    flip 6 8 5 > 6 8 5 ok          `flip` gives the expected output: continue with the second example

A problem's level is the number of words that it needs: no shorter program has the same outputs on a fixed set of probe
lists. Of the behaviours of two words, one in HELD_OUT is never a solution in training, in any spelling; it may occur as
a failed candidate in a demonstration. Of one word there are only six behaviours: all occur in training, and held-out
problems of one word show other lists.
"""

from functools import cache
from random import Random
from typing import cast

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Scorer, Task
from poziomka.core.transcript import Transcript
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
    read,
    read_program,
    spell,
    tell_apart,
)

DIALECT = ("up", "double", "halve", "flip", "reverse", "sort")
LEVELS = (1, 2)  # number of words of a problem's program
SHOWN, HIDDEN = 2, 16  # examples
LENGTH = 3  # of a shown list; hidden lists have 2 to 6 numbers
HELD_OUT = 3  # one behaviour in this many belongs to the test split
TRIED = 6  # maximal number of failed candidates in a demonstration
MORE = 0.8  # probability of each further failed candidate before the right one
SYMBOLS = (*map(str, range(BASE)), *DIALECT, ">", ";", "(", ")", "ok", "x")


@cache
def behaviours(words: int) -> frozenset[tuple[Numbers, ...]]:
    """Returns the distinct behaviours (outputs on the probe lists) of programs of up to `words` words."""
    found = {probes()}
    latest = set(found)
    for _ in range(words):
        latest = {tuple(run((word,), row) for row in rows) for rows in latest for word in DIALECT} - found
        found |= latest
    return frozenset(found)


def named(outputs: object) -> str:
    """Returns a hash that identifies a program's outputs, as 16 hexadecimal digits."""
    return f"{seed_of('small_synthesis', 'behaviour', str(outputs)):016x}"


def held_out(name: str) -> bool:
    """Whether the behaviour (or, for programs of one word, the problem) with this hash belongs to the test split."""
    return seed_of("small_synthesis", "held out", name) % HELD_OUT == 0


def _program(random: Random, level: int) -> tuple[Program, str]:
    """Returns a random program that needs exactly `level` words, and the hash of its outputs on the probe lists."""
    while True:
        program = tuple(random.choice(DIALECT) for _ in range(level))
        does = tuple(run(program, row) for row in probes())
        if does not in behaviours(level - 1):
            return program, named(does)


def _kind(problem: Problem) -> str:
    """Returns the value that no two splits share: the behaviour's hash or, for one word, the problem's key."""
    program = tuple(cast("list[str]", problem.facts["program"]))
    return problem.key if problem.level == 1 else named(tuple(run(program, row) for row in probes()))


def _examples(random: Random, program: Program) -> tuple[Examples, Examples] | None:
    """Returns shown and hidden examples; None if a program that differs in one word fits only the shown ones."""

    def of(count: int, shortest: int, longest: int) -> Examples:
        lengths = [random.randint(shortest, longest) for _ in range(count)]
        rows = [tuple(random.randrange(BASE) for _ in range(length)) for length in lengths]
        return tuple((row, run(program, row)) for row in rows)

    shown, hidden = of(SHOWN, LENGTH, LENGTH), of(HIDDEN, 2, 6)
    return (shown, hidden) if tell_apart(shown, hidden, neighbours(program, DIALECT)) else None


def source(split: str, index: int, level: int | None = None) -> Problem:
    """Returns the problem with a given index of a split (a task's source); the same on every call.

    Args:
        split: name of the split.
        index: from 0.
        level: number of words of the program, 1 or 2; `level=None` draws it.
    """
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
    return Problem(in_symbols(examples[0]), task="small_synthesis", key=key, facts=facts, level=drawn)


def scorer_of(interpreter: Interpreter) -> Scorer:
    """Returns a scorer that gives reward 1 to a program of at most 6 words whose outputs are all exactly right.

    Args:
        interpreter: runs the program, translated to Python.
    """

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
    """Returns the trace of a program on the shown examples, up to the first failure: "up 4 2 5 sort 2 4 5 > 5 x".

    Each word is followed by its output. After ">" come the expected digits, up to the first that differs, and "ok" or
    "x".
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
    """Returns the traces of up to 6 failed candidates and of the right program as the thought, and the program.

    Candidates are drawn at random from all programs: the demonstration shows how to run and check a program, and hardly
    how to guess one.
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
    """Task of finding programs from two examples, for tiny models; tested in an interpreter: small_synthesis:monty.

    The level, 1 or 2, is the number of words of the program.

    Args:
        where: name of the sandboxed interpreter.

    Raises:
        SettingsError: no interpreter has this name.
        EnvironmentFailure: the interpreter cannot run here.
    """
    return Task(
        "small_synthesis",
        source,
        scorer_of(interpreter_named(where, LIMITS)),
        levels=LEVELS,
        trusted=True,  # every program of the language halts
        demonstration=demonstration,
        mistakes=mistakes,
        audit=audit,
        symbols=SYMBOLS,
        kind=_kind,
        read=read,
        limits=(
            "Six words that keep a list's length: nothing is said of loops, conditions, variables or names.",
            "Every word occurs in training; what is held out is what programs of two words do, and lists.",
            "Behaviours are few, so compare by level.",
            "Two examples may fit more than one program.",
        ),
    )
