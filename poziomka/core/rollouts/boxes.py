r"""Parser of boxed answers such as "\boxed{12}", and checks of the text before a box."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from poziomka.core.rollouts.number_words import HEDGES, is_denial, is_harmless, is_number_word, leads_to_number

LOOKED_AT = 300  # characters before a box that are checked
BOX = re.compile(r"\\(?:f|frame)?boxed|\\framebox|\\fbox|boxed")
TEXT = re.compile(r"\\(?:text(?:bf|it|rm|normal)?|mbox|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}")
MARKUP_AT_END = re.compile(r"(?:\\[()\[\],;:! \\]|\\quad|\\qquad|\\displaystyle|[$*_`\"'“”‘’(\[{#~&]|\s)+$")
COMMAND = re.compile(r"\\[A-Za-z]+$")
OPERATOR = re.compile(r"[-+/^<>|×÷−–·!≠≈][)\]}]*$")
LEADS = (r"\implies", r"\Rightarrow", r"\Longrightarrow", r"\rightarrow", r"\to", r"\therefore", r"\in")
CLAUSE = re.compile(r"[.!?;:\n=。，：；]|,\s")
ARROW = re.compile(r"(?:^|\n)\s*[-=]>$")
CLAIM = re.compile(  # ends of text that introduce an answer
    r"(?<![<>!≠~≈:/+\-*^])(?<![!/≠]\s)(?:=|:=)$|[:.!,;。：，；⇒→∴∈]$"
)
IS = frozenset(["ist", "est", "es", "è", "é", "jest", "är", "er", "是", "为", "為", "答案是", "答案为", "答案為"])
JOINTS = frozenset(["so", "then", "thus", "hence", "therefore", "and", "but"])  # a clause begins after them
INNER = frozenset(
    ["that", "which", "who", "since", "as", "because", "if", "when", "where", "for", "of"]
)  # or with them
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


@dataclass(frozen=True)
class Box:
    """The only box of an answer.

    Attributes:
        inside: content of the box, without white space around it, escaped or not.
        before: text before the box.
        after: text after the box.
    """

    inside: str
    before: str
    after: str


def open_box(text: str) -> Box | str:
    """Returns the only box of a text; or a string, the reason why the text does not have exactly one box.

    Nested braces are matched. A box without braces or with empty content is no box.
    """
    boxes = list(BOX.finditer(text))
    if len(boxes) != 1 or not boxes[0][0].startswith("\\"):
        return f"there are {len(boxes)} boxes" if boxes else "there is no box"
    start = boxes[0].end()
    start += len(text[start:]) - len(text[start:].lstrip())
    if text[start : start + 1] != "{":
        return "the box has no braces"
    depth = 0
    for mark in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if depth == 0:
            inside = _stripped(text[start + 1 : start + mark.start()])
            after = text[start + mark.end() :]
            return Box(inside, text[: boxes[0].start()], after) if inside else "the box is empty"
    return "the box is never closed"


def _stripped(text: str) -> str:
    r"""Returns a text without white space around it; an escaped space at its end, as in "12\ ", is white space too."""
    text = text.strip()
    while (len(text) - len(text.rstrip("\\"))) % 2:
        text = text[:-1].strip()
    return text


def trouble_before(before: str, question: Collection[str] = ()) -> str:
    r"""Returns the reason why the text before a box changes or denies its content; "" if it does not.

    In "-\boxed{12}", "x > \boxed{12}", "half of \boxed{12}" and "It is not \boxed{12}" the answer is not 12.

    Args:
        before: text of the answer before the box.
        question: stems of the question's words (`words_in`).
    """
    lead = TEXT.sub(r" \1 ", before[-LOOKED_AT:])
    bare = MARKUP_AT_END.sub("", lead)
    new_line = "\n" in lead[len(bare) :]
    claims = not bare or CLAIM.search(bare) is not None or bare.endswith(LEADS) or ARROW.search(bare) is not None
    words = [word.lower() for word in WORD.findall(CLAUSE.split(bare.rstrip(":=, "))[-1])]
    denial = next((word for word in (_governing(words) if bare.endswith("=") else words) if is_denial(word)), None)
    if denial is not None:
        return f"{denial!r} before the box denies or doubts it"
    if claims or _introduces(bare, words, question, new_line=new_line):
        return ""
    return f"{bare[-20:].strip()!r} stands before the box"


def _governing(words: list[str]) -> list[str]:
    """Returns those words before an equation that can deny it: the last two, and those before a subordinate clause.

    In "It is not true that x = 12", "not" denies the equation. In "the chance that it does not rain today = 0.4", it
    belongs to the subordinate clause and denies nothing.
    """
    begun = max((place + 1 for place, word in enumerate(words) if word in JOINTS), default=0)
    inner = next((place for place, word in enumerate(words) if place >= begun and word in INNER), len(words))
    return [*words[begun:inner], *words[-2:]]


def _introduces(bare: str, words: list[str], question: Collection[str], *, new_line: bool) -> bool:
    """Returns whether the text before a box introduces an answer, judged by its last word, as in "the answer is".

    Args:
        bare: text before the box, without Markdown at its end.
        words: words of its last clause, in lower case.
        question: stems of the question's words (`words_in`).
        new_line: whether the box begins a line.
    """
    if COMMAND.search(bare):
        return False
    if not bare[-1].isalpha():
        return new_line and OPERATOR.search(bare) is None
    last = words[-1] if words else ""
    if not leads_to_number(words) or is_number_word(last) or last in HEDGES:
        return False
    return new_line or last in IS or (len(last) > 1 and is_harmless(last, question))
