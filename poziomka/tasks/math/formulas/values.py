"""Values of formulas: exact fractions, complex numbers at random points, and agreement of two formulas.

Only formulas of one value are evaluated; `equality` takes tuples, sets and the like apart.
"""

import cmath
import math
from collections.abc import Callable, Mapping
from fractions import Fraction

from poziomka.core.seeds import random_of
from poziomka.tasks.math.formulas.formula import Formula

BITS = 4096  # largest size of the numerator and the denominator of an exact value
LARGEST = 1e100  # largest absolute value at a point, of a formula and of every intermediate result
POINTS = 12  # number of points for comparing two formulas
ENOUGH = 4  # number of points at which both must be defined
CLOSE = 1e-9  # largest relative difference of equal values
CONSTANTS = {"pi": complex(math.pi), "e": complex(math.e), "i": 1j}


class ValueFailure(ArithmeticError):
    """Raised if a formula has no value: it is undefined there, not exact, or too large."""


def names_of(formula: Formula) -> frozenset[str]:
    """Returns the names of the variables in a formula, without the constants pi, e and i."""
    return frozenset(part.text for part in formula.walk() if part.kind == "name" and part.text not in CONSTANTS)


# ----------------------------------------------------------------------------------------------------------- exact
def fraction_of(formula: Formula) -> Fraction:
    """Returns the exact value of a formula that is a fraction.

    Raises:
        ValueFailure: the value is not a fraction, cannot be found without algebra, or has more than 4,096 bits.
    """
    match formula.kind:
        case "number":
            return Fraction(formula.text)
        case "minus":
            return -fraction_of(formula.parts[0])
        case "sum":
            return _bounded(fraction_of(formula.parts[0]) + fraction_of(formula.parts[1]))
        case "product":
            return _bounded(fraction_of(formula.parts[0]) * fraction_of(formula.parts[1]))
        case "quotient":
            return _bounded(fraction_of(formula.parts[0]) / _not_zero(fraction_of(formula.parts[1])))
        case "power":
            return _power(fraction_of(formula.parts[0]), fraction_of(formula.parts[1]))
        case "apply" if formula.text in EXACT:
            return EXACT[formula.text](*map(fraction_of, formula.parts))
    message = f"a {formula.kind} is no fraction"
    raise ValueFailure(message)


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > BITS:
        message = f"a number has more than {BITS} bits"
        raise ValueFailure(message)
    return value


def _not_zero(value: Fraction) -> Fraction:
    if not value:
        message = "something is divided by 0"
        raise ValueFailure(message)
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    """Returns an exact power; raises ValueFailure before computing one of more than 4,096 bits."""
    if exponent.denominator != 1:
        return _power(_root(base, Fraction(exponent.denominator)), Fraction(exponent.numerator))
    if base == 0:
        return Fraction(0) if exponent > 0 else _not_zero(base)
    if abs(base) == 1:
        return base if exponent % 2 else Fraction(1)
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if size * abs(exponent) > BITS:
        message = f"a power has more than {BITS} bits"
        raise ValueFailure(message)
    return base ** int(exponent)


def _root(value: Fraction, index: Fraction) -> Fraction:
    """Returns a real root that is a fraction; raises ValueFailure for any other."""
    if index.denominator == 1 and 1 <= index <= 64 and value >= 0:
        top, bottom = (_whole_root(part, int(index)) for part in (value.numerator, value.denominator))
        if top is not None and bottom is not None:
            return Fraction(top, bottom)
    message = "a root is no fraction"
    raise ValueFailure(message)


