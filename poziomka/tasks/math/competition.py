r"""Competition mathematics in the style of MATH and AIME: the answer is a box, "\boxed{\frac{3}{4}}", or one number.

A folder contains `train.jsonl` and `test.jsonl`, or only `test.jsonl` for evaluation. Each line is an object with the
string `problem` (or `question`); the gold answer, as the string or integer `answer`, or else as the only box of
`solution`; and, optionally, the string `solution` and `level`, an integer or "Level 3".

Every gold answer must parse as a formula (tasks/math/formulas), or loading the file raises TaskError: elsewhere, a gold
answer that did not parse became a reward for every reply. Which answers are equal is defined by the table in
tasks/math/formulas/equality.py. Replies are parsed strictly:

    there is exactly one box, not empty, and only full stops and closing marks may follow it
    the text right before the box must not change the answer: "-\boxed{12}" and "half of \boxed{12}" are not 12
    a unit must occur in the gold answer or the question, or be a common one: "12\text{ million}" is not 12
    if the gold answer is a whole number, one number among harmless words is enough: "The answer is 204."
    a formula copied from the question is wrong, unless the gold answer is written the same way: where a question asks
    to factor or to simplify, the formula that it gives is no answer
"""

import json
import re
from dataclasses import replace
from fractions import Fraction
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.answers import read_number
from poziomka.core.rollouts.boxes import BOX, open_box, trouble_before
from poziomka.core.rollouts.number_words import ATTACHED, strange_word, words_in
from poziomka.core.safety.untrusted import expanded
from poziomka.core.seeds import seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript, split_thought
from poziomka.tasks.math.competition_cross_check import audit
from poziomka.tasks.math.competition_negatives import mistakes_of
from poziomka.tasks.math.formulas.equality import equal, is_plain, key_of
from poziomka.tasks.math.formulas.formula import Formula, FormulaError
from poziomka.tasks.math.formulas.reader import read_formula
from poziomka.tasks.math.formulas.values import ValueFailure, fraction_of
from poziomka.tasks.rows import HUB_NAME, read_lines, splits_in

