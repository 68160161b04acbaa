"""Antiderivatives: many answers are right, and each is checked by its derivative.

The derivative is computed numerically, with 40 digits, at points where the integrand is real, and must match the
integrand there to 15 digits. Functions of the accepted grammar that agree at these points are equal, except in
contrived cases. Nothing is executed as code, and a formula that takes too long or overflows is rejected.
"""

import ast
from collections.abc import Callable, Mapping
from typing import Any

from poziomka.tasks.logic.reasoning.checks.answer_parsers import Unread
from poziomka.tasks.logic.reasoning.checks.puzzles import parsed
from poziomka.tasks.reasoning_gym_package import library

Facts = Mapping[str, Any]
Function = Callable[[Any], Any]

LONGEST = 1500  # characters of an answer
DIGITS = 40
HUGE = 10**6  # largest binary exponent of a value
POINTS = ("0.07", "-0.19", "0.31", "-0.05", "0.23", "1.3", "-2.7", "11.3", "-14.9", "17.1", "-11.9")
ENOUGH = 5  # points at which the derivative is compared
NAMES = {
    **{
        name: name
        for name in ("sin", "cos", "tan", "exp", "log", "sqrt", "asin", "acos", "atan", "sinh", "cosh", "tanh")
    },
    "ln": "log",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "Abs": "fabs",
    "abs": "fabs",
}


def function(formula: str, variable: str) -> Function:
    """Parses a formula into a function of one variable, which computes with mpmath numbers.

    C is a constant of value 0, and e and E are Euler's number.

    Raises:
        Unread: the formula contains anything but numbers, the variable, C, e, pi, + - * / ** and known functions such
            as sin and log, has more than 1,500 characters, or a number that is too large.
    """
    if len(formula) > LONGEST or not formula.isascii():
        message = "the answer is not one formula, or a very long one"
        raise Unread(message)
    tree = parsed(formula).body
    try:
        _valued(tree, variable, library("mpmath").mpf("0.3"), read=True)
    except OverflowError as error:
        message = "the answer holds a number that is too large"
        raise Unread(message) from error
    return lambda x: _valued(tree, variable, x, read=False)


def _valued(node: ast.expr, variable: str, x: Any, *, read: bool) -> Any:
    """Returns the value of a formula at `x`; with `read` it only checks the syntax, and the value means nothing.

    Raises:
        Unread: the formula has another part than the accepted ones.
        OverflowError: a value is too large or not finite.
    """
    mpmath = library("mpmath")

    def value(inner: ast.expr) -> Any:
        return _valued(inner, variable, x, read=read)

    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(mpmath.mpf(number) if isinstance(number, int) else mpmath.mpf(repr(number)))
        case ast.Name(id=name) if name == variable:
            return x
        case ast.Name(id="C" | "c"):
            return mpmath.mpf(0)
        case ast.Name(id="e" | "E"):
            return mpmath.e()
        case ast.Name(id="pi"):
            return mpmath.pi()
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=inner):
            return -value(inner) if isinstance(sign, ast.USub) else value(inner)
        case ast.BinOp(
            left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.Pow() as operator, right=right
        ):
            one, other = value(left), value(right)
            return mpmath.mpf(1) if read else _applied(one, operator, other)
        case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in NAMES:
            inside = value(inner)
            return mpmath.mpf(1) if read else _bounded(getattr(mpmath, NAMES[name])(inside))
        case _:
            message = "the answer is not one formula of numbers, the variable, + - * / ** and known functions"
            raise Unread(message)


def _applied(one: Any, operator: ast.operator, other: Any) -> Any:
    match operator:
        case ast.Add():
            return one + other
        case ast.Sub():
            return one - other
        case ast.Mult():
            return _bounded(one * other)
        case ast.Div():
            return _bounded(one / other)
        case _:
            return _bounded(library("mpmath").power(one, other))


def _bounded(value: Any) -> Any:
    """Returns a value unchanged if it is small enough for further computation.

    Raises:
        OverflowError: the value is not finite, or its binary exponent is beyond 1,000,000.
    """
    mpmath = library("mpmath")
    if not mpmath.isfinite(value) or (value != 0 and abs(mpmath.mag(value)) > HUGE):
        raise OverflowError
    return value


def judge_antiderivative(facts: Facts, answer: str) -> str:
    """Returns the fault of an answer to an integration problem, given its facts; "" if it is right.

    A right answer is a formula whose derivative is the integrand, checked at five points to 15 digits.

    Raises:
        Unread: the answer is not one formula of numbers, the variable, + - * / ** and known functions.
    """
    mpmath = library("mpmath")
    with mpmath.workdps(DIGITS):
        integrand = function(facts["integrand"], facts["variable"])
        found = function(answer, facts["variable"])
        compared = 0
        for point in map(mpmath.mpf, POINTS):
            wanted = _real(integrand, point)
            if wanted is None:
                continue
            try:
                slope = mpmath.diff(found, point)
            except (ArithmeticError, ValueError):
                return f"the answer has no derivative at {facts['variable']} = {mpmath.nstr(point, 4)}"
            if not abs(slope - wanted) <= mpmath.mpf(10) ** -15 * (1 + abs(wanted)):  # `not <=`, so that NaN fails
                return f"the derivative is another at {facts['variable']} = {mpmath.nstr(point, 4)}"
            compared += 1
            if compared == ENOUGH:
                return ""
    return "" if compared else "the integrand is nowhere real where it was tried"


def _real(integrand: Function, point: Any) -> Any:
    """Returns the integrand's value at a point; None if it is not real, or its size is not between 1e-12 and 1e12."""
    mpmath = library("mpmath")
    try:
        value = integrand(point)
    except (ArithmeticError, ValueError):
        return None
    if mpmath.im(value) != 0 or not mpmath.mpf(10) ** -12 < abs(value) < mpmath.mpf(10) ** 12:
        return None
    return mpmath.re(value)


def integrated(facts: Facts) -> str:
    """Returns an antiderivative computed by sympy, as text, from the facts "integrand" and "variable"."""
    sympy = library("sympy")
    variable = sympy.Symbol(facts["variable"])
    integrand = sympy.sympify(facts["integrand"], locals={facts["variable"]: variable})
    return f"{sympy.integrate(integrand, variable)} + C"
