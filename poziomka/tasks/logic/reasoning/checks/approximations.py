"""Numeric answers that must be rounded: an answer is right if it is rounded correctly.

Every judge takes a problem's facts and an answer, and returns the fault of the answer, "" if it is right.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from poziomka.tasks.logic.reasoning.checks.answer_parsers import Unread, grid, number, rounded_like

Facts = Mapping[str, Any]

LEAST_DIGITS = 4  # fewest significant digits of a probability


def _places(value: Decimal) -> int:
    return max(0, -int(value.as_tuple().exponent))


def _plain(answer: str) -> Decimal:
    """Parses a decimal number without an exponent, so that its digits count; raises Unread for anything else."""
    if "e" in answer.lower():
        message = "the answer is not one plain decimal number"
        raise Unread(message)
    return number(answer)


def judge_probability(facts: Facts, answer: str) -> str:
    """Returns the fault of a probability, given the problem's facts; "" if it is right.

    A right answer is the fraction itself, or a decimal number rounded to at least four significant digits.

    Raises:
        Unread: the answer is neither a fraction nor a decimal number without an exponent.
    """
    exact = Fraction(*facts["exact"])
    found = re.fullmatch(r"(\d{1,12})\s*/\s*(\d{1,12})", answer, re.ASCII)
    if found is not None:
        right = int(found[2]) > 0 and Fraction(int(found[1]), int(found[2])) == exact
        return "" if right else f"{answer} is not {exact}"
    value = _plain(answer)
    rounded = len(value.as_tuple().digits) >= LEAST_DIGITS and rounded_like(exact, value) == value
    return "" if rounded or Fraction(value) == exact else f"{value} is not {exact}, rounded"


def judge_measure(facts: Facts, answer: str) -> str:
    """Returns the fault of an answer to a geometry problem, given its facts; "" if it is right.

    A right answer is an angle in degrees, a length, or coordinates (x, y), rounded to the required number of decimal
    places or more.

    Raises:
        Unread: the answer is not one decimal number, or "(x, y)" where coordinates are required.
    """
    exact: Sequence[str] = facts["exact"]
    plain = answer.removesuffix("°").strip()
    if len(exact) > 1:
        found = re.fullmatch(r"\(\s*([^,\s]+)\s*,\s*([^,\s]+)\s*\)", answer)
        if found is None:
            message = "the answer is not coordinates (x, y)"
            raise Unread(message)
        values = [_plain(part) for part in found.groups()]
    else:
        values = [_plain(plain)]
    for value, wanted, gold in zip(values, exact, facts["rounded"], strict=True):
        finer = _places(value) > facts["places"] and rounded_like(Fraction(wanted), value) == value
        if not finer and value != Decimal(gold):
            return f"{value} is not {gold}"
    return ""


def judge_roots(facts: Facts, answer: str) -> str:
    """Returns the fault of an answer with the roots of a polynomial, given the problem's facts; "" if it is right.

    A right answer is all real roots, separated by commas, in any order, each to within 0.00005.

    Raises:
        Unread: a part of the answer is not a decimal number.
    """
    wanted = sorted(map(Decimal, facts["roots"]))
    values = sorted(_plain(part.strip()) for part in answer.split(","))
    if len(values) != len(wanted):
        return f"there are {len(wanted)} solutions, and not {len(values)}"
    near = all(abs(one - other) <= Decimal("0.00005") for one, other in zip(values, wanted, strict=True))
    return "" if near else f"the solutions are {', '.join(facts['roots'])}"


def judge_pool(facts: Facts, answer: str) -> str:
    """Returns the fault of a pooled matrix, given the problem's facts; "" if it is right.

    A right answer is the matrix with each number rounded to two decimal places or more.

    Raises:
        Unread: the answer is not a matrix of decimal numbers of the right size.
    """
    wanted, rows = grid(facts["rounded"]), grid(answer)
    if [len(row) for row in rows] != [len(row) for row in wanted]:
        message = f"the answer is not a matrix of {len(wanted)} rows and {len(wanted[0])} columns"
        raise Unread(message)
    for row, golds, exacts in zip(rows, wanted, facts["exact"], strict=True):
        for cell, gold, exact in zip(row, golds, exacts, strict=True):
            value = _plain(cell)
            finer = (
                _places(value) > 2 and abs(Fraction(value) - Fraction(exact)) < Fraction(1, 10 ** _places(value)) / 2
            )
            if not finer and value != Decimal(gold):
                return f"{value} is not {gold}"
    return ""


def judge_choice(facts: Facts, answer: str) -> str:
    """Returns the fault of an answer that picks one of several numbers, given the problem's facts; "" if it is right.

    A right answer is the requested number, as the question writes it or in plain digits.

    Raises:
        Unread: the answer is not one number.
    """
    value = number(answer)
    return "" if value in {number(spelling) for spelling in facts["spellings"]} else f"{value} is another number"
