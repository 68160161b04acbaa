"""Answers of which one is right: readers that bring harmless spellings of an answer to one form.

A reader takes the whole answer and raises Unread where it is anything else than one answer. Two answers are the same
where their forms are equal. Only ASCII is read, except where an answer is copied as text.
"""

import json
import re
from collections.abc import Callable, Hashable
from decimal import Decimal
from fractions import Fraction
from math import gcd
from typing import Any

Form = Callable[[str], Hashable]

DIGITS = 4000  # of a number, at most
NUMERAL = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


class Unread(ValueError):
    """An answer is not in the form that was asked for; the message says which that is."""


def text(answer: str) -> str:
    """Reads a text; runs of white space are one space."""
    return " ".join(answer.split())


def word(answer: str) -> str:
    """Reads a text whose capital letters do not matter."""
    plain = text(answer)
    return plain.lower() if plain.isascii() else plain


def letters(answer: str) -> str:
    """Reads a text that is copied letter by letter, white space included."""
    return answer


def number(answer: str) -> Decimal:
    """Reads one number: digits, perhaps with a sign, commas between thousands, a point, an exponent."""
    found = NUMERAL.fullmatch(answer) if len(answer) <= DIGITS else None
    if found is None:
        message = "the answer is not one number"
        raise Unread(message)
    sign, whole, part, exponent = found.groups(default="")
    return _signed(Decimal(f"{sign}{whole.replace(',', '')}{part}{exponent}"))


def _signed(value: Decimal) -> Decimal:
    """Returns a number, -0 as 0; arithmetic would round it to 28 digits."""
    return value or abs(value)


def hexadecimal(answer: str) -> int:
    """Reads a number that begins with 0x, after a sign perhaps."""
    if not re.fullmatch(r"[+-]?0x[0-9a-fA-F]{1,1000}", answer):
        message = "the answer is not one number that begins with 0x"
        raise Unread(message)
    return int(answer, 16)


def complex_number(answer: str) -> tuple[Decimal, Decimal]:
    """Reads a complex number: "-11.0 + 3.0i", "-11+3i", "3i", "-i", "5"."""
    plain = "".join(answer.split())
    part = r"\d{1,60}(?:\.\d{1,20})?"
    found = re.fullmatch(rf"(?:([+-]?{part})(?![\d.i]))?(?:([+-]?)({part})?(i))?", plain, re.ASCII)
    if found is None or not plain or (found[1] and found[4] and not found[2]):
        message = "the answer is not one complex number a + bi"
        raise Unread(message)
    imaginary = Decimal(f"{found[2] or ''}{found[3] or 1}") if found[4] else Decimal(0)
    return _signed(Decimal(found[1] or 0)), _signed(imaginary)


def fraction(answer: str) -> tuple[int, int]:
    r"""Reads a fraction in lowest terms: "3/4", "$3/4$", "\frac{3}{4}"."""
    plain = "".join(answer.split())
    if plain.startswith("$") and plain.endswith("$"):
        plain = plain[1:-1]
    size = r"(\d{1,200})"
    found = re.fullmatch(rf"{size}/{size}|\\d?frac\{{{size}\}}\{{{size}\}}", plain, re.ASCII)
    if found is None:
        message = "the answer is not one fraction"
        raise Unread(message)
    top, bottom = (int(digits) for digits in found.groups() if digits is not None)
    if bottom == 0 or gcd(top, bottom) != 1:
        message = f"the fraction {plain[:50]} is not in lowest terms"
        raise Unread(message)
    return top, bottom


def words(answer: str) -> tuple[str, ...]:
    """Reads words with commas between them."""
    return tuple(text(part) for part in answer.split(","))


def row(answer: str) -> tuple[str, ...]:
    """Reads words or numbers with white space between them."""
    return tuple(answer.split())


def grid(answer: str) -> tuple[tuple[str, ...], ...]:
    """Reads lines of words or numbers with white space between them; empty lines are passed over."""
    return tuple(row(line) for line in answer.split("\n") if line.strip())


def values(answer: str) -> tuple[Decimal, ...]:
    """Reads a list of numbers in square brackets, each with or without quotes."""
    plain = answer.strip()
    if not (plain.startswith("[") and plain.endswith("]")):
        message = "the answer is not one list in square brackets"
        raise Unread(message)
    inside = plain[1:-1].strip()
    return tuple(_unquoted(part.strip()) for part in inside.split(",")) if inside else ()


def _unquoted(part: str) -> Decimal:
    if len(part) > 1 and part[0] == part[-1] and part[0] in "'\"":
        part = part[1:-1]
    if "," in part:
        message = "a number of the list has a comma"
        raise Unread(message)
    return number(part)


def factors(answer: str) -> tuple[int, ...]:
    """Reads factors in any order, with a multiplication sign (×, * or x) between them."""
    parts = [part.strip() for part in re.split(r"[×*x]", answer)]
    if not all(re.fullmatch(r"\d{1,60}", part, re.ASCII) for part in parts):
        message = "the answer is not a product of whole numbers"
        raise Unread(message)
    return tuple(sorted(map(int, parts)))


