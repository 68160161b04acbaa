"""Conclusions from premises: propositional statements over letters, and syllogisms over groups.

The judge takes a problem's facts and an answer, and returns the fault of the answer, "" if it is right.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Literal

from poziomka.tasks.logic.reasoning.checks.answer_parsers import Unread

Facts = Mapping[str, Any]
Truth = int  # a truth table as bits, one for each assignment of truth values to the letters

TOKEN = re.compile(r"\s*([A-Z]|[∧∨¬→↔()])")
DEEPEST = 40  # levels of nested brackets
BINDING = (("↔",), ("→",), ("∨",), ("∧",))  # loosest first


class Statements:
    """Propositional statements over some letters, each represented by its truth table, as the bits of an integer."""

    def __init__(self, letters: Iterable[str]) -> None:
        """Computes the truth tables of the letters."""
        self.letters = sorted(letters)
        rows = 1 << len(self.letters)
        self.all = (1 << rows) - 1
        self.tables = {
            letter: sum(1 << row for row in range(rows) if row >> place & 1)
            for place, letter in enumerate(self.letters)
        }

    def read(self, statement: str) -> Truth:
        """Returns the truth table of a statement with ∧ ∨ ¬ → ↔ and brackets; → and ↔ are left-associative.

        Raises:
            Unread: the text is not such a statement, is too long or too deeply nested, or has other letters.
        """
        tokens: list[str] = []
        place = 0
        plain = statement.strip()
        while place < len(plain):
            found = TOKEN.match(plain, place)
            if found is None or len(tokens) > 300:
                message = "the answer is not one statement with ∧ ∨ ¬ → ↔ and brackets"
                raise Unread(message)
            tokens.append(found[1])
            place = found.end()
        table, rest = self._loose(tokens, 0, 0)
        if rest:
            message = f"the answer goes on after a statement, with {rest[0]!r}"
            raise Unread(message)
        return table

    def _loose(self, tokens: list[str], level: int, depth: int) -> tuple[Truth, list[str]]:
        """Parses operands that are joined by operators of a precedence level (0: ↔, the loosest) or of tighter ones.

        Returns:
            The truth table, and the tokens that are left.
        """
        if level == len(BINDING):
            return self._tight(tokens, depth)
        table, rest = self._loose(tokens, level + 1, depth)
        while rest and rest[0] in BINDING[level]:
            other, after = self._loose(rest[1:], level + 1, depth)
            table, rest = self._joined(table, rest[0], other), after
        return table, rest

    def _tight(self, tokens: list[str], depth: int) -> tuple[Truth, list[str]]:
        """Parses a letter, a negation or a group in brackets; returns its truth table and the tokens that are left."""
        first = tokens[0] if tokens and depth < DEEPEST else ""
        if first == "¬":
            table, rest = self._tight(tokens[1:], depth + 1)
            return self.all & ~table, rest
        if first == "(":
            table, rest = self._loose(tokens[1:], 0, depth + 1)
            if rest[:1] == [")"]:
                return table, rest[1:]
        elif first in self.tables:
            return self.tables[first], tokens[1:]
        message = "the answer is not one statement over the letters of the premises"
        raise Unread(message)

    def _joined(self, one: Truth, operator: str, other: Truth) -> Truth:
        match operator:
            case "∧":
                return one & other
            case "∨":
                return one | other
            case "→":
                return self.all & ~one | other
            case _:
                return self.all & ~(one ^ other)

    def objection(self, premises: Iterable[Truth], conclusion: Truth) -> str:
        """Returns the fault of a conclusion, given truth tables; "" if it follows from the premises and is not trivial.

        Trivial are a tautology, a statement equivalent to a premise, and a single letter.
        """
        together = self.all
        for premise in premises:
            together &= premise
        if together & ~conclusion:
            return "the conclusion does not follow from the premises"
        if conclusion == self.all:
            return "the conclusion is true whatever the premises say"
        if conclusion in premises:
            return "the conclusion says the same as a premise"
        return "the conclusion is a single letter" if conclusion in self.tables.values() else ""


def judge_conclusion(facts: Facts, answer: str) -> str:
    """Returns the fault of a conclusion from propositional premises, given the problem's facts; "" if it is right.

    A right answer is a statement that follows from the premises and is not a tautology, equivalent to a premise, or a
    single letter.

    Raises:
        Unread: the answer is not one statement with ∧ ∨ ¬ → ↔ and brackets over the letters of the premises.
    """
    statements = Statements(facts["letters"])
    premises = [statements.read(premise) for premise in facts["premises"]]
    return statements.objection(premises, statements.read(answer))


def concluded(letters: Iterable[str], premises: Iterable[str]) -> str | None:
    """Returns a conclusion of two letters, "(A → ¬B)", that `judge_conclusion` accepts; None if there is none."""
    statements = Statements(letters)
    tables = [statements.read(premise) for premise in premises]
    together = statements.all
    for table in tables:
        together &= table
    literals = [f"{sign}{letter}" for letter in statements.letters for sign in ("", "¬")]
    for one, operator, other in product(literals, "∧∨→", literals) if together else ():
        candidate = f"({one} {operator} {other})"
        if one[-1] < other[-1] and not statements.objection(tables, statements.read(candidate)):
            return candidate
    return None


# ------------------------------------------------------------------------------------------------------ syllogisms
SAID = re.compile(r"(All|No|Some) (.+?) are (not )?(.+)")
Form = Literal["All", "No", "Some", "Some not"]


def follows(premises: Iterable[str], conclusion: str) -> bool | None:
    """Whether a syllogism's conclusion follows from its premises, if every group has a member.

    Checks every possible world. Returns None if a statement is not of the form "All (No, Some) A are (not) B", or if
    there are more than three groups.
    """
    said = [_said(statement) for statement in (*premises, conclusion)]
    if None in said:
        return None
    parts = [part for part in said if part is not None]
    groups = sorted({group for _, one, other in parts for group in (one, other)})
    if len(groups) > 3:
        return None
    kinds = list(product((False, True), repeat=len(groups)))
    for there in product((False, True), repeat=len(kinds)):
        world = [dict(zip(groups, kind, strict=True)) for kind, exists in zip(kinds, there, strict=True) if exists]
        if all(any(one[group] for one in world) for group in groups):
            *given, asked = (_holds(world, *part) for part in parts)
            if all(given) and not asked:
                return False
    return True


def _said(statement: str) -> tuple[Form, str, str] | None:
    found = SAID.fullmatch(statement.strip())
    if found is None or (found[3] and found[1] != "Some"):
        return None
    quantifier = found[1]
    form: Form = "Some not" if found[3] else "All" if quantifier == "All" else "No" if quantifier == "No" else "Some"
    return form, found[2], found[4]


def _holds(world: list[dict[str, bool]], form: Form, one: str, other: str) -> bool:
    members = [individual[other] for individual in world if individual[one]]
    match form:
        case "All":
            return all(members)
        case "No":
            return not any(members)
        case "Some":
            return any(members)
        case _:
            return not all(members)
