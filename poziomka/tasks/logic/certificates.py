"""What problems share whose answers are certificates: values of variables that can be put into constraints.

Problems are made around a hidden assignment, so nothing has to be solved to make one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from random import Random
from typing import Any, cast

from poziomka.core.problem import Problem
from poziomka.tasks.logic.constraints import (
    Assignment,
    Constraint,
    check_of,
    holds,
    models,
    names_in,
    say,
    say_assignment,
    value_of,
)

HELD_OUT = 8  # one set of constraints in this many belongs to the test split
DIGITS = (0, 9)  # the smallest and the largest number, where they are bounded
WHOLE = (-20, 20)  # of hidden assignments over all whole numbers
MOST_MODELS = 12  # of a list of constraints, or one assignment in SPARSE where that is less
SPARSE = 50
LOOKED_AT = 60  # assignments of which a new constraint must rule out some
KEPT = 0.75  # the largest share of them that it may leave
MOST_TRIES = 24  # of a search that is written out
LONGEST = 400  # characters of an answer
PAIR = r"[a-z] ?= ?(?:0|-?[1-9][0-9]{0,5}|(?i:true|false))"
ANSWER = re.compile(rf"{PAIR}(?: ?, ?{PAIR})*")


# -------------------------------------------------------------------------------------------------------- constraints
@dataclass(frozen=True)
class Setting:
    """The variables of a problem: whole numbers within bounds (None: all of them), and truth values."""

    numbers: tuple[str, ...]
    truths: tuple[str, ...]
    bounds: tuple[int, int] | None

    @classmethod
    def of(cls, shape: tuple[int, int], bounds: tuple[int, int] | None) -> "Setting":
        """Returns the setting with so many variables of each kind."""
        return cls(tuple("xyzuv"[: shape[0]]), tuple("pq"[: shape[1]]), bounds)

    @classmethod
    def in_facts(cls, problem: Problem) -> "Setting":
        """Returns the setting of a problem."""
        facts = cast("Mapping[str, Any]", problem.facts)
        bounds = facts["bounds"] and (facts["bounds"][0], facts["bounds"][1])
        return cls(tuple(facts["numbers"]), tuple(facts["truths"]), bounds)

    @property
    def facts(self) -> dict[str, object]:
        """The setting as plain data."""
        bounds = None if self.bounds is None else list(self.bounds)
        return {"numbers": list(self.numbers), "truths": list(self.truths), "bounds": bounds}

    @property
    def domains(self) -> dict[str, Sequence[int | bool]]:
        """The values that each variable can have; those of hidden assignments where numbers have no bounds."""
        low, high = self.bounds or WHOLE
        numbers: dict[str, Sequence[int | bool]] = dict.fromkeys(self.numbers, range(low, high + 1))
        return numbers | dict.fromkeys(self.truths, (False, True))

    def draw(self, random: Random) -> dict[str, int | bool]:
        """Returns a random assignment."""
        return {name: random.choice(values) for name, values in self.domains.items()}

    def say(self) -> str:
        """Returns the variables in words."""
        within = "" if self.bounds is None else f" from {self.bounds[0]} to {self.bounds[1]}"
        numbers = f"whole numbers {', '.join(self.numbers)}{within}"
        return numbers + (f" and truth values {', '.join(self.truths)}" if self.truths else "")


def _atom(random: Random, setting: Setting, hidden: Assignment) -> list[Any]:
    """Returns a relation between a sum and a number that the sum is near."""
    names = random.sample(setting.numbers, random.randint(1, min(3, len(setting.numbers))))
    if len(names) > 1 and random.random() < 0.2:
        terms: list[list[Any]] = [[1, *sorted(names[:2])]]
    else:
        terms = [[random.choice((1, 1, 1, 2, 3, -1, -1, -2)), name] for name in sorted(names)]
    near = value_of(terms, hidden) + random.choice((0, 0, 0, 1, -1, 2, -2))
    return [random.choice(("<=", ">=", "<", ">", "=", "=", "!=")), terms, near]


def _constraint(random: Random, setting: Setting, hidden: Assignment) -> Constraint:
    """Returns a constraint that holds under the hidden assignment."""
    while True:
        constraint: Constraint = _atom(random, setting, hidden)
        if setting.truths and random.random() < 0.6:
            truth = random.choice(setting.truths)
            literal: Constraint = truth if random.random() < 0.5 else ["not", truth]
            others = [name for name in setting.truths if name != truth]
            other = random.choice(others) if others and random.random() < 0.3 else constraint
            constraint = [random.choice(("or", "if", "iff")), literal, other]
        if holds(constraint, hidden):
            return constraint


def draw_constraints(random: Random, setting: Setting) -> tuple[list[Constraint], list[dict[str, int | bool]]]:
    """Returns constraints that only few assignments satisfy, and those assignments.

    Each constraint but the first few rules out part of what those before it left, so that none is for show.
    """
    hidden = setting.draw(random)
    size = prod(len(values) for values in setting.domains.values())
    most = max(1, min(MOST_MODELS, size // SPARSE))
    found: list[Constraint] = []
    left: list[dict[str, int | bool]] = []  # what satisfies those that were found, or the first of it
    while True:
        constraint = _constraint(random, setting, hidden)
        after = list(filter(check_of(constraint), left))
        if say(constraint) in map(say, found) or len(after) > len(left) * KEPT:
            continue
        found.append(constraint)
        if len(found) < len(setting.numbers):
            continue
        left = after if len(after) > most else list(islice(models(found, setting.domains), LOOKED_AT))
        used = frozenset().union(*map(names_in, found))
        if len(left) <= most and used == set(setting.domains):
            return found, left
        if len(left) == 1:  # nothing more can be ruled out, and a variable has no constraint: begin anew
            found, left = [], []


def numbered(constraints: Sequence[Constraint]) -> str:
    """Returns constraints as text, a numbered line each."""
    return "\n".join(f"{number}. {say(constraint)}" for number, constraint in enumerate(constraints, 1))


def form_of(setting: Setting) -> str:
    """Returns how an answer is to be written, as an answer would be, with dots for the values."""
    return ", ".join(
        [*(f"{name} = ..." for name in setting.numbers), *(f"{name} = true/false" for name in setting.truths)]
    )


def read_assignment(answer: str, setting: Setting) -> dict[str, int | bool] | None:
    """Returns the assignment that a whole answer spells, "x = 3, p = true"; None for anything else.

    Every variable has one value, in any order, and nothing stands around them but a full stop: what is not asked for is
    no answer.
    """
    answer = answer.removesuffix(".").replace("−", "-")
    if len(answer) > LONGEST or not ANSWER.fullmatch(answer):
        return None
    found: dict[str, int | bool] = {}
    for pair in answer.split(","):
        name, value = (part.strip() for part in pair.split("="))
        truth = value.lower() in ("true", "false")
        if name in found or truth != (name in setting.truths):
            return None
        found[name] = value.lower() == "true" if truth else int(value)
    wanted = {*setting.numbers, *setting.truths}
    return {name: found[name] for name in setting.domains} if found.keys() == wanted else None


def outside(assignment: Assignment, setting: Setting) -> str | None:
    """Returns the first number that lies outside the bounds."""
    if setting.bounds is None:
        return None
    low, high = setting.bounds
    return next((name for name in setting.numbers if not low <= assignment[name] <= high), None)


def search(random: Random, constraints: Sequence[Constraint], setting: Setting) -> tuple[list[str], Assignment | None]:
    """Returns a search, a line a try, and what it found: one value is changed as long as some constraint fails.

    The first constraint that fails is named, and one of its variables gets the value under which most hold.
    """
    tried = setting.draw(random)
    lines: list[str] = []
    for _ in range(MOST_TRIES):
        failing = next((place for place, one in enumerate(constraints, 1) if not holds(one, tried)), None)
        if failing is None:
            return [*lines, f"{say_assignment(tried)}: all hold"], tried
        constraint = constraints[failing - 1]
        lines.append(f"{say_assignment(tried)}: {failing}. {say(constraint)} fails")
        changes = [tried | {name: value} for name in sorted(names_in(constraint)) for value in setting.domains[name]]
        mended = [change for change in changes if holds(constraint, change)] or changes
        most = max(sum(holds(one, change) for one in constraints) for change in mended)
        tried = random.choice([change for change in mended if sum(holds(one, change) for one in constraints) == most])
    return lines, None
