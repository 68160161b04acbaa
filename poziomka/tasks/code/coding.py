"""Tasks of writing Python functions: HumanEval, MBPP and files in their formats, scored by tests in another process.

The answer is a Python program, in one fenced code block or bare. It runs in a sandboxed process; the tests run in
another, call its functions with plain data and compare the returned values (`environments/sandbox/test_runner.py`), so
that the program cannot reach them. A program that exits, runs into its time limit, floods its output or returns
malformed data is wrong. A failure of the scorer itself has the verdict ERROR and no reward. Where the sandbox cannot
run, making the task raises EnvironmentFailure.

HumanEval: Chen et al. 2021, arXiv 2107.03374. MBPP: Austin et al. 2021, arXiv 2108.07732.
"""

import ast
import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score
from poziomka.core.safety.untrusted import expanded
from poziomka.core.task import Scorer, Task
from poziomka.core.transcript import Transcript, split_thought
from poziomka.environments.sandbox.landlock_runner import Sandlocked
from poziomka.environments.sandbox.limits import Limits
from poziomka.environments.sandbox.test_runner import Exam, Examiner
from poziomka.tasks.code.coding_negatives import mistakes
from poziomka.tasks.code.coding_tests import functions_of, passes_code, python_of
from poziomka.tasks.rows import OLD_HUB_NAME, Row, read_hub_rows, read_rows, text_of, texts_of

LONGEST = 50_000  # characters of a program
FENCE = "```"
BLOCK = re.compile(r"```(?:python3?|py)?[ \t]*\n(.*?)\n?```", re.DOTALL | re.IGNORECASE)
LIMITS = Limits(seconds=3.0)
MINUS = re.compile(r"−\d")

HUMANEVAL, HUMANEVAL_FILE = "openai_humaneval", "openai_humaneval/test-00000-of-00001.parquet"
MBPP, MBPP_FILE = "google-research-datasets/mbpp", "full/{}-00000-of-00001.parquet"
SPLITS = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}
SAMPLES = Path(__file__).parent / "samples"


def read_program(reply: str) -> str | None:
    """Returns the Python program in the answer after the thought; None if there is not exactly one.

    The program is the content of the only code block, with or without words around it, or the whole answer. An answer
    of more than 50,000 characters is rejected. So is a program with characters that look like others (digits of another
    script, a minus sign that is no hyphen, invisible characters). The syntax is not checked here.
    """
    answer = split_thought(reply)[1]
    if answer is None or len(answer) > LONGEST:
        return None
    program = answer
    if FENCE in answer:
        blocks = BLOCK.findall(answer)
        if len(blocks) != 1 or answer.count(FENCE) != 2:
            return None
        program = blocks[0]
    strange = any(not letter.isascii() and _misleads(letter) for letter in program)
    if not program.strip() or strange or MINUS.search(program):
        return None
    return program.strip("\n")


def _misleads(letter: str) -> bool:
    return letter.isnumeric() or unicodedata.category(letter) in ("Cf", "Cs", "Co", "Cn")


# ------------------------------------------------------------------------------------------------------------- judging
def exam_of(problem: Problem, *, turned: bool) -> Exam:
    """Returns the tests of a problem, as the sandbox's examiner runs them; with `turned` in reverse order."""
    facts = cast("Mapping[str, str]", problem.facts)
    checks = tuple(cast("Sequence[str]", problem.facts["checks"]))
    return Exam((facts["name"],), checks[::-1] if turned else checks, facts["setup"], facts["given"])


def scorer_of(examiner: Examiner, *, turned: bool = False) -> Scorer:
    """Returns a scorer that gives reward 1 to a program that passes all tests of its problem, and 0 to others.

    Args:
        examiner: runs the program and the tests in sandboxed processes.
        turned: run the tests in reverse order.
    """

    def scorer(problem: Problem, transcript: Transcript) -> Score:
        program = read_program(transcript.reply)
        name = cast("str", problem.facts["name"])
        if program is None:
            return Score.unparsed("no single program in the answer")
        if name not in program:
            return Score.wrong(program, f"the program does not define {name}")
        outcome = examiner.outcome(program, exam_of(problem, turned=turned))
        if outcome.passed:
            return Score.right(program, f"passes its tests, in {outcome.calls} calls")
        return Score.wrong(program, outcome.why) if outcome.read else Score.unparsed(f"no Python: {outcome.why}")

    return scorer


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns an empty thought, and the data set's solution as the answer."""
    return "", cast("str", problem.facts["solution"])


