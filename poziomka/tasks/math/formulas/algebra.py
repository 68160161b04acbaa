"""Symbolic comparison of formulas with math-verify, within bounds on time and precision."""

import logging

from poziomka.core.errors import TaskError
from poziomka.tasks.math.formulas.formula import Formula
from poziomka.tasks.math.formulas.reader import LONGEST
from poziomka.tasks.math.formulas.spelling import spell
from poziomka.tasks.math.formulas.values import ValueFailure, fraction_of

DIGITS = LONGEST + 20  # decimal digits for the comparison of constants: more than an answer can contain
LARGEST_POWER = 64  # largest exponent that is given to math-verify


def algebra_agrees(gold: Formula, reply: Formula) -> bool:
    """Whether math-verify finds two formulas of one value equal; False if it raises or an exponent exceeds 64.

    Raises:
        TaskError: math-verify is not installed.
    """
    if any(_is_steep(part) for each in (gold, reply) for part in each.walk()):
        return False  # symbolic expansion could take hours
    try:
        from math_verify import LatexExtractionConfig, parse, verify  # noqa: PLC0415 an extra, and seconds to import
    except ImportError as error:
        message = "comparing formulas needs the package math-verify: install poziomka[tasks]"
        raise TaskError(message) from error
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns about the timeouts that are turned off below
    try:
        # no timeouts of math-verify: they need SIGALRM, which fails outside the main thread; the worker process has one
        read = [
            parse(
                f"${spell(each)}$",
                extraction_config=[LatexExtractionConfig()],
                fallback_mode="no_fallback",
                parsing_timeout=None,
                raise_on_error=True,
            )
            for each in (gold, reply)
        ]
        if not all(len(each) == 1 for each in read):
            return False
        return bool(verify(*read, numeric_precision=DIGITS, timeout_seconds=None, raise_on_error=True))
    except Exception:  # noqa: BLE001 an error of the parser is no proof of equality
        return False


def _is_steep(formula: Formula) -> bool:
    """Whether a formula is a power with an exponent above 64, or a nested one: expanding it could take hours."""
    if formula.kind != "power":
        return False
    try:
        return abs(fraction_of(formula.parts[1])) > LARGEST_POWER
    except ValueFailure:
        return any(part.kind == "power" for part in formula.parts[1].walk())
