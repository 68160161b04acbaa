r"""Parser for short answers in LaTeX: "\frac{3}{4}", "\left(2, \frac{\pi}{6}\right)", "x \in [-2,7]", "\text{even}".

The parser accepts the forms in which competitions have their answers and raises FormulaError for all others, so that
only fully parsed answers are compared.
"""

import re
from collections.abc import Callable
from fractions import Fraction

from poziomka.tasks.math.formulas.formula import ARITHMETIC, Formula, FormulaError, number
from poziomka.tasks.math.formulas.spelling import spell_index
from poziomka.tasks.math.formulas.tokens import BRACKETS, in_latex, tokens_of, words_of

LONGEST = 400  # characters of an answer
DEEPEST = 24  # levels of nested brackets
FUNCTIONS = frozenset(
    ("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln", "exp")
)
RELATIONS = {"=": "=", "<": "<", ">": ">", "\\lt": "<", "\\gt": ">", "\\in": "in", "\\neq": "!=", "\\ne": "!="}
RELATIONS |= {"\\le": "<=", "\\leq": "<=", "\\leqslant": "<=", "\\ge": ">=", "\\geq": ">=", "\\geqslant": ">="}
NAMES = frozenset(
    ("pi", "infty", "alpha", "beta", "gamma", "delta", "theta", "phi", "lambda", "mu", "omega", "rho", "sigma", "tau")
)
PLURAL = re.compile(r"(?<=[cs]h)es$|(?<=[a-z])s$")
UNIT = re.compile(r"(?!.*\b(?:not|no|or|and|is|wrong|never)\b)[a-z]+(?:[ /][a-z]+){0,3}")
UNITS = {"dollar": "$", "percent": "%"}
JOINTS = frozenset(("and", "or"))  # words between the members of a list


def read_formula(text: str) -> Formula:
    """Parses a whole text, an answer in LaTeX or in words, as one formula.

    Raises:
        FormulaError: the text does not parse, contains more than one formula, has more than 400 characters or more than
            24 levels of nested brackets.
    """
    if len(text) > LONGEST:
        message = f"it has more than {LONGEST} characters"
        raise FormulaError(message)
    text = in_latex(text)
    if not text.isascii() or not text.isprintable():
        message = "it holds letters that LaTeX spells otherwise"
        raise FormulaError(message)
    found = words_of(text)
    if found is None:
        found = _Reader(text).all()
        for part in found.walk():
            _check(part)
    return found


def _check(formula: Formula) -> None:
    """Raises FormulaError for arithmetic without values or with infinity, and for unions of anything but intervals."""
    arithmetic = formula.kind in ARITHMETIC or formula.kind == "measured"
    if arithmetic and any(part.kind not in ARITHMETIC for part in formula.parts):
        message = f"a {formula.kind} has parts without a value"
        raise FormulaError(message)
    infinite = any(part.kind == "name" and part.text == "inf" for part in formula.parts)
    if arithmetic and infinite and formula.kind not in ("minus", "measured"):
        message = "infinity is no number to compute with"
        raise FormulaError(message)
    if formula.kind == "union" and any(part.kind not in ("tuple", "set") for part in formula.parts):
        message = "a union has parts that are no intervals"
        raise FormulaError(message)