JUDGED = (
    "A function is judged by plain data: what it returns is copied, and what it does to its arguments is not seen.",
    f"All tests of a program together have {LIMITS.seconds:g} s; a right one that is slower earns nothing.",
    "Tests are few, so a wrong program can pass them.",
)
OLD = "The data set is public and old: a pretrained model may have met its problems and their solutions."


def coding_task(name: str, read: Callable[[str], Sequence[Problem]], limits: tuple[str, ...]) -> Task:
    """Returns a task of writing Python functions, scored by tests in a sandbox.

    Args:
        name: name of the task.
        read: returns the problems of a split, the same on every call; empty if there is no such split.
        limits: sentences about limitations of results on this task, in addition to those of all tasks of functions.

    Raises:
        EnvironmentFailure: programs cannot be sandboxed here; the message gives the reason.
    """
    first = Sandlocked(LIMITS, 0)
    examiner = Examiner(first)
    other = Examiner(Sandlocked(LIMITS, 1), twice=True)

    def source(split: str, index: int, level: int | None = None) -> Problem:  # noqa: ARG001 levels cannot be requested
        return read(split)[index]

    return Task(
        name,
        source,
        scorer_of(examiner),
        size=lambda split: len(read(split)),
        demonstration=demonstration,
        mistakes=mistakes,
        audit=scorer_of(other, turned=True),
        limits=(*limits, *JUDGED, OLD, *first.not_protected),
        scorer_limits=(*JUDGED, *first.not_protected),
    )


# ----------------------------------------------------------------------------------------------------------- HumanEval
HUMANEVAL_HOW = f"name the file HumanEval.jsonl.gz, humaneval:PATH, or the hub's humaneval:{HUMANEVAL}"


def humaneval_problem(row: Row) -> Problem:
    """Converts a row of HumanEval into a problem.

    Raises:
        TaskError: a field is missing, or the code of the row is not valid Python.
    """
    names = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
    key, prompt, name, solution, test = (text_of(row, each) for each in names)
    python_of(prompt, f"the prompt of {row[0]}")
    check = f"{test}\n\ncheck({name})\n"
    python_of(check, f"the test of {row[0]}")
    question = (
        "Complete this Python function. Answer with the whole function in one block of code; what stands above it is "
        f"given.\n\n{FENCE}python\n{prompt.strip()}\n{FENCE}"
    )
    facts: dict[str, object] = {
        "name": name,
        "given": prompt,
        "setup": "",
        "checks": [check],
        "solution": f"{prompt}{solution}".strip("\n"),
    }
    return Problem(question, task="humaneval", key=key, facts=facts)


def humaneval(where: str) -> Task:
    """Task of completing Python functions (HumanEval), scored by tests: 164 problems, all of the split "test".

    Args:
        where: the file HumanEval.jsonl.gz, gzipped or not, a folder with it, or "openai_humaneval" for the data set on
            the Hugging Face hub.

    Raises:
        TaskError: the problems cannot be read.
        EnvironmentFailure: programs cannot be sandboxed here; the message gives the reason.
    """
    path = _file(expanded(where, TaskError), "HumanEval.jsonl.gz", "HumanEval.jsonl")
    on_hub = not path.exists() and OLD_HUB_NAME.fullmatch(where)
    rows = read_hub_rows(where, HUMANEVAL_FILE, HUMANEVAL_HOW) if on_hub else read_rows(path, HUMANEVAL_HOW)
    problems = [humaneval_problem(row) for row in rows]
    limits = ("HumanEval is for evaluation only: it has no problems to train on.",)
    return coding_task("humaneval", lambda split: problems if split == "test" else [], limits)


def _file(path: Path, *names: str) -> Path:
    """Returns the first file of `names` that exists in a folder; a path that is not a folder is returned unchanged."""
    found = [path / name for name in names if (path / name).exists()]
    return (found or [path / names[0]])[0] if path.is_dir() else path


# ---------------------------------------------------------------------------------------------------------------- MBPP
MBPP_HOW = f"name the file mbpp.jsonl, mbpp:PATH, or the hub's mbpp:{MBPP}"


