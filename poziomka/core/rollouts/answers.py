"""Answer parsers: strict, linear in the reply's length, and never raising."""

import re
from collections.abc import Collection, Sequence

from poziomka.core.rollouts.boxes import BOX, TEXT, open_box, trouble_before
from poziomka.core.rollouts.number_words import (
    ATTACHED,
    LENGTHS,
    PLAIN,
    UNITS,
    goes_on,
    is_harmless,
    leads_to_number,
    without_sizes,
    words_in,
)
from poziomka.core.transcript import split_thought


def read_integer(reply: str) -> int | None:
    """Returns the integer that is the whole answer after the thought; None if the answer is anything else.

    Strict on purpose: two numbers, words around the number, digits of another script, or more than 40 characters give
    None.
    """
    answer = split_thought(reply)[1]
    if answer is None or len(answer) > 40:
        return None
    digits = answer[1:] if answer[:1] in "+-" else answer
    return int(answer) if digits.isascii() and digits.isdigit() else None


LONGEST = 400  # maximum length of an answer to parse, in characters
NUMERAL = re.compile(
    r"[=(\[{*_\"'`\\$:#]*"  # allowed before the number: an equals sign, a bracket, Markdown, a currency
    r"([+-]?)\\?[$£€]?(\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.(\d+))?\\?%?°?"
    r"[)\]}*_\"'`\\$£€.,;:!]*",
    re.ASCII,
)
OPERATORS = re.compile(r"[+\-*/^<>×÷−–·≠≈~]+")  # a word of these beside a number makes it another number
POWERS = ("square", "cube")
NOT_EQUAL = re.compile(r"(?<!\\)![ \t$\\(){}\[\]]*=|(?<!\\)\\=")  # "!=" and "\="; but "\!" is a space
STAR = re.compile(r"[^*]+\*+[^*]+")  # "(*)" and "$*$" are signs, "**" is Markdown
COMMAND = re.compile(r"\\([A-Za-z]+)")
LEADING = frozenset(("left", "right", "to", "gets", *UNITS)) - {"sec"}  # LaTeX commands accepted before the number
FOLLOWING = LEADING | {"sec"}  # and after it, where \sec is no function
AROUND = "=:.,;!#*_\"'`()[]{}\\$"  # marks around a word that leave it the same
HALVES = {"½": ".5", "¼": ".25", "¾": ".75", "⅕": ".2", "⅖": ".4", "⅗": ".6", "⅘": ".8", "⅛": ".125", "⅜": ".375"}
HALVES |= {"⅝": ".625", "⅞": ".875"}  # "½" is a number; thirds are no decimals


