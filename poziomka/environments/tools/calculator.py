"""A calculator environment: the model writes a call, and the session replies with the exact integer result.

    model        … <tool> 12 + 30 </tool>
    environment   <result> 42 </result>

Every symbol has a space before it, so that a call, its result and the following text can be joined for a tokenizer
that splits at white space.
"""

import ast
import operator
from collections.abc import Callable

from poziomka.core.environment import Reply
from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem
from poziomka.core.transcript import Author, Span, Transcript
from poziomka.environments.tools.formats.call_format import latest

CALL, CALLED = "<tool>", "</tool>"
ALPHABET = frozenset("0123456789+-*/%() ")
OPERATIONS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
SIGNS: dict[type[ast.unaryop], Callable[[int], int]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def calculate(expression: str, *, length: int = 200, digits: int = 100) -> int:
    """Evaluates an expression of integers, + - * // % and parentheses; returns its exact value.

    Args:
        expression: the expression.
        length: maximum characters of the expression.
        digits: maximum digits of every intermediate value, so that no call is slow.

    Raises:
        ValueError: the expression is too long, has too large a value, divides by zero, or contains anything else.
    """
    if len(expression) > length:
        message = f"an expression has at most {length} characters: received {len(expression)}"
        raise ValueError(message)
    strange = sorted(set(expression) - ALPHABET)
    if strange:
        message = f"an expression is made of integers, + - * // % and ( ): received {strange[0]!r}"
        raise ValueError(message)
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, MemoryError, RecursionError) as error:
        message = f"not an expression: received {expression.strip()!r}"
        raise ValueError(message) from error
    return _value(tree.body, 10**digits)


def _value(node: ast.expr, bound: int) -> int:
    match node:
        case ast.Constant(value=int(value)):
            pass
        case ast.UnaryOp(op=op, operand=operand) if type(op) in SIGNS:
            value = SIGNS[type(op)](_value(operand, bound))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            first, second = _value(left, bound), _value(right, bound)
            if second == 0 and isinstance(op, ast.FloorDiv | ast.Mod):
                message = "division by zero"
                raise ValueError(message)
            value = OPERATIONS[type(op)](first, second)
        case _:
            message = "an expression knows + - * // % and ( ) only; write // for division"
            raise ValueError(message)
    if abs(value) >= bound:
        message = f"a value has at most {len(str(bound)) - 1} digits"
        raise ValueError(message)
    return value


class Calculator:
    """An Environment with a calculator, which the model calls by writing `<tool> 12 + 30 </tool>`.

    Args:
        length: maximum characters of a call's expression.
        digits: maximum digits of every intermediate value.

    Raises:
        SettingsError: a limit is not positive.
    """

    def __init__(self, length: int = 200, digits: int = 100) -> None:
        """Checks the limits."""
        if length < 1 or digits < 1:
            message = f"a calculator's limits are 1 or more: received length {length}, digits {digits}"
            raise SettingsError(message)
        self.stop: tuple[str, ...] = (CALLED,)
        self.length = length
        self.digits = digits

    def open(self, problem: Problem) -> "CalculatorSession":
        """Returns a new session.

        Args:
            problem: unused: every problem gets the same calculator.
        """
        return CalculatorSession(self)


class CalculatorSession:
    """A Session that replies to the model's last call with its result.

    It is stateless: all that it needs is in the transcript.
    """

    def __init__(self, calculator: Calculator) -> None:
        self._calculator = calculator

    async def reply(self, transcript: Transcript) -> Reply | None:
        """Returns the result of the last call in the model's latest text; None if there is no call.

        A call that cannot be evaluated is answered with "error", and the reason is the feedback.
        """
        call = last_call(transcript)
        if call is None:
            return None
        try:
            value = calculate(call, length=self._calculator.length, digits=self._calculator.digits)
        except ValueError as error:
            return Reply(Span(Author.ENVIRONMENT, " <result> error </result>"), feedback=str(error))
        return Reply(Span(Author.ENVIRONMENT, f" <result> {value} </result>"))

    def fork(self) -> "CalculatorSession":
        """Returns another session with the same limits."""
        return CalculatorSession(self._calculator)

    def close(self) -> None:
        """Does nothing: the session has no resources."""


def last_call(transcript: Transcript) -> str | None:
    """Returns the expression of the last call in the model's latest text; None if there is no call.

    Only the model's own text counts: a call quoted by the user, returned by a tool or forced by a strategy is never
    run. A call that was closed without being opened is an empty expression.
    """
    before, called, _ = latest(transcript).rpartition(CALLED)
    if not called:
        return None
    return before.rpartition(CALL)[2] if CALL in before else ""
