r"""What of a reply a peer's scorer is shown.

A peer's trainer shows its scorers everything that the model wrote, the thought included, and so does `whole`: the
rewards are then the peer's own. Many such scorers pay for an answer that only the thought holds, or for the right one
among several; `check_task` finds them. The stricter readers here keep the scorer and mend that: a reply that they
cannot read is UNPARSED, earns nothing, and is not shown.
"""

from collections.abc import Callable

from poziomka.core.problem import Score
from poziomka.core.rollouts.answers import split_thought
from poziomka.core.rollouts.boxes import TEXT
from poziomka.core.rollouts.number_words import HEDGES, WORD, is_denial, is_number_word

LONGEST = 400  # characters of an answer that `one_box` reads
BOX = r"\boxed{"

LIMITS = ("The scorer is not ours: run the scorer's trial on it before its rewards are believed.",)

Read = Callable[[str], str | None]


def whole(reply: str) -> str | None:
    """Returns the reply as it is, thought and all: what a peer's trainer shows."""
    return reply


def after_thought(reply: str) -> str | None:
    """Returns what follows the thought; None where it is empty, or the thought never ends or ends twice."""
    return split_thought(reply)[1] or None


def one_box(reply: str) -> str | None:
    r"""Returns an answer that is one "\boxed{…}" and nothing else, at most LONGEST characters; else None.

    A box whose words change or deny its number, "\boxed{12\text{ million}}" for one, is None too.
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
    """Returns the score of a reply that a reader cannot read."""
    return Score.unparsed(f"{getattr(read, '__name__', 'the reader')} finds no answer in the reply")
