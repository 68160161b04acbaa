"""Questions with answers from rows: a JSON Lines file of yours, or a data set on the Hugging Face hub.

    jsonl:problems.jsonl                                    columns question (or prompt) and answer
    jsonl:problems.jsonl?question=text&answer=solution      columns with other names
    jsonl:FOLDER                                            train.jsonl and test.jsonl, perhaps validation.jsonl
    hf:openai/gsm8k                                         a data set on the hub

A question is a text or a list of chat messages. An answer is a text or a number; where it ends with "#### 12", as in
GSM8K, it is what follows. A single file is dealt to train and test by a hash of the question.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl

from poziomka.core.errors import TaskError, nearest
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.answers import read_number
from poziomka.core.rollouts.readers import boxed, whole_answer
from poziomka.core.safety.untrusted import expanded
from poziomka.core.splits import SPLITS
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript
from poziomka.tasks.adapters.rows import Shelf
from poziomka.tasks.rows import Row, hub_splits, read_rows

QUESTIONS, ANSWERS = ("question", "prompt", "problem"), ("answer", "completion", "target")
GOLD = "####"
HOW = 'write one object a line, {"question": "…", "answer": "…"}, and name it jsonl:FILE'
LIMITS = (
    "Answers are compared as numbers where the right one is a number, else as texts without regard to case.",
    "A number in words, or one among others outside a box, earns nothing, so accuracy includes keeping to the form.",
)


def jsonl(where: str) -> Task:
    """Task of questions with answers from JSON Lines of the user: jsonl:FILE or jsonl:FOLDER.

    A folder contains train.jsonl and test.jsonl, and optionally validation.jsonl. A row has a question, text or chat
    messages, and an answer, a text or a number; of "… #### 12" only "12" counts. An answer is compared as a number if
    the right one is a number, else as text. A file's rows are dealt to train and test by a hash of the question.

    Args:
        where: the file or folder. "?question=COLUMN&answer=COLUMN" after it names the columns; the defaults are
            question (or prompt) and answer.

    Raises:
        TaskError: the file is missing, or a row has no question or answer.
    """
    path, columns = _parsed(where, ("question", "answer"))
    folder = expanded(path, TaskError)
    if not folder.is_dir():
        return _task(folder.name.removesuffix(".gz").removesuffix(".jsonl"), _rows(read_rows(folder, HOW), columns))
    files = {split: folder / f"{split}.jsonl" for split in SPLITS}
    there = {split: _rows(read_rows(file, HOW), columns) for split, file in files.items() if file.exists()}
    if not there:
        message = f"the folder {folder} holds no train.jsonl and no test.jsonl: name a file, jsonl:FILE"
        raise TaskError(message)
    return _task(folder.resolve().name, there)


def hub(where: str) -> Task:
    """Task of questions with answers from a data set on the Hugging Face hub: hf:OWNER/NAME.

    A row has a question, text or chat messages, and an answer, a text or a number; of "… #### 12" only "12" counts. An
    answer is compared as a number if the right one is a number, else as text.

    Args:
        where: the data set's name, OWNER/NAME. "?question=COLUMN&answer=COLUMN&config=NAME" after it names the columns
            (default: question or prompt, and answer) and the folder of its Parquet files (default: the only one).

    Raises:
        TaskError: the data set cannot be read, or a row has no question or answer.
    """
    name, columns = _parsed(where, ("question", "answer", "config"))
    found = hub_splits(name, columns.pop("config", None), "name it jsonl:FILE")
    rows = {split: _rows(each, columns) for split, each in found.items()}
    return _task(name.replace("/", "-"), rows["train"] if list(rows) == ["train"] else rows)


def _parsed(where: str, known: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Splits "PATH?key=value&key=value" into the path and a dictionary of the options.

    Args:
        where: the part of a task's name after "jsonl:" or "hf:".
        known: names of the allowed options.

    Raises:
        TaskError: an option is not in `known`.
    """
    path, _, query = where.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in known:
            message = f"unknown option {name!r} in {where!r}{nearest(name, known)}"
            raise TaskError(message)
    return path, options


def _rows(rows: Sequence[Row], columns: Mapping[str, str]) -> list[dict[str, object]]:
    """Returns rows whose question and answer are in the columns "prompt" and "answer"; other columns are kept.

    Args:
        rows: each row with its location for error messages.
        columns: names of the columns "question" and "answer", if the user gave them.

    Raises:
        TaskError: a row has no question, or its answer is empty or neither a text nor a number.
    """
    found = []
    for where, row in rows:
        question = _column(row, columns.get("question"), QUESTIONS, where)
        answer = _column(row, columns.get("answer"), ANSWERS, where)
        others = {name: value for name, value in row.items() if name not in (question, answer, "prompt", "answer")}
        found.append({**others, "prompt": row[question], "answer": _gold(row[answer], where)})
    return found


def _column(row: Mapping[str, object], wanted: str | None, names: Sequence[str], where: str) -> str:
    found = next((name for name in ((wanted,) if wanted else names) if row.get(name) is not None), None)
    if found is None:
        asked = repr(wanted) if wanted else " or ".join(map(repr, names))
        message = (
            f"{where} must have the column {asked}: received the columns {sorted(map(str, row))}; name others by "
            f"?{'question' if names is QUESTIONS else 'answer'}=COLUMN"
        )
        raise TaskError(message)
    return found


def _gold(answer: object, where: str) -> str:
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        message = f"the answer of {where} must be a text or a number: received a {type(answer).__name__}"
        raise TaskError(message)
    text = str(answer).replace("\r\n", "\n").rpartition(GOLD)[2].strip()
    if not text:
        message = f"the answer of {where} is empty: leave the row out"
        raise TaskError(message)
    return text


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 if the answer after the thought is right, compared as a number if possible, else as text."""
    question, gold = problem.prompt[-1].content, read_number(problem.answer)
    said = transcript.answer
    if gold is None:
        right, value = whole_answer(problem.answer), whole_answer(boxed(said) or said)
    else:
        right, value = gold, None if question in said else read_number(said, question)
    if value is None:
        return Score.unparsed("no single number in the answer" if gold else "no answer")
    if value == right:
        return Score.right(value, f"{value[:80]} is right")
    return Score.wrong(value[:400], f"{value[:80]} is not {problem.answer[:80]}")


def read_reply(transcript: Transcript) -> str | None:
    """Returns the only number of the answer after the thought, or else the whole answer or the contents of its box."""
    question, said = transcript.question, transcript.answer
    value = None if question in said else read_number(said, question)
    return value or whole_answer(boxed(said) or said)


def _task(name: str, rows: Sequence[dict[str, object]] | Mapping[str, Sequence[dict[str, object]]]) -> Task:
    shelf = Shelf(name, rows, "answer")
    return Task(
        name,
        shelf.source,
        scorer,
        size=shelf.size,
        splits=shelf.splits,
        trusted=True,
        limits=LIMITS,
        scorer_limits=LIMITS,
        read=read_reply,
    )


def file_of(where: str) -> Path:
    """Returns the path of a task jsonl:PATH, a file or a folder, from the part of its name after "jsonl:"."""
    return expanded(where.partition("?")[0], TaskError)
