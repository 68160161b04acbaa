"""Replacements for slow or wrong parts of reasoning-gym's generators while they draw.

`mend` changes data sets whose items depend on the iteration order of a set, which differs between processes, and those
that build each candidate with a computer algebra system, which takes milliseconds. PARTS lists parts of the package's
modules that are slow or wrong; our versions replace them only while a problem is drawn.
"""

import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import gcd, isqrt
from random import Random
from types import SimpleNamespace
from typing import Any

from poziomka.tasks.logic.reasoning.checks.move_puzzles import least_pours, least_swap
from poziomka.tasks.reasoning_gym_package import library

MOST_DRAWS = 500_000  # per problem; the package's generators need some ten thousand, and sometimes never finish
MOST_TRIED = 10_000  # largest number that is tried as a divisor
LARGEST_TERM = 10**6  # largest term of a number sequence, a thousand times the largest that the package shows


class Bounded(Random):
    """A random number generator that raises RuntimeError after 500,000 numbers, so that endless rejection loops end."""

    left = MOST_DRAWS

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            message = f"it took more than {MOST_DRAWS} random numbers"
            raise RuntimeError(message)

    def random(self) -> float:
        """Returns a random number from [0, 1).

        Raises:
            RuntimeError: 500,000 numbers were drawn before.
        """
        self._count()
        return super().random()

    def getrandbits(self, k: int) -> int:
        """Returns k random bits as an integer.

        Raises:
            RuntimeError: 500,000 numbers were drawn before.
        """
        self._count()
        return super().getrandbits(k)


RANDOM = SimpleNamespace(**{**vars(random), "Random": Bounded})


def bounded(module: Any) -> dict[str, object]:
    """Returns replacements of a module's random number generators, by their names in it, that end by RuntimeError."""
    parts: dict[str, object] = {}
    if getattr(module, "Random", None) is Random:
        parts["Random"] = Bounded
    if getattr(module, "random", None) is random:
        parts["random"] = RANDOM
    return parts


class Ordered(set[str]):
    """A set of letters that is iterated in alphabetical order."""

    def __iter__(self) -> Iterator[str]:
        """Yields the members, sorted."""
        return iter(sorted(super().__iter__()))

    def __sub__(self, other: Any) -> "Ordered":
        """Returns the members that are not in `other`, also ordered."""
        return Ordered(super().__sub__(other))


class Growing:
    """An arithmetic expression that is extended at its right end; stands in for a sympy expression."""

    def __init__(self, number: int) -> None:
        """Starts with a single number."""
        self.value = Fraction(number)
        self.text = str(number)
        self.sum = False

    def grow(self, operator: str, number: int) -> None:
        """Appends an operator and a number; the operator applies to the whole expression so far."""
        left = f"({self.text})" if self.sum and operator in "*/" else self.text
        self.text = f"{left} {operator} {number}"
        self.sum = operator in "+-"
        other = Fraction(number)
        match operator:
            case "+":
                self.value += other
            case "-":
                self.value -= other
            case "*":
                self.value *= other
            case _:
                self.value /= other

    def subs(self, _: object) -> Fraction:
        """Returns the expression's value; the argument is ignored, because the expression contains no symbols."""
        return self.value

    def __str__(self) -> str:
        """Returns the expression as text."""
        return self.text


def _grown(settings: Any, chance: Random, terms: int) -> tuple[Growing, list[int]]:
    """Returns a random expression of `terms` numbers, and the numbers, distributed as in the package.

    Args:
        settings: config of the data set, with min_value, max_value and operators.
        chance: source of randomness.
        terms: how many numbers the expression has.
    """
    numbers = [chance.randint(settings.min_value, settings.max_value) for _ in range(terms)]
    expression = Growing(numbers[0])
    for place in range(1, terms):
        operator = chance.choice(settings.operators)
        if operator == "/":
            divisors = numbers[place:]
            chance.shuffle(divisors)
            whole = int(expression.value)
            divisor = next((number for number in divisors if whole % number == 0), None)
            operator = "-" if divisor is None else "/"
            numbers[place] = divisor or numbers[place]
        expression.grow(operator, numbers[place])
    return expression, numbers


def mend(name: str, dataset: Any) -> None:
    """Changes a data set object so that it draws the same items in every process, and fast.

    Args:
        name: name of the data set.
        dataset: the package's object, which is changed in place.
    """
    match name:
        case "isomorphic_strings" | "ransom_note":
            dataset.letters = Ordered(dataset.letters)
        case "word_ladder":
            for graph in dataset.word_graphs.values():
                graph.update({word: sorted(near) for word, near in graph.items()})
        case "polynomial_multiplication":
            monomials = dataset._get_monomials  # noqa: SLF001 the package has no public way
            dataset._get_monomials = lambda chance: sorted(monomials(chance), key=str)  # noqa: SLF001 as above
        case "knight_swap":
            board = dataset.game_logic.generate_board
            dataset.game_logic = SimpleNamespace(generate_board=board, solve_swap=least_swap)
        case "countdown":

            def candidate(chance: Random, terms: int) -> tuple[Growing, list[int], list[str], str]:
                expression, numbers = _grown(dataset.config, chance, terms)
                return expression, numbers, [], str(expression)

            dataset._generate_candidate_expression = candidate  # noqa: SLF001 the package has no public way
        case "puzzle24":

            def four(chance: Random, terms: int) -> tuple[Growing, list[int], list[str]]:
                return *_grown(dataset.config, chance, terms), []

            dataset._generate_candidate_expression = four  # noqa: SLF001 the package has no public way
        case _:
            pass


