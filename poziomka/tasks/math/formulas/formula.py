r"""A formula as a tree.

kind        parts                    text
number      –                        a fraction in lowest terms, "3/4"
name        –                        a letter, perhaps with an index in LaTeX, "x_1", "a_-1+n"; "pi"; "inf"
sum         two                      –
product     two                      –
quotient    two                      –
power       two                      –
minus       one                      –
plus_minus  two                      "+" or "-", the sign of the first of its two values
apply       one, or two              a function: sin, log (with its base), sqrt (with its index), abs, floor, …
measured    a value                  its unit: "degree", "%", "$", "cm", "cm^2"
based       –                        digits and base, "2516_8"
tuple       its entries              the brackets: "()", "[]", "(]", "[)" or "<>"
set, list   its members              –
union       intervals                –
matrix      rows, each a tuple       –
chain       sides                    relations between them: "=", "< <=", "in"
words       –                        words in small letters
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

ARITHMETIC = frozenset(
    ("number", "name", "sum", "product", "quotient", "power", "minus", "plus_minus", "apply")
)  # formulas of one value


class FormulaError(ValueError):
    """Raised for a text that cannot be parsed as an answer; the message gives the reason in a few words."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula, a node of a tree.

    Attributes:
        kind: "number", "name", "sum", "product", "tuple" and so on; the module's docstring has the table of kinds.
        parts: the subformulas, as many as the table gives for the kind.
        text: further content by kind, such as the digits of a number, the name of a function or the brackets of a
            tuple.
    """

    kind: str
    parts: tuple["Formula", ...] = ()
    text: str = ""

    def walk(self) -> Iterator["Formula"]:
        """Yields the formula and all its subformulas."""
        yield self
        for part in self.parts:
            yield from part.walk()


def number(value: Fraction | int) -> Formula:
    """Returns the formula of a whole number or fraction, in lowest terms."""
    return Formula("number", text=str(Fraction(value)))
