"""Judges of puzzles with a filling or an expression: cryptarithms, colorings, boards, arithmetic over given numbers.

Every judge takes a problem's facts and an answer, and returns the fault of the answer, "" if it is right.
"""

import ast
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from poziomka.tasks.logic.reasoning.checks.answer_parsers import Unread, grid, read_json

Facts = Mapping[str, Any]


# ----------------------------------------------------------------------------------------------------- expressions
def judge_expression(facts: Facts, answer: str) -> str:
    """Returns the fault of an expression over given numbers, given the problem's facts; "" if it is right.

    A right answer has + - * / and brackets, uses each number once and evaluates to the target.

    Raises:
        Unread: the answer is not one such expression of at most 400 characters.
    """
    if len(answer) > 400 or not re.fullmatch(r"[\d+\-*/() ]+", answer, re.ASCII) or "**" in answer or "//" in answer:
        message = "the answer is not one expression with + - * / and brackets"
        raise Unread(message)
    value, numbers = _valued(parsed(answer).body)
    if sorted(numbers) != sorted(facts["numbers"]):
        return f"the answer uses {sorted(numbers)}, and not {sorted(facts['numbers'])}"
    if value is None:
        return "the answer divides by zero"
    return "" if value == facts["target"] else f"the value is {value}, and not {facts['target']}"


def parsed(expression: str) -> ast.Expression:
    """Returns the syntax tree of a Python expression, without evaluating it.

    Raises:
        Unread: the text is not one expression.
    """
    try:
        return ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        message = "the answer is not one expression"
        raise Unread(message) from error


def _valued(node: ast.expr) -> tuple[Fraction | None, list[int]]:
    """Returns the value of an expression (None for a division by zero) and the numbers in it.

    Raises:
        Unread: the expression contains anything but whole numbers and + - * /.
    """
    match node:
        case ast.Constant(value=int() as number):
            return Fraction(number), [number]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=inner):
            value, numbers = _valued(inner)
            return (-value if value is not None and isinstance(sign, ast.USub) else value), numbers
        case ast.BinOp(left=left, op=operator, right=right):
            (one, some), (other, more) = _valued(left), _valued(right)
            return _applied(one, operator, other), some + more
        case _:
            message = "the answer is not one expression with + - * / and brackets"
            raise Unread(message)


def _applied(one: Fraction | None, operator: ast.operator, other: Fraction | None) -> Fraction | None:
    if one is None or other is None:
        return None
    match operator:
        case ast.Add():
            return one + other
        case ast.Sub():
            return one - other
        case ast.Mult():
            return one * other
        case _:
            return one / other if other else None


def exact(expression: str) -> Fraction | None:
    """Returns the exact value of an expression with + - * / and brackets; None for a division by zero.

    Raises:
        Unread: the text is not one such expression.
    """
    return _valued(parsed(expression).body)[0]


# ----------------------------------------------------------------------------------------------------- cryptarithm
def judge_letters(facts: Facts, answer: str) -> str:
    """Returns the fault of a solution of a cryptarithm, given the problem's facts; "" if it is right.

    A right answer is "A=1,B=2", a distinct digit for every letter, under which the words add up to the result and none
    begins with 0.

    Raises:
        Unread: the answer has another form, or a letter twice.
    """
    pairs = [re.fullmatch(r"([A-Z])\s*=\s*(\d)", part.strip(), re.ASCII) for part in answer.split(",")]
    digits = {pair[1]: pair[2] for pair in pairs if pair is not None}
    if None in pairs or len(digits) < len(pairs):
        message = "the answer does not give each letter one digit, as in A=1,B=2"
        raise Unread(message)
    words, result = facts["words"], facts["result"]
    if set(digits) != set("".join((*words, result))) or len(set(digits.values())) < len(digits):
        return "the answer does not give every letter, and no other, a digit of its own"
    if any(digits[word[0]] == "0" for word in (*words, result)):
        return "a leading letter is zero"
    numbers = [int("".join(digits[letter] for letter in word)) for word in (*words, result)]
    right = sum(numbers[:-1]) == numbers[-1]
    return "" if right else f"{' + '.join(map(str, numbers[:-1]))} is not {numbers[-1]}"


