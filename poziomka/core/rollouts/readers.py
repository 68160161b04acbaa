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

DIGITS = 400  # maximum length of a numeral, in characters
NUMERAL = re.compile(
    r"(?:(?<![\w)])[-+\N{MINUS SIGN}](?:\\?[$£€])?)?(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?![eE]\d)", re.ASCII
)
LETTER = re.compile(
    r"(?:(?:the )?(?:correct |right |final )?(?:answer|option|choice)(?: is)?\s*:?\s*)?\(?([A-Za-z])\)?", re.IGNORECASE
)
MARKS = " \t\n*_`\"'.,;:!$"  # around a letter


def last_integer(answer: str) -> str | None:
    """Returns the last number of an answer, "1,440" as "1440"; None if it is not an integer or there is no number.

    Lenient: earlier numbers are ignored, so an answer that lists candidates is read as the last of them. `number` is
    the strict reader.
    """
    numerals = NUMERAL.findall(answer)
    if not numerals or "." in numerals[-1] or len(numerals[-1]) > DIGITS:
        return None
    return str(int(re.sub(r"[,\\$£€]", "", numerals[-1]).replace("\N{MINUS SIGN}", "-")))


def number(answer: str) -> str | None:
    """Returns the only number of an answer in its shortest form, "12.50" as "12.5"; None if it has none or several.

    Strict: common words, units and Markdown are allowed around it; with a formula, a denial ("not 12") or a second
    number, the result is None.
    """
    return read_number(answer)


def boxed(answer: str) -> str | None:
    r"""Returns the contents of the only \boxed{…} of an answer; None if it has no box or several."""
    return read_boxed(answer)


def choice(answer: str) -> str | None:
    """Returns the letter of a multiple-choice answer: "B" for "b", "(b)" or "Answer: B"; None for any other text."""
    found = LETTER.fullmatch(answer.strip(MARKS))
    return None if found is None else found[1].upper()


def any_order(answer: str) -> str | None:
    """Returns the words of an answer in sorted order, for lists whose order does not matter; None if it is empty.

    Words that are integers are sorted as such: "12 7 12" is "7 12 12".
    """
    words = answer.split()
    return " ".join(sorted(words, key=lambda word: (not word.isdecimal(), len(word), word))) or None


def whole_answer(answer: str) -> str | None:
    """Returns the whole answer in lower case, with single spaces and without a full stop; None if it is empty."""
    return " ".join(answer.split()).removesuffix(".").casefold() or None


@dataclass(frozen=True)
class exact:  # noqa: N801 it is called as a function: exact(last_integer)
    """A scorer that gives reward 1 if a reader finds the same answer in the reply and in the gold answer, else 0.

        task = pz.Task("sums", generator, pz.exact(pz.number))

    A reply in which the reader finds no answer is UNPARSED. A gold answer in which it finds none is a failed check.

    Attributes:
        read: `last_integer`, `number`, `boxed`, `choice`, `whole_answer`, or your own function: it takes the text of
            the reply after the thought and returns the answer in it, None if there is none.
    """

    read: Reader

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns reward 1 (CORRECT) if the reply and the gold answer have the same answer, else 0 (WRONG, UNPARSED).

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
            return Score.unparsed(f"{name} finds no answer in the reply")
        if str(found) == str(gold):
            return Score.right(str(found), f"{found} is right")
        return Score.wrong(str(found), f"{found} is not {gold}")
