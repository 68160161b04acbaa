"""Reading an answer out of a reply: strictly, in one pass, and without ever raising."""

import re

THINK, CLOSE = "<think>", "</think>"


def split_thought(reply: str) -> tuple[str, str | None]:
    """Splits a reply into its thought (all of them, where tools interrupt it) and what follows.

    What follows is None while a thought is still open: words in a thought are never an answer. It is None too
    where "</think>" closes what was closed already: a model could else go on thinking after its budget was spent.
    A reply that never opened a thought is all answer.
    """
    if CLOSE not in reply:
        before, opened, inside = reply.partition(THINK)
        return (inside.strip(), None) if opened else ("", before.strip())
    thought, *between, answer = reply.split(CLOSE)
    closed_twice = any(THINK not in words for words in between)
    thought = CLOSE.join([thought, *between]).replace(THINK, "", 1).strip()
    return thought, None if closed_twice or THINK in answer else answer.strip()


def read_integer(reply: str) -> int | None:
    """Returns the integer that is the whole answer after the thought; None for anything else.

    Strict on purpose: two numbers, words around the number, or digits of another script are no answer.
    """
    answer = split_thought(reply)[1]
    if answer is None or len(answer) > 40:
        return None
    digits = answer[1:] if answer[:1] in "+-" else answer
    return int(answer) if digits.isascii() and digits.isdigit() else None


LONGEST = 400  # characters of an answer in which a number is looked for
BOX = re.compile(r"\\boxed\s*\{([^{}]*)\}")
NUMERAL = re.compile(
    r"[=(\[{*_\"'`\\$:#]*"  # what may stand before: an equals sign, a bracket, Markdown, a currency
    r"([+-]?)\\?[$£€]?(\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.(\d+))?\\?%?"
    r"[)\]}*_\"'`\\$£€.,;:!?]*",
    re.ASCII,
)
OPERATORS = re.compile(r"[+\-*/^<>×÷−–·]+")  # a word of these beside a number makes it another number
SCALES = frozenset(("minus", "negative", "dozen", "hundred", "thousand", "million", "billion", "trillion"))
DENIALS = frozenset(("not", "isn't", "isn’t", "never", "neither", "nor", "wrong", "incorrect"))
OTHERWISE = SCALES | DENIALS  # words beside a number after which it is not the answer


def read_number(reply: str) -> str | None:
    r"""Returns the only number in the answer after the thought, in its shortest form; None for anything else.

    Words may stand around it: "12", "12.", "= 12", "The answer is 12.", "$1,200.50", "**12**", "12%" and
    "\boxed{12}" are read, as "12", "1200.5" and so on. A box says what the answer is, whatever stands beside it.
    Two numbers, even two equal ones, a formula ("3/4", "1e3", "- 3"), a number in words, digits of another script, a
    number that is denied ("It is not 12.") and an answer longer than LONGEST characters are none, as a reward must not
    depend on which of them is picked.
    """
    answer = split_thought(reply)[1]
    if answer is None or len(answer) > LONGEST:
        return None
    boxes = BOX.findall(answer)
    if len(boxes) > 1 or answer.count("boxed") != len(boxes):
        return None
    words = (boxes[0] if boxes else answer).split()
    numerals = [word for word in words if any(letter.isnumeric() for letter in word)]
    found = NUMERAL.fullmatch(numerals[0]) if len(numerals) == 1 else None
    if found is None or any(OPERATORS.fullmatch(word) or word.strip(".,;:!?").lower() in OTHERWISE for word in words):
        return None
    sign, whole, part = found.groups(default="")
    whole, part = whole.replace(",", "").lstrip("0") or "0", part.rstrip("0")
    number = f"{whole}.{part}" if part else whole
    return f"-{number}" if sign == "-" and number != "0" else number


def read_boxed(reply: str) -> str | None:
    r"""Returns what stands in the only \boxed{…} of the answer after the thought; None for anything else.

    Braces inside are matched, so "\boxed{\frac{1}{2}}" is read as "\frac{1}{2}". Two boxes, a box that never closes,
    one inside another, an empty one and an answer longer than LONGEST characters are none.
    """
    answer = split_thought(reply)[1]
    if answer is None or len(answer) > LONGEST or answer.count("boxed") != 1:
        return None
    _, opened, rest = answer.partition(r"\boxed{")
    depth = 1
    for place, character in enumerate(rest):
        escaped = place > 0 and rest[place - 1] == "\\"
        if character in "{}" and not escaped:
            depth += 1 if character == "{" else -1
        if depth == 0:
            return (rest[:place].strip() or None) if opened else None
    return None