def duration(answer: str) -> str:
    """Reads a duration: "38 days", "1 day, 03:20", "10:12:15.842"."""
    plain = re.sub(r"\bday\b", "days", word(answer)).replace(" ,", ",")
    clock = r"\d{2,6}:\d\d(?::\d\d(?:\.\d{3})?)?"
    if not re.fullmatch(rf"(?:\d{{1,9}} days)(?:, {clock})?|{clock}", plain, re.ASCII):
        message = "the answer is not one duration in the form that was asked for"
        raise Unread(message)
    return plain


def significant(answer: str) -> Decimal:
    """Reads a number of at most three significant digits, in scientific notation."""
    if not re.fullmatch(r"[+-]?\d(\.\d{1,2})?e[+-]?\d{1,4}", answer, re.ASCII | re.IGNORECASE):
        message = "the answer is not one number of three digits in e notation"
        raise Unread(message)
    return _signed(Decimal(answer))


def data(answer: str) -> str:
    """Reads JSON; what is equal in Python only (1, 1.0 and true) is kept apart.

    Returns:
        JSON again, in one spelling.
    """
    return json.dumps(read_json(answer))


def read_json(answer: str) -> Any:
    """Returns what JSON spells; no key of an object stands there twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            message = "a key of the answer stands there twice"
            raise Unread(message)
        return dict(pairs)

    def refuse(constant: str) -> Any:
        message = f"the answer holds {constant}"
        raise Unread(message)

    try:
        return json.loads(answer, object_pairs_hook=once, parse_constant=refuse)
    except Unread:
        raise
    except (ValueError, RecursionError) as error:
        message = "the answer is not JSON"
        raise Unread(message) from error


def lists_of_words(answer: str) -> list[list[str]]:
    """Returns the lists of texts that JSON spells."""
    found = read_json(answer)
    shaped = isinstance(found, list) and all(
        isinstance(group, list) and group and all(isinstance(member, str) for member in group) for group in found
    )
    if not shaped:
        message = "the answer is not a list of lists of texts"
        raise Unread(message)
    return list(found)


def groups(answer: str) -> tuple[tuple[str, ...], ...]:
    """Reads groups of words as JSON; neither the order of groups nor that within them matters."""
    return tuple(sorted(tuple(sorted(group)) for group in lists_of_words(answer)))


def partitions(answer: str) -> tuple[tuple[str, ...], ...]:
    """Reads rows of words as JSON; the order of the rows does not matter, that within them does."""
    return tuple(sorted(tuple(group) for group in lists_of_words(answer)))


def polynomial(answer: str) -> tuple[tuple[tuple[tuple[str, int], ...], int], ...]:
    """Reads an expanded polynomial with whole coefficients: "8*y**4 - 4*x*y + 3"; each monomial stands there once."""
    plain = "".join(answer.split())
    signed = plain if plain[:1] in ("+", "-") else f"+{plain}"
    pieces = re.split(r"([+-])", signed)[1:]
    terms: dict[tuple[tuple[str, int], ...], int] = {}
    for sign, term in zip(pieces[::2], pieces[1::2], strict=True):
        monomial, coefficient = _term(term)
        if monomial in terms:
            message = "a monomial of the answer stands there twice"
            raise Unread(message)
        terms[monomial] = coefficient if sign == "+" else -coefficient
    return tuple(sorted((monomial, number) for monomial, number in terms.items() if number))


def _term(term: str) -> tuple[tuple[tuple[str, int], ...], int]:
    coefficient, powers = 1, dict[str, int]()
    for place, factor in enumerate(term.replace("**", "^").split("*")):
        found = re.fullmatch(r"(\d{1,200})|([a-zA-Z])(?:\^(\d{1,4}))?", factor, re.ASCII)
        if found is None or (found[1] and place) or found[2] in powers:
            message = "the answer is not one expanded polynomial"
            raise Unread(message)
        if found[1]:
            coefficient = int(found[1])
        else:
            powers[found[2]] = int(found[3] or 1)
    return tuple(sorted(powers.items())), coefficient


def assignments(answer: str) -> frozenset[tuple[str, str]]:
    """Reads who is what: "Ann is a knight, Bob is a knave, and Eve is a knight."."""
    plain = word(answer).removesuffix(".")
    parts = re.split(r",? and |, ", plain)
    found = [re.fullmatch(r"([a-z]+) is (?:an? )?([a-z]+)", part) for part in parts]
    pairs = {(match[1], match[2]) for match in found if match is not None}
    if None in found or len({name for name, _ in pairs}) < len(found):
        message = "the answer does not say of each person once who is what"
        raise Unread(message)
    return frozenset(pairs)


def rounded_like(exact: Fraction | float, answer: Decimal) -> Decimal:
    """Returns an exact number, rounded to as many decimal places as an answer has."""
    places = max(0, -int(answer.as_tuple().exponent))
    scale = Fraction(10) ** places
    scaled = Fraction(exact) * scale
    floor = scaled.numerator // scaled.denominator
    nearest = floor + (scaled - floor >= Fraction(1, 2))
    return Decimal(f"{nearest}E-{places}")