SAMPLE = Path(__file__).parent / "samples" / "competition"  # written for Poziomka
HUB = "HuggingFaceH4/MATH-500"
HOW = f"name a folder with test.jsonl, and train.jsonl where there is one, competition:FOLDER, or competition:{HUB}"
ASK = "Put the final answer in \\boxed{}."
LONGEST = 20_000  # characters after the thought
AFTER_BOX = re.compile(r"(?:[\s.$*_]|\\[)\]]|\\end\{[a-z]+\*?\})*")
FORMULAS = re.compile(r"\$+([^$]{1,400})\$+|\\\((.{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL)
ATTACHED_UNITS = "|".join(sorted(ATTACHED, key=len, reverse=True))
UNIT = re.compile(rf"(\\text[a-z]*\s*\{{[^{{}}]*\}})|(?<=\d)\s*({ATTACHED_UNITS})(?![A-Za-z])")  # not inside \text
LEVEL = re.compile(r"(?:Level )?(\d{1,3})")
Failure = str  # reason why no answer could be parsed


def boxed(formula: str) -> str:
    r"""Returns a formula in a LaTeX box, "\boxed{…}"."""
    return rf"\boxed{{{formula}}}"


# -------------------------------------------------------------------------------------------------------- problems
def problem_of(row: object, where: str) -> Problem:
    """Converts a row of a problem file into a problem.

    Args:
        row: an object with the string `problem` (or `question`); the gold answer, as `answer` or as the only box of
            `solution`; and optionally `solution` and `level`.
        where: location of the row, for error messages.

    Raises:
        TaskError: the row has another format, or its gold answer cannot be parsed.
    """
    row = row if isinstance(row, dict) else {"": row}
    question, solution = row.get("problem", row.get("question")), row.get("solution") or ""
    if not isinstance(question, str) or not question.strip() or not isinstance(solution, str):
        message = (
            f"{where} must be an object with the text 'problem' or 'question', and 'answer' or a 'solution' with a box"
            f": received {json.dumps(row, default=str)[:80]}"
        )
        raise TaskError(message)
    gold = _gold_of(row, solution, where)
    level = LEVEL.fullmatch(str(row.get("level", 0)))
    key = f"{seed_of('competition', 'question', question.strip()):016x}"  # equal questions in two splits share a key
    problem = Problem.ask("competition", key, f"{question.strip()}\n{ASK}", boxed(gold))
    return replace(problem, facts={"solution": solution.strip()}, level=int(level[1]) if level else 0)


def _gold_of(row: dict[str, object], solution: str, where: str) -> str:
    """Returns a row's gold answer in LaTeX; raises TaskError if there is none that can be parsed."""
    gold = row.get("answer")
    if gold is None:
        box = open_box(solution)
        if isinstance(box, Failure):
            message = f"{where} has no 'answer', and of the boxes in its solution one must be the answer: {box}"
            raise TaskError(message)
        gold = box.inside
    if isinstance(gold, int) and not isinstance(gold, bool):
        gold = str(gold)
    if not isinstance(gold, str):
        message = f"the answer of {where} must be a text or a whole number: received {gold!r}; write it in LaTeX"
        raise TaskError(message)
    gold = undressed(gold)
    box = open_box(gold)
    gold = box.inside if not isinstance(box, Failure) and not box.before and not box.after else gold
    try:
        read_formula(gold)
    except FormulaError as error:
        message = f"the gold answer {gold[:60]!r} of {where} cannot be read: {error}; mend it, or leave the problem out"
        raise TaskError(message) from error
    return gold


def _problems(path: Path) -> list[Problem]:
    return [problem_of(row, where) for where, row in read_lines(path, HOW)]


def read_hub(name: str, split: str) -> list[Problem]:
    """Returns the problems of SPLIT.jsonl of a data set on the Hugging Face hub; [] if it has no such file.

    A file that is in the local cache is not downloaded again.

    Args:
        name: name of the data set, OWNER/NAME.
        split: name of the split.

    Raises:
        TaskError: the package huggingface_hub is not installed, or the file cannot be downloaded or has a bad row.
    """
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 an extra, needed for a name of the hub only
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError  # noqa: PLC0415 as above
    except ImportError as error:
        message = f"reading {name} from the hub needs the package huggingface_hub: install it, or {HOW}"
        raise TaskError(message) from error
    try:
        path = hf_hub_download(name, f"{split}.jsonl", repo_type="dataset")
    except (OSError, ValueError, EntryNotFoundError) as error:  # no network, no such data set, no such file in it
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return []
        message = (
            f"the hub did not give {split}.jsonl of {name} ({type(error).__name__}): download it yourself and {HOW}"
        )
        raise TaskError(message) from error
    return _problems(Path(path))


# --------------------------------------------------------------------------------------------------------- scoring
@lru_cache(maxsize=1024)
def gold_of(answer: str) -> Formula:
    """Returns the parsed formula in the box of a problem's gold answer.

    Raises:
        TaskError: there is no box that can be parsed, as in a problem of another task.
    """
    box = open_box(answer)
    why = box if isinstance(box, Failure) else ""
    try:
        if not isinstance(box, Failure):
            return read_formula(box.inside)
    except FormulaError as error:
        why = str(error)
    message = f"the gold answer {answer[:60]!r} cannot be read: {why}"
    raise TaskError(message)


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 if the formula in the only box of the answer after the thought equals the gold answer.

    If the gold answer is a whole number, an answer without a box and with one number counts, too. An answer that is too
    long, or whose box cannot be parsed, is UNPARSED.
    """
    gold = gold_of(problem.answer)
    answer = split_thought(transcript.reply)[1]
    if answer is None or len(answer) > LONGEST:
        return Score.unparsed("the thought never ended" if answer is None else "the answer is too long")
    question = problem.prompt[-1].content
    box = open_box(answer)
    if not isinstance(box, Failure):
        trouble = "" if AFTER_BOX.fullmatch(box.after) else "something stands after the box"
        trouble = trouble or trouble_before(box.before, words_in(question))
        if trouble:
            return Score.unparsed(trouble)
        found = box.inside
    elif not _is_whole(gold) or BOX.search(answer):
        return Score.unparsed(box)
    else:
        number = None if question in answer else read_number(answer, question)
        if number is None:
            return Score.unparsed("there is no box, and not one number")
        found = number
    try:
        reply = _read_reply(found, gold, question)
    except FormulaError as error:
        return Score.unparsed(f"{found[:60]!r} cannot be read: {error}")
    if key_of(reply) != key_of(gold) and key_of(reply) in _given(question):
        return Score.wrong(found, f"{found} repeats what the question gives")
    if equal(gold, reply):
        return Score.right(found, f"{found} is right")
    return Score.wrong(found, f"{found} is not {problem.answer}")


def read_reply(transcript: Transcript) -> str | None:
    r"""Returns the answer of a reply for votes: the formula in its only box, or else its only number; None if none.

    Formulas of one normal form are one answer, "\frac12" and "0.5" for example; formulas that only algebra finds equal
    have separate votes.
    """
    answer = transcript.answer
    box = open_box(answer) if len(answer) <= LONGEST else "too long"
    found = box.inside if not isinstance(box, Failure) else read_number(transcript.reply, transcript.question)
    try:
        formula = None if found is None else read_formula(undressed(found))
        if formula is None:
            return None
        return str(fraction_of(formula)) if is_plain(formula) else key_of(formula)
    except (FormulaError, ValueFailure):
        return None


def undressed(formula: str) -> str:
    r"""Returns a formula without dollar signs or \( \) around it and without a full stop at its end."""
    dressed = re.fullmatch(r"\$+([^$]*[^$\\])\$+|\\\((.*)\\\)", _unstopped(formula), re.DOTALL)
    return _unstopped(dressed[1] or dressed[2] or "") if dressed else _unstopped(formula)


def _unstopped(formula: str) -> str:
    r"""Returns a formula without the full stop at its end; the dot of "\right." is kept."""
    formula = formula.strip()
    return formula[:-1].rstrip() if re.search(r"(?<!\\right)(?<![\s.,;:])\.$", formula) else formula


def _read_reply(found: str, gold: Formula, question: str) -> Formula:
    """Parses a reply's formula; "12km" is parsed as 12 with a unit, if the gold answer has no letters.

    Args:
        found: text of the formula.
        gold: the gold answer.
        question: the question, whose words are allowed as units.

    Raises:
        FormulaError: the text does not parse, or its unit is a word that changes the number, such as "million".
    """
    text = undressed(found)
    if not any(part.kind == "name" for part in gold.walk()):
        text = UNIT.sub(lambda found: found[1] or rf"\text{{ {found[2]}}}", text)
    reply = read_formula(text)
    units = {part.text for part in gold.walk() if part.kind == "measured"}
    known = words_in(question)
    for part in reply.walk():
        strange = part.kind == "measured" and part.text not in units and strange_word(part.text, known)
        if strange:
            message = f"{strange!r} is no unit of the question"
            raise FormulaError(message)
    return reply


def _is_whole(gold: Formula) -> bool:
    gold = gold.parts[0] if gold.kind == "minus" else gold
    return gold.kind == "number" and Fraction(gold.text).denominator == 1


@lru_cache(maxsize=256)
def _given(question: str) -> frozenset[str]:
    """Returns the keys (`key_of`) of the formulas in a question; single numbers and names are left out."""
    keys = set()
    for found in FORMULAS.finditer(question):
        text = next(group for group in found.groups() if group)
        for part in [text, *re.split(r"[=,.]|\\text\s*\{[^{}]*\}", text)]:
            try:
                formula = read_formula(part.strip())
            except FormulaError:
                continue
            if formula.parts:
                keys.add(key_of(formula))
    return frozenset(keys)


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns the data set's solution of the problem as the thought, and its answer in a box."""
    return str(problem.facts["solution"]), problem.answer


LIMITS = ("Public data sets are old: a pretrained model may have met their problems, the test split included.",)
SCORER_LIMITS = (
    "Answers are judged strictly: an equation written another way, or a set where a list is asked for, earns nothing.",
    "Whether an answer is as simple as was asked for is judged only for plain numbers and for products of sums.",
)


def competition(where: str) -> Task:
    """Task of competition mathematics (MATH, AIME); the answer is a formula in a box, or one number.

    Args:
        where: a folder with train.jsonl and test.jsonl, or with one of them; the name of a data set on the Hugging Face
            hub, such as "HuggingFaceH4/MATH-500"; or "sample" for the few problems in the package.

    Raises:
        TaskError: math-verify is not installed, or the problems of a split cannot be read.
    """
    if find_spec("math_verify") is None:
        message = "competition mathematics needs the package math-verify: install poziomka[tasks]"
        raise TaskError(message)
    folder = SAMPLE if where == "sample" else expanded(where, TaskError)

    @cache
    def read(split: str) -> list[Problem]:
        if not folder.exists() and HUB_NAME.fullmatch(where):
            return read_hub(where, split)
        path = folder / f"{split}.jsonl"
        other = "train" if split != "train" else "test"
        return [] if not path.exists() and (folder / f"{other}.jsonl").exists() else _problems(path)

    def source(split: str, index: int, level: int | None = None) -> Problem:  # noqa: ARG001 levels cannot be requested
        return read(split)[index]

    def size(split: str) -> int:
        return len(read(split))

    if size("train") == 0 and size("test") == 0:  # read now, so that bad files fail before the first problem
        message = f"{where} has neither train.jsonl nor test.jsonl: {HOW}"
        raise TaskError(message)
    solved = size("train") > 0 and all(problem.facts["solution"] for problem in read("train"))
    return Task(
        "competition",
        source,
        scorer,
        size=size,
        splits=splits_in(folder),
        demonstration=demonstration if solved else None,
        mistakes=lambda problem: {what: boxed(wrong) for what, wrong in mistakes_of(gold_of(problem.answer)).items()},
        audit=audit,
        limits=LIMITS + SCORER_LIMITS,
        scorer_limits=SCORER_LIMITS,
        read=read_reply,
    )
