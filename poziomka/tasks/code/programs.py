"""Task of writing programs that read standard input and write standard output, scored by hidden tests.

A folder contains `train.jsonl` and `test.jsonl`, and optionally `validation.jsonl`. Each line is an object with the
string `question` and the list `tests` of objects with the strings `input` and `output`. A test with `"public": true` is
shown in the prompt as an example; the others are hidden. A line may have a correct program as `solution`, a `thought`
that leads to it, and an integer `level`.

Each test runs the program in a fresh sandboxed process, and the output is compared outside it: line by line, with any
amount of white space between words and around them, and otherwise exactly.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score
from poziomka.core.safety.untrusted import expanded
from poziomka.core.seeds import seed_of
from poziomka.core.task import Scorer, Task
from poziomka.core.transcript import Transcript
from poziomka.environments.sandbox.landlock_runner import Sandlocked
from poziomka.environments.sandbox.limits import Limits
from poziomka.tasks.code.coding import read_program
from poziomka.tasks.code.coding_negatives import whole_mistakes
from poziomka.tasks.rows import Row, list_of, read_rows, splits_in, text_of

SAMPLE = Path(__file__).parent / "samples" / "programs"
LIMITS = Limits(seconds=3.0)
BLANK = re.compile(r"[ \t\r\f\v]+")
HOW = "name a folder with train.jsonl and test.jsonl, or one file for evaluation only: programs:PATH"
Test = Mapping[str, object]


def same_output(output: str, expected: str) -> bool:
    """Whether an output has the same words in every line as the expected one; empty lines at the end are ignored."""
    return _words(output) == _words(expected)


def _words(text: str) -> list[list[str]]:
    lines = [[word for word in BLANK.split(line) if word] for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def problem_of(row: Row) -> Problem:
    """Converts a row of a problem file into a problem.

    Args:
        row: location for error messages, and an object with `question`, `tests` and optionally `solution`, `thought`
            and `level`; see the module.

    Raises:
        TaskError: there is no question or no hidden test with an output, or a field has a wrong type.
    """
    where, held = row
    question = text_of(row, "question").strip()
    tests = [_test(test, where) for test in list_of(row, "tests")]
    if not question or all(test["public"] or not str(test["output"]).split() for test in tests):
        message = f"{where} must have a question and a test that is not public and has an output: received {len(tests)}"
        raise TaskError(message)
    level = held.get("level", 0)
    if not isinstance(level, int) or isinstance(level, bool):
        message = f"'level' of {where} must be a whole number: received {level!r}"
        raise TaskError(message)
    examples = "".join(
        f"\n\nExample input:\n{str(test['input']).rstrip()}\nExample output:\n{str(test['output']).rstrip()}"
        for test in tests
        if test["public"]
    )
    asked = (
        f"{question}{examples}\n\nAnswer with a Python program that reads standard input and writes standard output."
    )
    key = f"{seed_of('programs', 'question', question):016x}"  # equal questions in two splits share a key
    solution, thought = text_of(row, "solution", missing="").strip("\n"), text_of(row, "thought", missing="").strip()
    problem = Problem.ask("programs", key, asked, solution=solution, thought=thought)
    return replace(problem, level=level, facts={**problem.facts, "tests": tests})


def _test(test: object, where: str) -> Test:
    if isinstance(test, dict) and isinstance(test.get("input"), str) and isinstance(test.get("output"), str):
        return {"input": test["input"], "output": test["output"], "public": test.get("public") is True}
    message = f"a test of {where} must be an object with the texts 'input' and 'output': received {str(test)[:60]!r}"
    raise TaskError(message)


def scorer_of(place: Sandlocked, *, turned: bool = False) -> Scorer:
    """Returns a scorer that gives reward 1 to a program whose output is right in every test, and 0 to others.

    Args:
        place: runs the programs in sandboxed processes; its time limit in seconds is for all tests together.
        turned: run the tests in reverse order.
    """

    def scorer(problem: Problem, transcript: Transcript) -> Score:
        program = read_program(transcript.reply)
        if program is None:
            return Score.unparsed("no single program in the answer")
        tests = list(enumerate(cast("Sequence[Test]", problem.facts["tests"]), 1))
        until = time.monotonic() + place.limits.seconds
        for number, test in reversed(tests) if turned else tests:
            left = until - time.monotonic()
            if left <= 0:
                return Score.wrong(program, f"ran longer than {place.limits.seconds:g} s for all tests together")
            ran = place.whole(program, str(test["input"]).encode(), left)
            if not ran.read:
                return Score.unparsed(f"no Python: {ran.fault}")
            fault = ran.fault or _difference(ran.output, str(test["output"]))
            if fault:
                return Score.wrong(program, f"test {number} of {len(tests)}: {fault}")
        return Score.right(program, f"right for {len(tests)} inputs")

    return scorer


def _difference(output: bytes, expected: str) -> str:
    try:
        said = output.decode()
    except UnicodeDecodeError:
        return "wrote what is no text"
    return "" if same_output(said, expected) else f"wrote {said[:80]!r}, not {expected[:80]!r}"


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns the thought and the solution of the problem's row; each is "" if the row has none."""
    return cast("str", problem.facts["thought"]), cast("str", problem.facts["solution"])


JUDGED = (
    "A program is right where its output is: as many tests as the file has, and no more.",
    f"All tests of a program together have {LIMITS.seconds:g} s; a right one that is slower earns nothing.",
)


def programs(where: str) -> Task:
    """Task of writing whole Python programs, scored by their output for hidden inputs, from files of JSON lines.

    Args:
        where: a folder with train.jsonl and test.jsonl; one file, for evaluation only; or "sample" for the few problems
            in the package.

    Raises:
        TaskError: the problems cannot be read.
        EnvironmentFailure: programs cannot be sandboxed here; the message gives the reason.
    """
    path = SAMPLE if where == "sample" else expanded(where, TaskError)

    @cache
    def read(split: str) -> list[Problem]:
        file = path / f"{split}.jsonl" if path.is_dir() else path
        if path.is_dir() and not file.exists() and split != "train":
            return []
        return [problem_of(row) for row in read_rows(file, HOW)] if path.is_dir() or split == "test" else []

    def source(split: str, index: int, level: int | None = None) -> Problem:  # noqa: ARG001 levels cannot be requested
        return read(split)[index]

    known = [problem for split in ("train", "test") for problem in read(split)]  # read now, as bad files fail
    first = Sandlocked(LIMITS, 0)
    return Task(
        "programs",
        source,
        scorer_of(first),
        size=lambda split: len(read(split)),
        splits=splits_in(path),
        demonstration=demonstration if all(problem.facts["solution"] for problem in known) else None,
        mistakes=whole_mistakes,
        audit=scorer_of(Sandlocked(LIMITS, 1), turned=True),
        limits=(*JUDGED, *first.not_protected),
        scorer_limits=(*JUDGED, *first.not_protected),
    )
