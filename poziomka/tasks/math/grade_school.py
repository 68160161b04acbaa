"""Grade-school word problems: GSM8K (Cobbe et al. 2021, arXiv 2110.14168) or files in its format.

A folder contains `train.jsonl` and `test.jsonl`, and optionally `validation.jsonl`; one without `train.jsonl`, or a
single file, whose rows are the test problems, is for evaluation only. Each line is an object with the
strings `question` and `answer`. The answer is a solution in sentences, with calculator annotations such as <<3*4=12>>,
which are removed here; it ends with "#### " and the right number. A problem's level is the number of calculator
annotations, that is, of arithmetic steps.
"""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

from poziomka.core.errors import TaskError, guess
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.answers import read_number
from poziomka.core.safety.untrusted import expanded
from poziomka.core.seeds import seed_of
from poziomka.core.splits import TEST, TRAIN
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript
from poziomka.tasks.rows import HUB_NAME, read_hub_rows, read_lines, splits_in

HUB = "openai/gsm8k"
SAMPLE = Path(__file__).parent / "samples" / "grade_school"  # written for Poziomka
GOLD = "####"
MARKS = re.compile(r"<<[^<>]*>>")
HOW = f"name a folder with train.jsonl and test.jsonl, grade_school:FOLDER, or the hub's grade_school:{HUB}"


def problem_of(row: object, where: str) -> Problem:
    """Converts a row of GSM8K, or of a file in its format, into a problem.

    Args:
        row: an object with the strings `question` and `answer`, a solution that ends with "#### " and a number.
        where: location of the row, for error messages.

    Raises:
        TaskError: the row has another format, or its answer does not end with "####" and one number.
    """
    question, answer = (row.get("question"), row.get("answer")) if isinstance(row, dict) else (None, None)
    if not isinstance(question, str) or not isinstance(answer, str) or not question.strip():
        received = f"the keys {sorted(map(str, row))}" if isinstance(row, dict) else f"a {type(row).__name__}"
        message = f"{where} must be an object with the texts 'question' and 'answer': received {received}"
        raise TaskError(message)
    solution, _, gold = answer.rpartition(GOLD)
    number = read_number(gold) if solution else None
    if number is None:
        message = f"the answer of {where} must end with '{GOLD} ' and one number: received {answer[-40:]!r}"
        raise TaskError(message)
    solution, steps = MARKS.subn("", solution)
    key = f"{seed_of('grade_school', 'question', question.strip()):016x}"  # equal questions in two splits share a key
    problem = Problem.ask("grade_school", key, question.strip(), number, solution=solution.strip())
    return replace(problem, level=steps)


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 if the only number in the answer after the thought equals the gold answer.

    An answer without a number, with several, or with the question in it is UNPARSED.
    """
    question = problem.prompt[-1].content
    value = read_number(transcript.reply, question)
    if value is None:
        return Score.unparsed("no single number in the answer")
    if question in transcript.answer:
        return Score.unparsed("the question is repeated")  # the only number of some questions is their answer
    if value == problem.answer:
        return Score.right(value, f"{value} is right")
    return Score.wrong(value, f"{value} is not {problem.answer}")


def read_reply(transcript: Transcript) -> str | None:
    """Returns the only number in the answer after the thought; None if there is none, or the question is repeated."""
    question = transcript.question
    return None if question in transcript.answer else read_number(transcript.reply, question)


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns the data set's solution of the problem as the thought, and its number as the answer."""
    return cast("str", problem.facts["solution"]), problem.answer


LIMITS = (
    "The data set is public and old: a pretrained model may have met its problems, the test split included.",
    "Solutions shown in the warm start were written by people for the training split; the method did not find them.",
)
SCORER_LIMITS = (
    "A number in words, or one among others outside a box, earns nothing, so accuracy includes keeping to the form.",
    "Beside the number only common words and words of the question may stand; units are not compared.",
)


def grade_school(where: str) -> Task:
    """Task of grade-school word problems (GSM8K), whose answer is one number.

    Args:
        where: a folder with train.jsonl and test.jsonl; a file of test problems; the name of a data set on the Hugging
            Face hub, such as "openai/gsm8k"; or "sample" for the few problems in the package.

    Raises:
        TaskError: the training problems (of a task for evaluation only, the test problems) cannot be read. Other splits
            are read at their first use.
    """
    folder = SAMPLE if where == "sample" else expanded(where, TaskError)

    @cache
    def read(split: str) -> list[Problem]:
        if not folder.exists() and HUB_NAME.fullmatch(where):
            rows = read_hub_rows(where, f"main/{split}-00000-of-00001.parquet", HOW)
            return [problem_of(row, place) for place, row in rows]
        return [problem_of(row, place) for place, row in read_lines(file_of(split), HOW)]

    def file_of(split: str) -> Path:
        return folder if split == TEST and folder.is_file() else folder / f"{split}.jsonl"

    def source(split: str, index: int, level: int | None = None) -> Problem:  # noqa: ARG001 levels cannot be requested
        return read(split)[index]

    def size(split: str) -> int:
        return 0 if untrained and split != TEST else len(read(split))

    if not folder.exists() and (meant := guess(where, ["sample"])):
        message = f"there is no file or folder {where}{meant}"
        raise TaskError(message)
    untrained = file_of(TEST).is_file() and not file_of(TRAIN).exists()
    size(TEST if untrained else TRAIN)  # read now, so that bad files fail before the first problem
    return Task(
        "grade_school",
        source,
        scorer,
        size=size,
        trusted=True,
        demonstration=demonstration,
        limits=LIMITS + SCORER_LIMITS,
        scorer_limits=SCORER_LIMITS,
        splits=splits_in(folder),
        read=read_reply,
    )
