"""Parsers for problems with one right answer: they map harmless variations of an answer to one normalized form.

A parser takes the whole answer and raises Unread if it is anything but one answer. Two answers are equal if their forms
are equal. Only ASCII is accepted, except in answers that are copied as text.
"""

import json
import re
from collections.abc import Callable, Hashable
from decimal import Decimal
from fractions import Fraction
from math import gcd
from typing import Any

Form = Callable[[str], Hashable]

DIGITS = 4000  # maximal length of a number
NUMERAL = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


class Unread(ValueError):
    """Raised if an answer does not have the required format, which makes it UNPARSED; the message names the format."""


def text(answer: str) -> str:
    """Returns a text in normalized form: runs of white space become one space."""
    return " ".join(answer.split())


def word(answer: str) -> str:
    """Returns a text in normalized form: runs of white space become one space, and ASCII texts lower case."""
    plain = text(answer)
    return plain.lower() if plain.isascii() else plain


def letters(answer: str) -> str:
    """Returns a text unchanged, for answers that must be copied exactly, white space included."""
    return answer


def number(answer: str) -> Decimal:
    """Parses one number: digits, optionally with a sign, thousands separators, a decimal point and an exponent.

    Raises:
        Unread: the answer is anything else, or has more than 4,000 characters.
    """
    found = NUMERAL.fullmatch(answer) if len(answer) <= DIGITS else None
    if found is None:
        message = "the answer is not one number"
        raise Unread(message)
    sign, whole, part, exponent = found.groups(default="")
    return _signed(Decimal(f"{sign}{whole.replace(',', '')}{part}{exponent}"))


def _signed(value: Decimal) -> Decimal:
    """Returns a number unchanged, but 0 for -0; unlike arithmetic, this does not round to 28 digits."""
    return value or abs(value)


def hexadecimal(answer: str) -> int:
    """Parses a hexadecimal number, "0x1f", with an optional sign before it; raises Unread for anything else."""
    if not re.fullmatch(r"[+-]?0x[0-9a-fA-F]{1,1000}", answer):
        message = "the answer is not one number that begins with 0x"
        raise Unread(message)
    return int(answer, 16)


def complex_number(answer: str) -> tuple[Decimal, Decimal]:
    """Parses a complex number into (real, imaginary): "-11.0 + 3.0i", "-11+3i", "3i", "-i", "5".

    Raises:
        Unread: the answer is anything else.
    """
    plain = "".join(answer.split())
    part = r"\d{1,60}(?:\.\d{1,20})?"
    found = re.fullmatch(rf"(?:([+-]?{part})(?![\d.i]))?(?:([+-]?)({part})?(i))?", plain, re.ASCII)
    if found is None or not plain or (found[1] and found[4] and not found[2]):
        message = "the answer is not one complex number a + bi"
        raise Unread(message)
    imaginary = Decimal(f"{found[2] or ''}{found[3] or 1}") if found[4] else Decimal(0)
    return _signed(Decimal(found[1] or 0)), _signed(imaginary)


def fraction(answer: str) -> tuple[int, int]:
    r"""Parses a fraction into (numerator, denominator): "3/4", "$3/4$", "\frac{3}{4}".

    Raises:
        Unread: the answer is anything else, or not in lowest terms.
    """
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
    """Returns the words of an answer that separates them by commas."""
    return tuple(text(part) for part in answer.split(","))


def row(answer: str) -> tuple[str, ...]:
    """Returns the words or numbers of an answer that separates them by white space, as strings."""
    return tuple(answer.split())


def grid(answer: str) -> tuple[tuple[str, ...], ...]:
    """Returns the rows of an answer, each the words or numbers of one line, as strings; empty lines are skipped."""
    return tuple(row(line) for line in answer.split("\n") if line.strip())


def values(answer: str) -> tuple[Decimal, ...]:
    """Parses a list of numbers in square brackets, separated by commas, each with or without quotes.

    Raises:
        Unread: the answer is anything else.
    """
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
    """Returns whole numbers, separated by a multiplication sign (×, * or x), in ascending order.

    Raises:
        Unread: the answer is anything else.
    """
    parts = [part.strip() for part in re.split(r"[×*x]", answer)]
    if not all(re.fullmatch(r"\d{1,60}", part, re.ASCII) for part in parts):
        message = "the answer is not a product of whole numbers"
        raise Unread(message)
    return tuple(sorted(map(int, parts)))


