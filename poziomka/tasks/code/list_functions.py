"""Task of writing Python functions on lists from a description, tested in a sandboxed interpreter.

The problems are those of `synthesis`, described in words instead of examples: "adds 1 to each number, then sorts the
list". The model has to write Python, and has no program to discover. The function is called in a fresh console of the
interpreter in the task's name (`list_functions:monty`), on the lists of the problem. The results are compared in our
own process: of the expected outputs, the code can see only the one example in the prompt.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import random_of
from poziomka.core.task import Scorer, Source, Task
from poziomka.core.transcript import Message, Transcript
from poziomka.environments.sandbox.interpreter import Interpreter
from poziomka.environments.sandbox.limits import Limits
from poziomka.environments.sandbox.registry import interpreter_named
from poziomka.tasks.code.coding import read_program
from poziomka.tasks.code.list_language import MEANINGS, Numbers, Program, compiled, in_python
from poziomka.tasks.code.synthesis import LEVELS, fits, neighbours, synthesis

LIMITS = Limits(seconds=0.3, memory=64 * 2**20, output=20_000, processes=1)  # of each call of the console in `fault_of`
OTHERS = 40  # lists of the audit scorer
Examples = tuple[tuple[Numbers, Numbers], ...]


def fault_of(interpreter: Interpreter, source: str, examples: Sequence[tuple[Sequence[int], Sequence[int]]]) -> str:
    """Returns the reason why the function f of a program is wrong, in one line; "" if every output is exactly right.

    Args:
        interpreter: opens a fresh console for the program.
        source: Python code that defines f.
        examples: input lists with the expected outputs.

    Raises:
        EnvironmentFailure: the interpreter failed, which is no fault of the program.
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
    """Returns a problem's input lists, first the shown and then the hidden ones, with the expected outputs."""
    rows = [row for which in ("shown", "hidden") for row in cast("Sequence[Sequence[Numbers]]", problem.facts[which])]
    return tuple((tuple(given), tuple(wanted)) for given, wanted in rows)


def _program(problem: Problem) -> Program:
    return tuple(cast("Sequence[str]", problem.facts["program"]))


def _others(problem: Problem) -> Examples:
    """Returns 40 random lists for the audit scorer, with outputs of the second interpreter, `compiled`."""
    random = random_of("list_functions", "audit", problem.key, cast("int", problem.facts["index"]))
    rows = [tuple(random.randrange(10) for _ in range(random.randint(0, 8))) for _ in range(OTHERS)]
    does = compiled(_program(problem))
    return tuple((row, tuple(does(row))) for row in rows)


def asked(problem: Problem) -> str:
    """Returns the prompt: the steps of the Python function in English, in order, and an example of input and output."""
    steps = "\n".join(f"{place}. {MEANINGS[word]}" for place, word in enumerate(_program(problem), 1))
    given, wanted = examples_of(problem)[0]
    return (
        "Write a Python function f(x) that takes a list of digits and returns another. It does this, in this order; "
        f"arithmetic is modulo 10:\n{steps}\nFor example, f({list(given)}) returns {list(wanted)}.\n"
        "Answer with the function alone."
    )


def scorer_of(interpreter: Interpreter, *, other: bool = False) -> Scorer:
    """Returns a scorer that gives reward 1 to a Python function whose outputs are all exactly right, and 0 to others.

    Args:
        interpreter: runs the function.
        other: test it on 40 other lists, with outputs of the language's second interpreter, `compiled` (for audits).
    """

    def scorer(problem: Problem, transcript: Transcript) -> Score:
        program = read_program(transcript.reply)
        if program is None:
            return Score.unparsed("no single program in the answer")
        examples = _others(problem) if other else examples_of(problem)
        fault = fault_of(interpreter, program, examples)
        if not fault:
            return Score.right(program, f"right for {len(examples)} lists")
        return Score.unparsed(f"no Python: {fault}") if fault.startswith("SyntaxError") else Score.wrong(program, fault)

    return scorer


def fenced(program: Sequence[str]) -> str:
    """Returns a program of the list language as an answer: a Python function in a fenced code block."""
    return f"```python\n{in_python(program)}\n```"


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns an empty thought and, as the answer, a right Python function with one statement per step, unfenced."""
    return "", in_python(_program(problem))


def mistakes(problem: Problem) -> dict[str, str]:
    """Returns answers that must score 0, keyed by the fault: programs close to the right one, and tricks."""
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
    """Task of writing Python functions on lists from a description, tested in an interpreter: list_functions:monty.

    The level, 1 to 4, is the number of steps in the description.

    Args:
        where: name of the sandboxed interpreter.

    Raises:
        SettingsError: no interpreter has this name.
        EnvironmentFailure: the interpreter cannot run here.
    """
    interpreter, problems = interpreter_named(where, LIMITS), synthesis()

    def source(split: str, index: int, level: int | None = None) -> Problem:
        problem = cast("Source", problems.source)(split, index, level)
        return replace(problem, task="list_functions", prompt=(Message("user", asked(problem)),))

    return Task(
        "list_functions",
        source,
        scorer_of(interpreter),
        levels=LEVELS,
        trusted=True,  # LIMITS bounds every call in every interpreter
        demonstration=demonstration,
        mistakes=mistakes,
        audit=scorer_of(interpreter, other=True),
        limits=(
            "The steps are told in order, so nothing has to be discovered: it is a translation into Python.",
            "Every step occurs in training; what is held out is what whole programs do.",
            *interpreter.isolation().not_protected,
        ),
    )