def _either(words: Collection[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


POWER = r"\s*(?:\^\s*\{?[23]\}?|[²³])(?!\w)"
SPELLINGS = (  # other spellings of the same
    (re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!:; ]|,?[~\u00a0\u2009\u202f])(?=\d{3}(?!\d))"), ","),
    (TEXT, r" \1 "),
    (re.compile(r"</?answer>"), " "),
    (re.compile(r"\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})|\\degree(?![A-Za-z])"), "°"),
    (
        re.compile(r"(?<![^\s=(\[{*_\"'`\\$:#])[−–](?=\\?[$£€]?\.?\d)"),
        "-",
    ),  # a minus sign, or a dash used as one
    (re.compile(rf"(?<![\d.,])(\d*)([{''.join(HALVES)}])"), lambda found: found[1] + HALVES[found[2]]),
    (re.compile(r"(?<![^\s(\[{*_\"'`\\$:])([A-Za-z]+)="), r"\1 = "),
    (re.compile(rf"(?<=\d)\s*m{POWER}"), " meters "),
    (re.compile(rf"(?<![A-Za-z\\])({_either(LENGTHS)}){POWER}"), r"\1 "),
    (re.compile(rf"(?<=\d)({_either(ATTACHED)})(?![\w^])", re.IGNORECASE), r" \1"),
)


def read_number(reply: str, question: str = "") -> str | None:
    r"""Returns the only number in the answer after the thought, in its shortest form; None if there is no such number.

    Accepted, as "12", "1200.5" and so on: "12", "12.", "= 12", "The answer is 12.", "$1,200.50", "**12**", "12%", "12
    km", "x = 12" and "\boxed{12}". The words around the number must be in the lists of core/rollouts/number_words.py or
    in the question; so "half of 12", "12 millions", "nicht 12" and "12 or thirteen" give None. The content of a box is
    the answer, if the text around the box does not change its value.

    These give None, too, because the reward must not depend on which number is chosen: two numbers, even two equal
    ones; a formula ("3/4", "1e3", "- 3", "-$ 3", "!= 3"); a number in words; digits of another script; a number that is
    denied or questioned ("It is not 12.", "12?"); an answer longer than LONGEST (400) characters.

    Args:
        reply: text of the reply.
        question: text of the question, whose words are accepted around the number.
    """
    answer = split_thought(reply)[1]
    if answer is None or len(answer) > LONGEST:
        return None
    known = words_in(question)
    box = open_box(answer)
    if isinstance(box, str):
        return None if BOX.search(answer) else _only_number(answer, known)
    if trouble_before(box.before, known) or any(map(str.isnumeric, box.after)):
        return None
    after = box.after.lstrip("*_`$").split()  # Markdown around the box ends here
    return _only_number(box.inside, known) if _may_follow(after, known) else None


def _only_number(answer: str, question: Collection[str]) -> str | None:
    """Returns the only number of an answer without a box, in its shortest form; None if there is none."""
    for pattern, better in SPELLINGS:
        answer = pattern.sub(better, answer)
    words = answer.split()
    places = [place for place, word in enumerate(words) if any(map(str.isnumeric, word))]
    found = NUMERAL.fullmatch(words[places[0]]) if len(places) == 1 else None
    if found is None or NOT_EQUAL.search(answer) or _has_star(words):
        return None
    before, after = words[: places[0]], words[places[0] + 1 :]
    if len(before) > 1 and before[-1] == "=" and re.fullmatch(r"[({\[$\\*]*[A-Za-z]", before[-2]):
        before = before[:-2]  # "x = 12"
    if not _may_lead(before, question) or not _may_follow(after, question):
        return None
    sign, whole, part = found.groups(default="")
    whole, part = whole.replace(",", "").lstrip("0") or "0", part.rstrip("0")
    number = f"{whole}.{part}" if part else whole
    return f"-{number}" if sign == "-" and number != "0" else number


def _may_lead(words: Sequence[str], question: Collection[str]) -> bool:
    """Returns whether words may come before the number without changing its value."""
    bare = without_sizes([_bare(word) for word in words])
    is_sign = any("!" in word.replace("\\!", "") and not _bare(word) for word in words)
    is_sign = is_sign or any(word.startswith("/") for word in bare)
    if is_sign or not _are_known(words, LEADING) or not _are_beside(words, bare, question):
        return False
    sentence = [word for word in " ".join(words).rpartition(". ")[2].split() if _bare(word)]  # "####" leads to nothing
    if sentence and sentence[-1].endswith(":") and _bare(sentence[-1]) in POWERS:
        return True  # "area of the square: 12"
    return leads_to_number([_bare(word) for word in sentence])


def _may_follow(words: Sequence[str], question: Collection[str]) -> bool:
    """Returns whether words may come after the number without changing its value."""
    bare = [_bare(word) for word in words]
    told = [word for word in bare if word]
    beside = _are_beside(words, [*bare[:1], *without_sizes(bare[1:])], question)
    return beside and _are_known(words, FOLLOWING) and not goes_on(told, question)


def _bare(word: str) -> str:
    return word.strip(AROUND).lower()


def _has_star(words: Sequence[str]) -> bool:
    """Returns whether words of an answer contain a "*" that is an operator, as in "(*)" and "*$", and not Markdown.

    Markdown encloses something between two stars.
    """
    marks = [word for word in words if "*" in word and not _bare(word)]
    return any(map(STAR.fullmatch, marks)) or (bool(marks) and "".join(words).count("*") % 2 == 1)


def _are_known(words: Sequence[str], commands: Collection[str]) -> bool:
    """Returns whether all LaTeX commands in some words are in `commands`."""
    return all(name in commands for word in words for name in COMMAND.findall(word))


def _has_sign(bare: str) -> bool:
    """Returns whether a word is a minus or division sign or has one at an end, such as "-" of "(-)", "-€" and "total-".

    Args:
        bare: the word without the marks around it.
    """
    parts = re.split(r"[-–/]+", bare)
    if not bare or "" not in parts:
        return False
    is_listed = bool(parts[-1]) and (bare[0] == "/" or parts[1] in PLAIN)  # "12 /week", "-Answer: 12"
    return not is_listed


def _are_beside(words: Sequence[str], bare: Sequence[str], question: Collection[str]) -> bool:
    """Returns whether words may be beside the number: none is an operator, and all their parts are harmless.

    Args:
        words: the words as they are in the answer.
        bare: the words in lower case, without punctuation around them.
        question: stems of the question's words (`words_in`).
    """
    if any(map(OPERATORS.fullmatch, words)) or any(map(_has_sign, bare)):
        return False
    parts = [part for word in bare for part in re.split(r"[-–/]", word)]
    return all(is_harmless(part, question) for part in parts if part)


def read_boxed(reply: str) -> str | None:
    r"""Returns the content of the only \boxed{…} in the answer after the thought; None if there is no such box.

    Nested braces are matched: "\boxed{\frac{1}{2}}" gives "\frac{1}{2}". Two boxes, an unclosed box, nested boxes, an
    empty box and an answer longer than LONGEST (400) characters give None.
    """
    answer = split_thought(reply)[1]
    if answer is None or len(answer) > LONGEST:
        return None
    box = open_box(answer)
    return None if isinstance(box, str) else box.inside