def duration(answer: str) -> str:
    """Returns a duration in normalized form: "38 days", "1 days, 03:20" (for "1 day, 03:20"), "10:12:15.842".

    Raises:
        Unread: the answer is anything else.
    """
    plain = re.sub(r"\bday\b", "days", word(answer)).replace(" ,", ",")
    clock = r"\d{2,6}:\d\d(?::\d\d(?:\.\d{3})?)?"
    if not re.fullmatch(rf"(?:\d{{1,9}} days)(?:, {clock})?|{clock}", plain, re.ASCII):
        message = "the answer is not one duration in the form that was asked for"
        raise Unread(message)
    return plain


def significant(answer: str) -> Decimal:
    """Parses a number in scientific notation with at most three significant digits, "1.23e-4".

    Raises:
        Unread: the answer is anything else.
    """
    if not re.fullmatch(r"[+-]?\d(\.\d{1,2})?e[+-]?\d{1,4}", answer, re.ASCII | re.IGNORECASE):
        message = "the answer is not one number of three digits in e notation"
        raise Unread(message)
    return _signed(Decimal(answer))


def data(answer: str) -> str:
    """Parses a JSON value, and returns it as JSON in one format, in which 1, 1.0 and true are different.

    Raises:
        Unread: the answer is not valid JSON, or has duplicate keys, NaN or infinity.
    """
    return json.dumps(read_json(answer))


def read_json(answer: str) -> Any:
    """Returns the value of an answer in JSON.

    Raises:
        Unread: the answer is not valid JSON, or has duplicate keys, NaN or infinity.
    """

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
    """Parses a JSON list of non-empty lists of strings; raises Unread for anything else."""
    found = read_json(answer)
    shaped = isinstance(found, list) and all(
        isinstance(group, list) and group and all(isinstance(member, str) for member in group) for group in found
    )
    if not shaped:
        message = "the answer is not a list of lists of texts"
        raise Unread(message)
    return list(found)


def groups(answer: str) -> tuple[tuple[str, ...], ...]:
    """Parses a JSON list of lists of words, and sorts the lists and their words: neither order matters.

    Raises:
        Unread: the answer is anything else, or a list is empty.
    """
    return tuple(sorted(tuple(sorted(group)) for group in lists_of_words(answer)))


def partitions(answer: str) -> tuple[tuple[str, ...], ...]:
    """Parses a JSON list of lists of words, and sorts the lists, but not their words: the order of words matters.

    Raises:
        Unread: the answer is anything else, or a list is empty.
    """
    return tuple(sorted(tuple(group) for group in lists_of_words(answer)))


def polynomial(answer: str) -> tuple[tuple[tuple[tuple[str, int], ...], int], ...]:
    """Parses an expanded polynomial with integer coefficients, such as "8*y**4 - 4*x*y + 3".

    Returns:
        Its monomials with their coefficients, sorted; a monomial is a tuple of (variable, exponent) pairs.

    Raises:
        Unread: the answer is anything else, or a monomial occurs twice.
    """
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
    """Parses "Ann is a knight, Bob is a knave, and Eve is a knight." into pairs such as ("ann", "knight").

    Raises:
        Unread: the answer is anything else, or has a person twice.
    """
    plain = word(answer).removesuffix(".")
    parts = re.split(r",? and |, ", plain)
    found = [re.fullmatch(r"([a-z]+) is (?:an? )?([a-z]+)", part) for part in parts]
    pairs = {(match[1], match[2]) for match in found if match is not None}
    if None in found or len({name for name, _ in pairs}) < len(found):
        message = "the answer does not say of each person once who is what"
        raise Unread(message)
    return frozenset(pairs)


def rounded_like(exact: Fraction | float, answer: Decimal) -> Decimal:
    """Returns an exact number, rounded (half up) to as many decimal places as an answer has."""
    places = max(0, -int(answer.as_tuple().exponent))
    scale = Fraction(10) ** places
    scaled = Fraction(exact) * scale
    floor = scaled.numerator // scaled.denominator
    nearest = floor + (scaled - floor >= Fraction(1, 2))
    return Decimal(f"{nearest}E-{places}")
