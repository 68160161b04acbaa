"""Functions in Python are judged by what they return in an interpreter, and by nothing that they say of it."""

import subprocess
import sys

import pytest

from poziomka.core.problem import Verdict
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks import task_named
from poziomka.tasks.code.list_functions import fenced, mistakes
from poziomka.tasks.code.list_language import MEANINGS, PYTHON, WORDS, in_python

TASK = task_named("list_functions:monty")
PROBLEM = TASK.problem("train", 3, 2)
RIGHT = in_python(PROBLEM.facts["program"])


def said(answer, problem=PROBLEM):
    return Transcript.of(problem.prompt) + Span(Author.MODEL, answer, stop=Stop.END)


def test_it_keeps_a_tasks_contract():
    command = [sys.executable, "-m", "poziomka", "tasks", "check", "list_functions:monty", "--problems", "3"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)  # monty works in no fork of ours
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_word_has_a_statement_that_does_the_same():
    assert PYTHON.keys() == MEANINGS.keys() == WORDS.keys()
    for level in (1, 2, 3, 4):
        for problem in TASK.take("train", 0, 25, level):
            assert TASK.scorer(problem, said(in_python(problem.facts["program"]), problem)).correct


@pytest.mark.parametrize("answer", [RIGHT, fenced(PROBLEM.facts["program"]), f"So:\n```py\n{RIGHT}\n```\nThat is it."])
def test_a_function_may_stand_bare_or_in_one_block(answer):
    assert TASK.scorer(PROBLEM, said(answer)).correct
    assert TASK.audit(PROBLEM, said(answer)).correct


def test_mistakes_earn_nothing_by_either_scorer():
    for what, answer in mistakes(PROBLEM).items():
        assert TASK.scorer(PROBLEM, said(answer)).reward == 0.0, what
        assert TASK.audit(PROBLEM, said(answer)).reward == 0.0, what


@pytest.mark.parametrize(
    "body",
    [
        "import os\n    return os.listdir('/')",
        "return open('/etc/passwd').read()",
        "print(x)\n    return x",
        "raise ValueError(x)",
        "return [float(n) for n in x]",
        "return tuple(x)",
        "return [10**100_000]",
    ],
)
def test_what_is_no_list_of_digits_earns_nothing(body):
    assert TASK.scorer(PROBLEM, said(f"def f(x):\n    {body}")).verdict is Verdict.WRONG


def test_what_is_no_python_has_no_answer():
    assert TASK.scorer(PROBLEM, said("def f(x) return x")).verdict is Verdict.UNPARSED
