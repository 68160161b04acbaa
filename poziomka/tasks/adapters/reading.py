r"""Readers, which select the part of a reply that the scorer of another library receives.

Trainers of other libraries pass everything that the model wrote to their scorers, the thought included, and so does
`whole`: rewards are then the same as theirs. Many such scorers reward an answer that occurs only in the thought, or the
right one among several; `check_task` detects them. The stricter readers here keep the scorer and fix that: a reply that
they cannot parse is UNPARSED, earns nothing, and is not passed to the scorer.
"""

from collections.abc import Callable

from poziomka.core.problem import Score
from poziomka.core.rollouts.boxes import TEXT
from poziomka.core.rollouts.number_words import HEDGES, WORD, is_denial, is_number_word
from poziomka.core.transcript import split_thought

LONGEST = 400  # maximum characters of an answer that `one_box` accepts
BOX = r"\boxed{"

LIMITS = ("The scorer is not ours: run the scorer's trial on it before its rewards are believed.",)

Read = Callable[[str], str | None]


def whole(reply: str) -> str | None:
    """Returns the reply unchanged, thought included; trainers of other libraries pass this to their scorers."""
    return reply


def after_thought(reply: str) -> str | None:
    """Returns the text after the thought; None if it is empty, or the thought never ends or ends twice."""
    return split_thought(reply)[1] or None


def one_box(reply: str) -> str | None:
    r"""Returns the answer if it is one "\boxed{…}" of at most 400 ASCII characters and nothing else; otherwise None.

    A box whose words change or deny its number, for example "\boxed{12\text{ million}}", gives None as well.
    """
    answer = split_thought(reply)[1]
    if answer is None or len(answer) > LONGEST or answer.count("boxed") != 1:
        return None
    words = [word.lower() for text in TEXT.findall(answer) for word in WORD.findall(text)]
    if any(is_number_word(word) or is_denial(word) or word in HEDGES for word in words):
        return None
    if not answer.startswith(BOX) or not answer.endswith("}") or not answer.isascii():
        return None
    depth = 0
    for place, letter in enumerate(answer):
        depth += (letter == "{") - (letter == "}")
        if letter == "}" and depth == 0:
            return answer if place == len(answer) - 1 else None
    return None


def unread(read: Read) -> Score:
    """Returns the UNPARSED score for a reply in which `read` found no answer; its message names `read`."""
    return Score.unparsed(f"{getattr(read, '__name__', 'the reader')} finds no answer in the reply")