def _whole_root(value: int, index: int) -> int | None:
    """Returns the exact integer root of a number, by bisection; None if there is none."""
    low, high = 0, 1 << (value.bit_length() // index + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**index < value else (low, middle)
    return low if low**index == value else None


def _factorial(value: Fraction) -> Fraction:
    if value.denominator != 1 or not 0 <= value <= 400:
        message = "a factorial is too large, or not of a whole number"
        raise ValueFailure(message)
    return _bounded(Fraction(math.factorial(int(value))))


def _binomial(above: Fraction, below: Fraction) -> Fraction:
    if above.denominator != 1 or below.denominator != 1 or not 0 <= below <= above <= 1000:
        message = "a binomial coefficient is too large, or not of whole numbers"
        raise ValueFailure(message)
    return Fraction(math.comb(int(above), int(below)))


EXACT: dict[str, Callable[..., Fraction]] = {
    "abs": abs,
    "floor": lambda value: Fraction(math.floor(value)),
    "ceiling": lambda value: Fraction(math.ceil(value)),
    "factorial": _factorial,
    "binomial": _binomial,
    "root": _root,
}


# ------------------------------------------------------------------------------------------------------- numerical
def value_at(formula: Formula, point: Mapping[str, complex]) -> complex:
    """Returns the value of a formula at a point, in double precision.

    Args:
        formula: formula of one value.
        point: value of each variable, by name.

    Raises:
        ValueFailure: the formula is undefined there, or an intermediate result is larger than 1e100.
    """
    try:
        found = _value(formula, point)
    except (ArithmeticError, ValueError) as error:
        message = f"not defined: {error}"
        raise ValueFailure(message) from error
    return found


def _value(formula: Formula, point: Mapping[str, complex]) -> complex:
    parts = [_value(part, point) for part in formula.parts]
    match formula.kind:
        case "number":
            found = complex(float(Fraction(formula.text)))
        case "name":
            if formula.text == "inf":
                message = "infinity is no number"
                raise ValueFailure(message)
            found = CONSTANTS[formula.text] if formula.text in CONSTANTS else point[formula.text]
        case "minus":
            found = -parts[0]
        case "sum":
            found = parts[0] + parts[1]
        case "product":
            found = parts[0] * parts[1]
        case "quotient":
            found = parts[0] / parts[1]
        case "power":
            found = parts[0] ** parts[1]
        case "apply":
            found = NUMERICAL[formula.text](*parts)
        case kind:
            message = f"a {kind} has no single value"
            raise ValueFailure(message)
    if not abs(found) <= LARGEST:  # catches nan too
        message = "larger than any answer"
        raise ValueFailure(message)
    return found


def _real(value: complex) -> float:
    if abs(value.imag) > CLOSE:
        message = "it is not real"
        raise ValueFailure(message)
    return value.real


def _gamma(value: complex) -> complex:
    if abs(value) > 60:
        message = "a factorial is too large"
        raise ValueFailure(message)
    return complex(math.gamma(_real(value) + 1))


def _root_at(value: complex, index: complex) -> complex:
    if index == 3 and abs(value.imag) < CLOSE and value.real < 0:
        return -((-value) ** (1 / 3))  # the real cube root of a negative number, as competitions mean it
    return cmath.sqrt(value) if index == 2 else value ** (1 / index)


NUMERICAL: dict[str, Callable[..., complex]] = {
    **{name: getattr(cmath, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp")},
    "cot": lambda x: 1 / cmath.tan(x),
    "sec": lambda x: 1 / cmath.cos(x),
    "csc": lambda x: 1 / cmath.sin(x),
    "arcsin": cmath.asin,
    "arccos": cmath.acos,
    "arctan": cmath.atan,
    "ln": cmath.log,
    "log": lambda x, base=10: cmath.log(x) / cmath.log(base),
    "root": _root_at,
    "abs": abs,
    "floor": lambda x: math.floor(_real(x) + CLOSE),
    "ceiling": lambda x: math.ceil(_real(x) - CLOSE),
    "factorial": _gamma,
    "binomial": lambda n, k: _gamma(n) / (_gamma(k) * _gamma(n - k)),
    "degrees": lambda x: x * math.pi / 180,
}


def points(names: frozenset[str], *, real: bool = False) -> list[dict[str, complex]]:
    """Returns 12 random points for comparing formulas of the given variables, each a value by variable.

    The coordinates are real and of either sign; unless `real`, every second point is complex. They are seeded by the
    variables' names, so that the author of a reply cannot choose them.
    """
    found = []
    for number in range(POINTS):
        random = random_of("formulas", "point", ",".join(sorted(names)), number)
        point = {}
        for name in sorted(names):
            size = random.uniform(0.3, 2.5)
            at = complex(random.choice((-size, size)))
            point[name] = at if real or number % 2 else complex(size, random.uniform(-1.5, 1.5))
        found.append(point)
    return found


def agree(left: Formula, right: Formula) -> bool | None:
    """Whether two formulas have equal values at random points, to a relative difference of 1e-9.

    Returns None if fewer than 4 of 12 points are in the domain of both.
    """
    names = names_of(left) | names_of(right)
    real = any(part.text in ("abs", "floor", "ceiling") for each in (left, right) for part in each.walk())
    compared = 0
    for point in points(names, real=real):
        try:
            one, other = value_at(left, point), value_at(right, point)
        except ValueFailure:
            continue
        if abs(one - other) > CLOSE * max(1e-3, abs(one), abs(other)):
            return False
        compared += 1
    return True if compared >= ENOUGH else None