class _Reader:
    """A recursive-descent parser of LaTeX answers; each method parses one rule of the grammar."""

    def __init__(self, text: str) -> None:
        """Tokenizes the text."""
        self.tokens = tokens_of(text)
        self.at = 0
        self.depth = 0
        self.angles = 0  # number of open function arguments
        self.bars = 0  # number of open absolute values

    # ------------------------------------------------------------------------------------------------------- tokens
    def next(self, ahead: int = 0) -> str:
        """Returns the token `ahead` places after the current one, without consuming it; "" after the last token."""
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ""

    def take(self, *wanted: str) -> str:
        """Consumes the next token and returns it.

        Args:
            *wanted: the tokens that are allowed; any token if none is given.

        Raises:
            FormulaError: the next token is not allowed, or there is none.
        """
        mark = self.next()
        if not mark or (wanted and mark not in wanted):
            message = f"{mark!r} stands where {' or '.join(wanted) or 'something'} should"
            raise FormulaError(message)
        self.at += 1
        return mark

    def inside(self, read: Callable[[], Formula]) -> Formula:
        """Calls `read` one nesting level deeper, and returns its formula.

        Raises:
            FormulaError: the nesting is deeper than 24 levels.
        """
        self.depth += 1
        if self.depth > DEEPEST:
            message = f"it has more than {DEEPEST} brackets within brackets"
            raise FormulaError(message)
        found = read()
        self.depth -= 1
        return found

    # ------------------------------------------------------------------------------------------------------ answers
    def all(self) -> Formula:
        """Parses the whole answer, a formula or a list of formulas."""
        found = self.members()
        if self.next():
            message = f"{self.next()!r} is left over"
            raise FormulaError(message)
        return found[0] if len(found) == 1 else Formula("list", found)

    def members(self) -> tuple[Formula, ...]:
        """Parses members that are separated by commas or the words "and" and "or"."""
        found = [self.chain()]
        while self.next() == "," or self.next()[1:] in JOINTS:
            if self.take() == "," and self.next()[1:] in JOINTS:
                self.take()
            found.append(self.chain())
        return tuple(found)

    def chain(self) -> Formula:
        """Parses one or more sides with relations between them, "x = 5" or "1 < x"."""
        sides, relations = [self.union()], []
        while self.next() in RELATIONS:
            relations.append(RELATIONS[self.take()])
            sides.append(self.union())
        return Formula("chain", tuple(sides), " ".join(relations)) if relations else sides[0]

    def union(self) -> Formula:
        """Parses intervals joined by unions, or a value with its unit."""
        found = [self.measured()]
        while self.next() == "\\cup":
            self.take()
            found.append(self.measured())
        return Formula("union", tuple(found)) if len(found) > 1 else found[0]

    def measured(self) -> Formula:
        """Parses a value and its unit."""
        unit = "$" if self.next() == "\\$" and self.take() else ""
        value = self.sum()
        mark = self.next()
        if mark in ("%", "\\%", "\\circ"):
            unit += "degree" if self.take() == "\\circ" else "%"
        elif mark[:1] == '"' and mark[1:] not in JOINTS:
            word = PLURAL.sub("", self.take()[1:].strip(". "))
            if not UNIT.fullmatch(word):
                message = f"{word[:20]!r} is no unit"
                raise FormulaError(message)
            unit += UNITS.get(word, word)
            if self.next() == "^":
                self.take()
                unit += f"^{self.unit_power()}"
        return Formula("measured", (value,), unit) if unit else value

    def unit_power(self) -> str:
        """Parses the power of a unit, a whole number."""
        power = self.argument()
        digits = power.parts[0] if power.kind == "minus" else power
        if digits.kind != "number" or not digits.text.isdigit():
            message = "the power of a unit is no whole number"
            raise FormulaError(message)
        return spell_index(power)

    # ------------------------------------------------------------------------------------------------------ formulas
    def sum(self) -> Formula:
        """Parses terms joined by signs."""
        found: Formula | None = None
        while found is None or self.next() in ("+", "-", "\\pm", "\\mp"):
            sign = self.take() if self.next() in ("+", "-", "\\pm", "\\mp") else ""
            term = self.product()
            if sign in ("\\pm", "\\mp"):
                found = Formula("plus_minus", (found or number(0), term), "+" if sign == "\\pm" else "-")
                continue
            term = Formula("minus", (term,)) if sign == "-" else term
            found = term if found is None else Formula("sum", (found, term))
        return found

    def product(self) -> Formula:
        """Parses factors joined by *, / or nothing."""
        found = self.factor()
        while True:
            mark = self.next()
            if mark in ("*", "/"):
                self.take()
                found = Formula("product" if mark == "*" else "quotient", (found, self.signed()))
            elif self.begins(mark):
                found = Formula("product", (found, self.factor()))
            else:
                return found

    def begins(self, mark: str) -> bool:
        """Whether a token starts a factor that can follow another without a multiplication sign."""
        if mark == "|":
            return not self.bars
        return mark == "(" or mark.isalpha() or mark in ("\\frac", "\\sqrt", "\\binom") or mark[1:] in NAMES | FUNCTIONS

    def signed(self) -> Formula:
        """Parses a factor with optional minus signs."""
        if self.next() != "-":
            return self.factor()
        self.take()
        return Formula("minus", (self.inside(self.signed),))

    def factor(self) -> Formula:
        """Parses a mixed number or an atom with its powers, factorials and degree signs."""
        mixed = self.next()[:1].isdigit() and self.next().isdigit()
        found = self.atom()
        if mixed and self.next() == "\\frac":  # 1\frac{4}{5}
            part = self.atom()
            if all(each.kind == "number" and each != number(0) for each in part.parts):
                above, below = (Fraction(each.text) for each in part.parts)
                return number(Fraction(found.text) + above / below)
            found = Formula("product", (found, part))
        while self.next() in ("^", "!") or (self.next() == "\\circ" and self.angles):
            sign = self.take()
            if sign == "^":
                found = Formula("power", (found, self.argument()))
                if self.next() == "^":
                    message = "a power of a power needs brackets"
                    raise FormulaError(message)
            else:
                found = Formula("apply", (found,), "factorial" if sign == "!" else "degrees")
        return found

    def argument(self) -> Formula:
        """Parses an argument: a group in braces, or one digit, letter or command."""
        mark = self.next()
        if mark == "{":
            self.take()
            found = self.inside(self.sum)
            self.take("}")
            return found
        if mark.isdigit():
            self.tokens[self.at : self.at + 1] = [mark[0], mark[1:]] if len(mark) > 1 else [mark]
        elif not (mark.isalpha() or mark[1:] in NAMES or mark in ("\\frac", "\\sqrt")):
            message = f"{mark!r} stands where an argument should"
            raise FormulaError(message)
        return self.inside(self.atom)

    def atom(self) -> Formula:
        """Parses a number, a name, a group in brackets or a command."""
        mark = self.take()
        if mark[0].isdigit() or mark[0] == ".":
            return self.based(mark) if self.next() == "_" else number(Fraction(mark))
        if mark.isalpha() or (mark[0] == "\\" and mark[1:] in NAMES):
            return self.name(mark.strip("\\"))
        if mark == "{":
            found = self.inside(self.sum)
            if self.next() == "," and self.take():  # {1, 2} can only be a set
                rest = self.inside(lambda: Formula("list", self.members()))
                found = Formula("set", (found, *rest.parts))
            self.take("}")
            return found
        if mark in BRACKETS:
            return self.bracketed(mark)
        if mark == "|":
            return self.absolute()
        if mark[0] == "\\" and mark[1:] in FUNCTIONS:
            return self.inside(lambda: self.applied(mark[1:]))
        if mark.startswith("\\begin"):
            return self.matrix()
        return self.command(mark)

    def name(self, name: str) -> Formula:
        """Parses the index that may follow a name, "_{n+1}", and returns the name with it."""
        if self.next() == "_":
            self.take()
            index = self.argument()
            for part in index.walk():
                _check(part)
            if index.kind not in ARITHMETIC:
                message = f"a {index.kind} is no index"
                raise FormulaError(message)
            name = f"{name}_{spell_index(index)}"
        return Formula("name", text="inf" if name == "infty" else name)

    def based(self, digits: str) -> Formula:
        """Parses the base that may follow a number's digits, "_8", and returns the number."""
        self.take("_")
        base = self.argument().text
        if not digits.isdigit() or not base.isdigit() or any(int(digit) >= int(base) for digit in digits):
            message = f"{digits}_{base} is no number"
            raise FormulaError(message)
        return Formula("based", text=f"{int(digits)}_{base}")

    def bracketed(self, opened: str) -> Formula:
        """Parses a group, a tuple, an interval or a set."""
        bars, self.bars = self.bars, 0
        self.depth += 1
        if self.depth > DEEPEST:
            message = f"it has more than {DEEPEST} brackets within brackets"
            raise FormulaError(message)
        found = () if (opened, self.next()) == ("\\{", "\\}") else self.members()
        self.depth -= 1
        self.bars = bars
        closed = self.take(*BRACKETS[opened])
        if opened == "\\{":
            return Formula("set", found)
        if len(found) == 1 and found[0].kind != "chain" and (opened, closed) in (("(", ")"), ("[", "]")):
            return found[0]
        return Formula("tuple", found, "<>" if opened == "\\langle" else opened + closed)

    def absolute(self) -> Formula:
        """Parses an absolute value, after its opening bar."""
        self.bars += 1
        found = self.inside(self.sum)
        self.take("|")
        self.bars -= 1
        return Formula("apply", (found,), "abs")

    def command(self, mark: str) -> Formula:
        """Parses the arguments of a command.

        Raises:
            FormulaError: the command is unknown.
        """
        if mark == "\\frac":
            return Formula("quotient", (self.argument(), self.argument()))
        if mark == "\\emptyset":
            return Formula("set")
        if mark == "\\binom":
            return Formula("apply", (self.argument(), self.argument()), "binomial")
        if mark == "\\sqrt":
            index = number(2)
            if self.next() == "[":
                self.take()
                index = self.inside(self.sum)
                self.take("]")
            return Formula("apply", (self.argument(), index), "root")
        for opened, closed, name in (("\\lfloor", "\\rfloor", "floor"), ("\\lceil", "\\rceil", "ceiling")):
            if mark == opened:
                found = self.inside(self.sum)
                self.take(closed)
                return Formula("apply", (found,), name)
        message = f"{mark!r} is not understood"
        raise FormulaError(message)

    def applied(self, function: str) -> Formula:
        """Parses the base, the power and the argument of a function."""
        base = power = None
        while self.next() in ("_", "^"):
            mark = self.take()
            if mark == "_" and function == "log" and base is None:
                base = self.argument()
            elif mark == "^" and power is None:
                power = self.argument()
            else:
                message = f"{mark!r} stands where the argument of {function} should"
                raise FormulaError(message)
        self.angles += 1
        if self.next() == "(":
            argument = self.atom()
        else:
            argument = self.signed()
            while self.begins(self.next()) and self.next()[1:] not in FUNCTIONS and self.next() != "(":
                argument = Formula("product", (argument, self.factor()))
        self.angles -= 1
        inverse = power is not None and power.kind == "minus" and power.parts[0] == number(1)
        if inverse and function in ("sin", "cos", "tan"):
            function, power = f"arc{function}", None
        found = Formula("apply", (argument,) if base is None else (argument, base), function)
        return found if power is None else Formula("power", (found, power))

    def matrix(self) -> Formula:
        """Parses rows up to the end of the matrix."""
        rows, row = [], [self.inside(self.sum)]
        while not self.next().startswith("\\end"):
            if self.take("&", "\\\\") == "\\\\":
                rows.append(Formula("tuple", tuple(row)))
                if self.next().startswith("\\end"):
                    row = []
                    break
                row = []
            row.append(self.inside(self.sum))
        self.take()
        rows += [Formula("tuple", tuple(row))] if row else []
        if len({len(each.parts) for each in rows}) != 1:
            message = "the rows of the matrix differ in length"
            raise FormulaError(message)
        return Formula("matrix", tuple(rows))