# -------------------------------------------------------------------------------------------------------- coloring
def judge_colors(facts: Facts, answer: str) -> str:
    """Returns the fault of a graph coloring, given the problem's facts; "" if it is right.

    A right answer is a JSON object with one of the given colors for each vertex, different for neighbours.

    Raises:
        Unread: the answer is not a JSON object of whole numbers.
    """
    colors = read_json(answer)
    if not isinstance(colors, dict) or not all(type(color) is int for color in colors.values()):
        message = "the answer is not an object of colors by vertex"
        raise Unread(message)
    if set(colors) != {str(vertex) for vertex in facts["vertices"]}:
        return "the answer does not color every vertex, and no other"
    if not set(colors.values()) <= set(facts["colors"]):
        return f"the answer uses colors other than {facts['colors']}"
    for one, other in facts["edges"]:
        if colors[str(one)] == colors[str(other)]:
            return f"the neighbours {one} and {other} have the same color"
    return ""


# ------------------------------------------------------------------------------------------------------- palindrome
def judge_palindrome(facts: Facts, answer: str) -> str:
    """Returns the fault of a palindrome, given the problem's facts; "" if it is right.

    A right answer is a palindrome that uses exactly the given letters.
    """
    if sorted(answer) != sorted(facts["letters"]):
        return "the answer does not use exactly the letters that are given"
    return "" if answer == answer[::-1] else "the answer does not read the same backwards"


# ---------------------------------------------------------------------------------------------------------- boards
def judge_queens(facts: Facts, answer: str) -> str:
    """Returns the fault of a board of queens, given the problem's facts; "" if it is right.

    A right answer is a board with one queen (Q) per row, including the given ones, none of which attacks another.

    Raises:
        Unread: the answer is not a board of the right size with Q and _.
    """
    rows, given = grid(answer), facts["board"]
    if len(rows) != len(given) or any(len(row) != len(given) or set(row) - {"Q", "_"} for row in rows):
        message = f"the answer is not a board of {len(given)} rows with Q and _"
        raise Unread(message)
    queens = [(i, j) for i, row in enumerate(rows) for j, cell in enumerate(row) if cell == "Q"]
    if any(cell == "Q" and rows[i][j] != "Q" for i, row in enumerate(given) for j, cell in enumerate(row)):
        return "a queen that was given is gone"
    if len(queens) != len(given):
        return f"there are {len(queens)} queens, and not {len(given)}"
    lines = ({i for i, _ in queens}, {j for _, j in queens}, {i + j for i, j in queens}, {i - j for i, j in queens})
    return "" if all(len(line) == len(given) for line in lines) else "two queens attack each other"


def judge_weights(facts: Facts, answer: str) -> str:
    """Returns the fault of a solution of a kakurasu puzzle, given the problem's facts; "" if it is right.

    A right answer is a grid of 0 and 1 whose rows and columns have the given weighted sums.

    Raises:
        Unread: the answer is not a grid of 0 and 1 of the right size.
    """
    rows = grid(answer)
    across, along = facts["rows"], facts["columns"]
    if len(rows) != len(across) or any(len(row) != len(along) or set(row) - {"0", "1"} for row in rows):
        message = f"the answer is not a grid of {len(across)} rows and {len(along)} columns of 0 and 1"
        raise Unread(message)
    if [sum(j for j, cell in enumerate(row, 1) if cell == "1") for row in rows] != across:
        return "a row has another sum"
    columns = list(zip(*rows, strict=True))
    sums = [sum(i for i, cell in enumerate(column, 1) if cell == "1") for column in columns]
    return "" if sums == along else "a column has another sum"


def judge_sums(facts: Facts, answer: str) -> str:
    """Returns the fault of a filled matrix, given the problem's facts; "" if it is right.

    A right answer is the matrix with its zeros replaced by the given numbers, once each, so that the last member of
    every row and column is the sum of the others.

    Raises:
        Unread: the answer is not a matrix of whole numbers of the right size.
    """
    given = facts["matrix"]
    size = len(given)
    rows = grid(answer)
    if len(rows) != size or any(
        len(row) != size or not all(re.fullmatch(r"\d{1,6}", cell, re.ASCII) for cell in row) for row in rows
    ):
        message = f"the answer is not a matrix of {size} rows and columns"
        raise Unread(message)
    filled = [[int(cell) for cell in row] for row in rows]
    places = [(i, j) for i in range(size - 1) for j in range(size - 1) if given[i][j] == 0]
    if any(filled[i][j] != given[i][j] for i in range(size) for j in range(size) if (i, j) not in set(places)):
        return "a number that was given is changed"
    if sorted(filled[i][j] for i, j in places) != sorted(facts["numbers"]):
        return f"the zeros are not filled with {facts['numbers']}"
    sums = all(sum(line[:-1]) == line[-1] for line in (*filled, *zip(*filled, strict=True)))
    return "" if sums else "a row or a column does not add up"
