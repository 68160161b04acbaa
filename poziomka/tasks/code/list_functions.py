"""Functions of lists to write in Python: described in words, judged by hidden tests in an interpreter that holds them.

The problems are those of `synthesis`, told instead of shown: "adds 1 to each number, then sorts the list". So they ask
for Python and not for a discovery. The function is called in a fresh console of the interpreter that the task's name
says (`list_functions:monty`), on the lists of the problem; what it returns is compared outside, so that no code ever
sees what is expected of it beyond the one example in the prompt.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import random_of
from poziomka.core.task import Scorer, Task
from poziomka.core.transcript import Message, Transcript
from poziomka.environments.sandbox.interpreter import Interpreter
from poziomka.environments.sandbox.limits import Limits
from poziomka.environments.sandbox.registry import interpreter_named
from poziomka.tasks.code.coding import read_program
from poziomka.tasks.code.list_language import MEANINGS, Numbers, Program, compiled, in_python
from poziomka.tasks.code.synthesis import LEVELS, fits, neighbours, synthesis

LIMITS = Limits(seconds=0.3, memory=64 * 2**20, output=20_000, processes=1)  # of each of the calls of a check
OTHERS = 40  # lists of the second scorer
Examples = tuple[tuple[Numbers, Numbers], ...]


def fault_of(interpreter: Interpreter, source: str, examples: Sequence[tuple[Sequence[int], Sequence[int]]]) -> str:
    """Returns why the function f of a source is not right, in a line; "" where every output is exactly as it should.

    Args:
        interpreter: opens a fresh console for it.
        source: Python that defines f.
        examples: lists, and what f should make of them.

    Raises:
        EnvironmentFailure: the interpreter failed; that says nothing of the source.
    """
    console = interpreter.open()
    try:
        defined = console.run(f"{source}\nNone")
        if defined.fault:
            return defined.fault
        called = console.run(f"[f(x) for x in {[list(given) for given, _ in examples]}]")
    finally:
        console.close()
    if called.fault:
        return called.fault
    wanted = repr([list(wanted) for _, wanted in examples])
    return "" if called.text == f"{wanted}\n" else f"made {called.text[:120].strip()}, not {wanted[:120]}"


def examples_of(problem: Problem) -> Examples:
    """Returns a problem's lists, shown and hidden, with what a right program makes of them."""
    rows = [row for which in ("shown", "hidden") for row in cast("Sequence[Sequence[Numbers]]", problem.facts[which])]
    return tuple((tuple(given), tuple(wanted)) for given, wanted in rows)


def _program(problem: Problem) -> Program:
    return tuple(cast("Sequence[str]", problem.facts["program"]))


def _others(problem: Problem) -> Examples:
    """Returns lists that no prompt shows and no first scorer asks, with what the other interpreter makes of them."""
    random = random_of("list_functions", "audit", problem.key, cast("int", problem.facts["index"]))
    rows = [tuple(random.randrange(10) for _ in range(random.randint(0, 8))) for _ in range(OTHERS)]
    does = compiled(_program(problem))
    return tuple((row, tuple(does(row))) for row in rows)


def asked(problem: Problem) -> str:
    """Returns the question: what the words of the program mean, in order, and one example."""
    steps = "\n".join(f"{place}. {MEANINGS[word]}" for place, word in enumerate(_program(problem), 1))
    given, wanted = examples_of(problem)[0]
    return (
        "Write a Python function f(x) that takes a list of digits and returns another. It does this, in this order; "
        f"arithmetic is modulo 10:\n{steps}\nFor example, f({list(given)}) returns {list(wanted)}.\n"
        "Answer with the function alone."
    )


def scorer_of(interpreter: Interpreter, *, other: bool = False) -> Scorer:
    """Returns a scorer that gives reward 1 where the function returns every output exactly.

    Args:
        interpreter: where it runs.
        other: ask for other lists, with outputs by the language's other interpreter.
    """

    def scorer(problem: Problem, transcript: Transcript) -> Score:
        program = read_program(transcript.reply)
        if program is None:
            return Score.unparsed("no single program after the thought")
        examples = _others(problem) if other else examples_of(problem)
        fault = fault_of(interpreter, program, examples)
        if not fault:
            return Score.right(program, f"right for {len(examples)} lists")
        return Score.unparsed(f"no Python: {fault}") if fault.startswith("SyntaxError") else Score.wrong(program, fault)

    return scorer


def fenced(program: Sequence[str]) -> str:
    """Returns a program as an answer in Python."""
    return f"```python\n{in_python(program)}\n```"


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns the function, one statement for each step, without a thought and without a fence."""
    return "", in_python(_program(problem))


def mistakes(problem: Problem) -> dict[str, str]:
    """Returns answers that earn nothing: programs near the right one, and tricks."""
    program, examples = _program(problem), examples_of(problem)
    others = [each for each in neighbours(program) if not fits(each, examples)]
    table = {given: list(wanted) for given, wanted in examples[:3]}
    right = in_python(program)
    return {
        "another step": fenced(others[-1]),
        "a step left out": fenced(next((each for each in others if len(each) < len(program)), others[0])),
        "outputs from a table of what is shown": f"```python\ndef f(x):\n    return {table}.get(tuple(x), x)\n```",
        "another name": f"```python\n{right.replace('def f', 'def g')}\n```",
        "two programs": f"{fenced(program)}\n{fenced(program)}",
        "an equal to everything": "```python\nclass Equal:\n    def __eq__(self, other):\n        return True\n\n"
        "def f(x):\n    return Equal()\n```",
        "an endless loop": "```python\ndef f(x):\n    while True:\n        x = x[:]\n```",
        "no end of recursion": "```python\ndef f(x):\n    return f(x)\n```",
        "not Python": "adds 1 to each number, then sorts",
    }


def list_functions(where: str) -> Task:
    """Functions of lists to write in Python, told in words and tested in an interpreter: list_functions:monty.

    Args:
        where: the interpreter, by its name.

    Raises:
        SettingsError: no interpreter has this name.
        EnvironmentFailure: it cannot run here.
    """
    interpreter, problems = interpreter_named(where, LIMITS), synthesis()

    def source(split: str, index: int, level: int | None = None) -> Problem:
        problem = problems.source(split, index, level)
        return replace(problem, task="list_functions", prompt=(Message("user", asked(problem)),))

    return Task(
        "list_functions",
        source,
        scorer_of(interpreter),
        levels=LEVELS,
        trusted=True,  # every call is bounded by LIMITS, wherever it runs
        demonstration=demonstration,
        mistakes=mistakes,
        audit=scorer_of(interpreter, other=True),
        limits=(
            "The steps are told in order, so nothing has to be discovered: it is a translation into Python.",
            "Every step occurs in training; what is held out is what whole programs do.",
            *interpreter.isolation().not_protected,
        ),
    )