def mbpp_problem(row: Row) -> Problem | None:
    """Converts a row of MBPP into a problem; returns None if its tests need more than one function of plain data.

    Raises:
        TaskError: a field is missing, or the tests are not valid Python.
    """
    where, held = row
    number, text, code = held.get("task_id"), text_of(row, "text").strip(), text_of(row, "code").strip()
    setup, tests = text_of(row, "test_setup_code", missing=""), texts_of(row, "test_list")
    if not isinstance(number, int) or not text or not code:
        message = f"{where} must have a number 'task_id', and 'text' and 'code': received {number!r}"
        raise TaskError(message)
    names, arguments = functions_of(code, setup, tests, where)
    if len(names) > 1 or passes_code(tests, names[0], setup):
        return None
    used = {node.id for test in tests for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)}
    modules = sorted(used & sys.stdlib_module_names)
    imports = "".join(f"import {module}\n" for module in modules)
    takes = f"takes {arguments} argument{'' if arguments == 1 else 's'}"
    question = f"{text}\nAnswer with a Python program that defines the function {names[0]}, which {takes}."
    facts: dict[str, object] = {
        "name": names[0],
        "given": "",
        "setup": imports + setup,
        "checks": tests,
        "solution": code,
    }
    return Problem(question, task="mbpp", key=f"mbpp/{number}", facts=facts)


def mbpp(where: str) -> Task:
    """Task of writing short Python functions from a description (MBPP), scored by tests.

    The splits are ranges of the data set's task_id: "prompt" is 1 to 10, "test" 11 to 510, "validation" 511 to 600 and
    "train" 601 to 974. Problems whose tests need more than one function of plain data are left out, and training
    problems whose question is in another split.

    Args:
        where: the file mbpp.jsonl, a folder with it, "google-research-datasets/mbpp" for the data set on the Hugging
            Face hub, or "sample" for our own few problems in the format of MBPP.

    Raises:
        TaskError: the problems cannot be read, or two have the same task_id.
        EnvironmentFailure: programs cannot be sandboxed here; the message gives the reason.
    """
    folder = SAMPLES / "mbpp" if where == "sample" else expanded(where, TaskError)
    path = _file(folder, "mbpp.jsonl", "mbpp.jsonl.gz")

    @cache
    def rows() -> list[Row]:
        if not path.exists() and OLD_HUB_NAME.fullmatch(where):
            return [row for split in SPLITS for row in read_hub_rows(where, MBPP_FILE.format(split), MBPP_HOW)]
        return read_rows(path, MBPP_HOW)

    @cache
    def read() -> tuple[Mapping[str, list[Problem]], tuple[str, ...]]:
        numbers = [row[1].get("task_id") for row in rows()]
        found = [mbpp_problem(row) for row in rows()]
        if len(set(numbers)) != len(numbers):
            message = f"two problems of {where} have one task_id: it names a problem, and its split"
            raise TaskError(message)
        kept = {problem.key: problem for problem in found if problem is not None}
        splits = {
            split: [kept[key] for key in (f"mbpp/{number}" for number in held) if key in kept]
            for split, held in SPLITS.items()
        }
        outside = set(kept) - {problem.key for problems in splits.values() for problem in problems}
        asked = {_text(problem) for split in SPLITS if split != "train" for problem in splits[split]}
        repeated = {problem.key for problem in splits["train"] if _text(problem) in asked}
        splits["train"] = [problem for problem in splits["train"] if problem.key not in repeated]
        unfit = {f"mbpp/{number}" for number, problem in zip(numbers, found, strict=True) if problem is None}
        return splits, (*_left_out(unfit, UNFIT), *_left_out(repeated, REPEATED), *_left_out(outside, OUTSIDE))

    limits = read()[1]  # read now, so that bad files fail before the first problem
    task = coding_task("mbpp", lambda split: read()[0].get(split, []), (*limits, *MBPP_LIMITS))
    return replace(task, splits=tuple(SPLITS))


def _left_out(keys: Collection[str], why: str) -> tuple[str, ...]:
    """Returns one sentence, in a tuple, about problems that are left out of the task; () if there are none.

    Args:
        keys: keys of these problems.
        why: reason, as a clause that follows "as".
    """
    if not keys:
        return ()
    first = sorted(keys, key=lambda key: (len(key), key))[:5]
    more = ", …" if len(keys) > len(first) else ""
    return (f"{len(keys)} of the file's problems are left out, as {why}: {', '.join(first)}{more}.",)


def _text(problem: Problem) -> str:
    """Returns a question for comparison: in lower case, without its last line, which names the function."""
    return " ".join(problem.prompt[-1].content.rpartition("\n")[0].lower().split())


UNFIT = "their tests need more of a program than one function of plain data"
REPEATED = "they are for training and asked in the same words in another split"
OUTSIDE = "their number is in no split"
MBPP_LIMITS = (
    "A prompt names the function and how many arguments it takes; published scores are of prompts with the tests.",
)