# ----------------------------------------------------------------------------------------------------------- parts
def _not_integrated() -> dict[str, object]:
    """Returns a replacement of `sympy` that does not integrate: this takes 0.1 s, and the scorer does not need it."""
    sympy = library("sympy")
    names = {**vars(sympy), "integrate": lambda integrand, _: integrand}
    return {"sympy": SimpleNamespace(**names)}


def _real_roots() -> dict[str, object]:
    """Returns a replacement of `solve` that finds all real roots by iteration.

    The package drops real roots whose formulas contain complex numbers.
    """

    def solve(equation: Any, variable: str, **_: object) -> list[Any]:
        sympy, mpmath = library("sympy"), library("mpmath")
        if equation in (sympy.true, sympy.false):
            return []
        polynomial = sympy.Poly(equation.lhs - equation.rhs, sympy.Symbol(variable)).sqf_part()
        roots = mpmath.polyroots([int(number) for number in polynomial.all_coeffs()], maxsteps=500, extraprec=500)
        return [sympy.Float(str(mpmath.re(root)), 30) for root in roots if abs(mpmath.im(root)) < 1e-12]

    return {"solve": solve}


def _not_solved() -> dict[str, object]:
    """Returns a replacement of the slow cube solver that returns no moves: reversing the scramble solves the cube."""
    return {"BasicSolver": lambda _: SimpleNamespace(solve=list)}


def lived(board: Any, steps: int) -> Iterator[Any]:
    """Yields the states of Conway's game of life on a torus: the given board, and the board after each step.

    Args:
        board: numpy array of 0 and 1, [rows, columns].
        steps: number of steps.
    """
    numpy = library("numpy")
    yield board
    for _ in range(steps):
        around = sum(
            numpy.roll(board, (down, right), (0, 1))
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if (down, right) != (0, 0)
        )
        board = ((around == 3) | ((board == 1) & (around == 2))).astype(board.dtype)
        yield board


def _lived() -> dict[str, object]:
    """Returns a replacement of the package's cellular automaton by `lived`, which is a hundred times faster."""

    def evolve2d(board: Any, timesteps: int, **_: object) -> Any:
        return library("numpy").array(list(lived(board[-1], timesteps - 1)))

    automata = library("cellpylib")
    rule = automata.game_of_life_rule
    return {"cpl": SimpleNamespace(init_simple2d=automata.init_simple2d, evolve2d=evolve2d, game_of_life_rule=rule)}


def _poured() -> dict[str, object]:
    """Returns replacements of the jug solver, which uses only the first three jugs and takes exponential time."""
    return {
        "generate_jug_solution": least_pours,
        "min_moves_n": lambda capacities, target: (
            None if (found := least_pours(capacities, target)) is None else len(found)
        ),
    }


def _small_divisors() -> dict[str, object]:
    """Returns a faster `find_common_divisors`, which finds divisors up to 10,000 and their cofactors.

    The package tries all divisors of 20-digit numbers.
    """

    def find_common_divisors(one: int, other: int) -> list[int]:
        common = gcd(one, other)
        small = [number for number in range(1, min(isqrt(common), MOST_TRIED) + 1) if common % number == 0]
        return [*small, *(common // number for number in reversed(small) if number * number != common)]

    return {"find_common_divisors": find_common_divisors}


def _held_down() -> dict[str, object]:
    """Returns a replacement of `PatternRule` that raises OverflowError for terms of sequences above 1,000,000.

    The package squares numbers up to millions of digits before it checks sizes.
    """
    theirs = library("reasoning_gym.cognition.number_sequences").PatternRule

    def apply(rule: Any, sequence: list[int], position: int) -> int:
        if abs(sequence[position]) > LARGEST_TERM:
            raise OverflowError  # the package then tries another rule
        return int(theirs.apply(rule, sequence, position))

    return {"PatternRule": type("PatternRule", (theirs,), {"apply": apply})}


PARTS: dict[str, Callable[[], dict[str, object]]] = {
    "basic_arithmetic": _small_divisors,
    "game_of_life": _lived,
    "intermediate_integration": _not_integrated,
    "jugs": _poured,
    "number_sequence": _held_down,
    "polynomial_equations": _real_roots,
    "rubiks_cube": _not_solved,
}
