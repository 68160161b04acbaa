"""Readers of answers, and the scorer that compares what they read with the gold answer.

A reader takes the text after the thought (`Transcript.answer`) and returns the answer in it, None where there is none.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.answers import read_boxed, read_number
from poziomka.core.transcript import Transcript

Reader = Callable[[str], str | int | None]

DIGITS = 400  # longest integer that is read
NUMERAL = re.compile(
    r"(?:(?<![\w)])[-+\N{MINUS SIGN}](?:\\?[$£€])?)?(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?![eE]\d)", re.ASCII
)
LETTER = re.compile(
    r"(?:(?:the )?(?:correct |right |final )?(?:answer|option|choice)(?: is)?\s*:?\s*)?\(?([A-Za-z])\)?", re.IGNORECASE
)
MARKS = " \t\n*_`\"'.,;:!$"  # around a letter


def last_integer(answer: str) -> str | None:
    """Returns the last number of an answer, "1,440" as "1440"; None if it is no integer, or there is no number.

    Lenient: earlier numbers do not count, so an answer that lists candidates is read as the last of them. `number` is
    the strict reader.
    """
    numerals = NUMERAL.findall(answer)
    if not numerals or "." in numerals[-1] or len(numerals[-1]) > DIGITS:
        return None
    return str(int(re.sub(r"[,\\$£€]", "", numerals[-1]).replace("\N{MINUS SIGN}", "-")))


def number(answer: str) -> str | None:
    """Returns the only number of an answer in its shortest form, "12.50" as "12.5"; None where there are none or two.

    Strict: common words, units and Markdown may stand around it; a formula, a denial or a second number makes it None.
    """
    return read_number(answer)


def boxed(answer: str) -> str | None:
    r"""Returns the contents of the only \boxed{…} of an answer; None where there are none or several."""
    return read_boxed(answer)


def choice(answer: str) -> str | None:
    """Returns the letter of a multiple-choice answer in upper case: "B", "(b)", "Answer: B"; None for anything else."""
    found = LETTER.fullmatch(answer.strip(MARKS))
    return None if found is None else found[1].upper()


def whole_answer(answer: str) -> str | None:
    """Returns the whole answer in lower case, with single spaces and without a full stop; None if it is empty."""
    return " ".join(answer.split()).removesuffix(".").casefold() or None


@dataclass(frozen=True)
class exact:  # noqa: N801 it is called as a function: exact(last_integer)
    """A scorer that gives reward 1 where the answer that a reader finds equals the one in the gold answer.

        task = pz.Task("sums", generator, pz.exact(pz.number))

    A reply without an answer is UNPARSED; a gold answer that the reader cannot read is a failed check.

    Attributes:
        read: `last_integer`, `number`, `boxed`, `choice`, `whole_answer`, or a function of yours: it takes the text
            after the thought and returns the answer, None where there is none.
    """

    read: Reader

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Scores a reply; see the class.

        Raises:
            TaskError: the reader finds no answer in the gold answer.
        """
        name = getattr(self.read, "__name__", "the reader")
        gold, found = self.read(problem.answer), self.read(transcript.answer)
        if gold is None:
            message = (
                f"the gold answer of problem {problem.key!r} is no answer that {name} reads: {problem.answer!r:.80}"
            )
            raise TaskError(message)
        if found is None:
            return Score.unparsed(f"{name} finds no answer after the thought")
        if str(found) == str(gold):
            return Score.right(str(found), f"{found} is right")
        return Score.wrong(str(found), f"{found} is not {gold}")
