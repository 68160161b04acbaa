"""The list language: a program is a sequence of words, each of which maps a list of digits to another.

A program runs from left to right: `reverse rest` reverses the list and then removes its first number. Numbers are
digits, and arithmetic is modulo 10. No word makes a list longer and no word loops, so every program halts on every
list after at most one pass over the list per word: no time limit is needed.

Two independent interpreters check each other: `run` applies a table of functions to tuples, and `compiled` builds a
chain of closures that change lists in place. They share no code. `in_python` translates a program into a Python
function, for any interpreter of Python.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

BASE = 10  # numbers are 0 to 9
Numbers = tuple[int, ...]

WORDS: dict[str, Callable[[Numbers], Numbers]] = {
    "up": lambda row: tuple((number + 1) % BASE for number in row),
    "double": lambda row: tuple(2 * number % BASE for number in row),
    "halve": lambda row: tuple(number // 2 for number in row),
    "flip": lambda row: tuple(BASE - 1 - number for number in row),
    "reverse": lambda row: row[::-1],
    "sort": lambda row: tuple(sorted(row)),
    "rotate": lambda row: row[1:] + row[:1],
    "rest": lambda row: row[1:],
    "evens": lambda row: tuple(number for number in row if number % 2 == 0),
    "large": lambda row: tuple(number for number in row if number >= BASE // 2),
    "unique": lambda row: tuple(dict.fromkeys(row)),
    "sums": lambda row: tuple(total % BASE for total in accumulate(row)),
    "steps": lambda row: tuple((after - before) % BASE for before, after in zip((0, *row), row, strict=False)),
    "mirror": lambda row: tuple((left + right) % BASE for left, right in zip(row, row[::-1], strict=True)),
    "total": lambda row: (sum(row) % BASE,),
    "largest": lambda row: (max(row),) if row else (),
}
MEANINGS: dict[str, str] = {  # explanations of the words in prompts
    "up": "adds 1 to each number",
    "double": "doubles each number",
    "halve": "halves each number, rounding down",
    "flip": "replaces each number x by 9 - x",
    "reverse": "turns the list round",
    "sort": "sorts the list, smallest first",
    "rotate": "moves the first number to the end",
    "rest": "leaves out the first number",
    "evens": "keeps the even numbers",
    "large": "keeps the numbers that are 5 or more",
    "unique": "keeps the first of equal numbers",
    "sums": "replaces each number by the sum of all up to it",
    "steps": "replaces each number by itself minus the one before it; the first stays",
    "mirror": "adds to each number the one at the same place from the other end",
    "total": "makes a list of one number, the sum of all",
    "largest": "makes a list of one number, the largest",
}
PYTHON: dict[str, str] = {  # each word as a statement on the list x
    "up": "x = [(n + 1) % 10 for n in x]",
    "double": "x = [2 * n % 10 for n in x]",
    "halve": "x = [n // 2 for n in x]",
    "flip": "x = [9 - n for n in x]",
    "reverse": "x = x[::-1]",
    "sort": "x = sorted(x)",
    "rotate": "x = x[1:] + x[:1]",
    "rest": "x = x[1:]",
    "evens": "x = [n for n in x if n % 2 == 0]",
    "large": "x = [n for n in x if n >= 5]",
    "unique": "x = list(dict.fromkeys(x))",
    "sums": "x = [sum(x[: i + 1]) % 10 for i in range(len(x))]",
    "steps": "x = [(b - a) % 10 for a, b in zip([0] + x, x)]",
    "mirror": "x = [(a + b) % 10 for a, b in zip(x, x[::-1])]",
    "total": "x = [sum(x) % 10]",
    "largest": "x = sorted(x)[-1:]",
}
Program = tuple[str, ...]


def in_python(program: Sequence[str]) -> str:
    """Returns the code of a Python function f(x) that does the same as a program, without modifying its argument.

    Raises:
        KeyError: a word is not in the language.
    """
    return "\n    ".join(["def f(x):", *(PYTHON[word] for word in program), "return x"])


def run(program: Sequence[str], numbers: Sequence[int]) -> Numbers:
    """Returns the output list of a program for an input list; the empty program returns the list unchanged.

    Args:
        program: words of the list language (`WORDS`).
        numbers: digits, 0 to 9.

    Raises:
        KeyError: a word is not in the language.
    """
    row = tuple(numbers)
    for word in program:
        row = WORDS[word](row)
    return row


# -------------------------------------------------------------------------------------------- the second interpreter
def compiled(program: Sequence[str]) -> Callable[[Sequence[int]], list[int]]:
    """Compiles a program into a function of lists, independently of `run`, so that the two can check each other.

    Raises:
        KeyError: a word is not in the language.
    """
    chain: Callable[[list[int]], list[int]] = _end
    for word in reversed(program):
        chain = _then(_CHANGES[word], chain)
    return lambda numbers: chain(list(numbers))


def _end(row: list[int]) -> list[int]:
    return row


def _then(change: Callable[[list[int]], None], after: Callable[[list[int]], list[int]]) -> Callable[..., list[int]]:
    def go(row: list[int]) -> list[int]:
        change(row)
        return after(row)

    return go


def _each(table: str) -> Callable[[list[int]], None]:
    """Returns a function that replaces each digit d of a list by `table[d]`, in place."""

    def change(row: list[int]) -> None:
        for place, number in enumerate(row):
            row[place] = int(table[number])

    return change


def _keep(kept: str) -> Callable[[list[int]], None]:
    """Returns a function that removes every digit that is not in `kept` from a list, in place."""

    def change(row: list[int]) -> None:
        for place in range(len(row) - 1, -1, -1):
            if str(row[place]) not in kept:
                del row[place]

    return change


def _sort(row: list[int]) -> None:
    counts = [row.count(digit) for digit in range(10)]
    row.clear()
    for digit, count in enumerate(counts):
        row.extend([digit] * count)


def _rotate(row: list[int]) -> None:
    if row:
        row.append(row.pop(0))


def _rest(row: list[int]) -> None:
    if row:
        row.pop(0)


def _unique(row: list[int]) -> None:
    for place in range(len(row) - 1, 0, -1):
        if row.index(row[place]) < place:
            del row[place]


def _sums(row: list[int]) -> None:
    for place in range(1, len(row)):
        row[place] = (row[place] + row[place - 1]) % 10


def _steps(row: list[int]) -> None:
    for place in range(len(row) - 1, 0, -1):
        row[place] = (row[place] - row[place - 1]) % 10


def _mirror(row: list[int]) -> None:
    first, last = 0, len(row) - 1
    while first <= last:
        row[first] = row[last] = (row[first] + row[last]) % 10
        first, last = first + 1, last - 1


def _total(row: list[int]) -> None:
    total = 0
    while row:
        total += row.pop()
    row.append(total % 10)


def _largest(row: list[int]) -> None:
    while len(row) > 1:
        row.remove(min(row))


_CHANGES: dict[str, Callable[[list[int]], None]] = {
    "up": _each("1234567890"),
    "double": _each("0246802468"),
    "halve": _each("0011223344"),
    "flip": _each("9876543210"),
    "reverse": list.reverse,
    "sort": _sort,
    "rotate": _rotate,
    "rest": _rest,
    "evens": _keep("02468"),
    "large": _keep("56789"),
    "unique": _unique,
    "sums": _sums,
    "steps": _steps,
    "mirror": _mirror,
    "total": _total,
    "largest": _largest,
}
