"""Shared code of tasks whose answers are certificates: assignments of variables that are checked against constraints.

Problems are generated around a hidden assignment, so no problem has to be solved to generate it.
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
DIGITS = (0, 9)  # bounds of numbers, in problems that have bounds
WHOLE = (-20, 20)  # range of hidden assignments without bounds
MOST_MODELS = 12  # most solutions of a problem; it also has at most one per SPARSE assignments
SPARSE = 50
LOOKED_AT = 60  # number of solutions that a new constraint is tested on
KEPT = 0.75  # largest fraction of them that it may keep
MOST_TRIES = 24  # of a written-out search
LONGEST = 400  # characters of an answer
PAIR = r"[a-z] ?= ?(?:0|-?[1-9][0-9]{0,5}|(?i:true|false))"
ANSWER = re.compile(rf"{PAIR}(?: ?, ?{PAIR})*")


# -------------------------------------------------------------------------------------------------------- constraints
@dataclass(frozen=True)
class Setting:
    """The variables of a problem, with their ranges.

    Attributes:
        numbers: names of the variables that are whole numbers.
        truths: names of the variables that are truth values.
        bounds: lowest and highest value of every number; `bounds=None` allows all whole numbers.
    """

    numbers: tuple[str, ...]
    truths: tuple[str, ...]
    bounds: tuple[int, int] | None

    @classmethod
    def of(cls, shape: tuple[int, int], bounds: tuple[int, int] | None) -> "Setting":
        """Returns the setting with `shape[0]` numbers, named x, y, z, u, v, and `shape[1]` truth values, named p, q."""
        return cls(tuple("xyzuv"[: shape[0]]), tuple("pq"[: shape[1]]), bounds)

    @classmethod
    def in_facts(cls, problem: Problem) -> "Setting":
        """Returns the setting that is stored in a problem's facts."""
        facts = cast("Mapping[str, Any]", problem.facts)
        bounds = facts["bounds"] and (facts["bounds"][0], facts["bounds"][1])
        return cls(tuple(facts["numbers"]), tuple(facts["truths"]), bounds)

    @property
    def facts(self) -> dict[str, object]:
        """The setting as JSON data, for a problem's facts."""
        bounds = None if self.bounds is None else list(self.bounds)
        return {"numbers": list(self.numbers), "truths": list(self.truths), "bounds": bounds}

    @property
    def domains(self) -> dict[str, Sequence[int | bool]]:
        """The possible values by variable; for numbers without bounds -20 to 20, the range of hidden assignments."""
        low, high = self.bounds or WHOLE
        numbers: dict[str, Sequence[int | bool]] = dict.fromkeys(self.numbers, range(low, high + 1))
        return numbers | dict.fromkeys(self.truths, (False, True))

    def draw(self, random: Random) -> dict[str, int | bool]:
        """Returns a random assignment: a value for each variable, by name."""
        return {name: random.choice(values) for name, values in self.domains.items()}

    def say(self) -> str:
        """Returns the variables as text for the prompt: "whole numbers x, y from 0 to 9 and truth values p"."""
        within = "" if self.bounds is None else f" from {self.bounds[0]} to {self.bounds[1]}"
        numbers = f"whole numbers {', '.join(self.numbers)}{within}"
        return numbers + (f" and truth values {', '.join(self.truths)}" if self.truths else "")


def _atom(random: Random, setting: Setting, hidden: Assignment) -> list[Any]:
    """Returns a random relation of a sum of terms to a number near its value under the hidden assignment."""
    names = random.sample(setting.numbers, random.randint(1, min(3, len(setting.numbers))))
    if len(names) > 1 and random.random() < 0.2:
        terms: list[list[Any]] = [[1, *sorted(names[:2])]]
    else:
        terms = [[random.choice((1, 1, 1, 2, 3, -1, -1, -2)), name] for name in sorted(names)]
    near = value_of(terms, hidden) + random.choice((0, 0, 0, 1, -1, 2, -2))
    return [random.choice(("<=", ">=", "<", ">", "=", "=", "!=")), terms, near]


def _constraint(random: Random, setting: Setting, hidden: Assignment) -> Constraint:
    """Returns a random constraint that holds under the hidden assignment."""
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
    """Returns random constraints with few solutions, and all their solutions.

    There are at most 12 solutions, and at most one per 50 possible assignments. Every constraint after the first few
    rules out some of the remaining solutions, so that none is redundant.
    """
    hidden = setting.draw(random)
    size = prod(len(values) for values in setting.domains.values())
    most = max(1, min(MOST_MODELS, size // SPARSE))
    found: list[Constraint] = []
    left: list[dict[str, int | bool]] = []  # solutions of the constraints so far; at most LOOKED_AT
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
        if len(left) == 1:  # no constraint can rule out more, and a variable has none: start again
            found, left = [], []


def numbered(constraints: Sequence[Constraint]) -> str:
    """Returns constraints as numbered lines of text, "1. x + y <= 7"."""
    return "\n".join(f"{number}. {say(constraint)}" for number, constraint in enumerate(constraints, 1))


def form_of(setting: Setting) -> str:
    """Returns the format of an answer, for the prompt: "x = ..., p = true/false"."""
    return ", ".join(
        [*(f"{name} = ..." for name in setting.numbers), *(f"{name} = true/false" for name in setting.truths)]
    )


def read_assignment(answer: str, setting: Setting) -> dict[str, int | bool] | None:
    """Parses a whole answer such as "x = 3, p = true" as an assignment; None for anything else.

    Every variable must have one value, in any order, and no other text is allowed but a final full stop.
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


def assignment_alike(answer: str) -> str | None:
    """Returns a whole answer such as "p = true, x = 3" with its variables in alphabetical order, for votes.

    The result is None for anything but values of variables; which variables a problem has is not checked.
    """
    answer = answer.removesuffix(".").replace("−", "-")
    if len(answer) > LONGEST or not ANSWER.fullmatch(answer):
        return None
    pairs = [[part.strip() for part in pair.split("=")] for pair in answer.split(",")]
    values = [(name, value.lower() if value[-1].isalpha() else str(int(value))) for name, value in pairs]
    return ", ".join(f"{name} = {value}" for name, value in sorted(values))


def outside(assignment: Assignment, setting: Setting) -> str | None:
    """Returns the name of the first number of an assignment that is out of bounds; None if there is none."""
    if setting.bounds is None:
        return None
    low, high = setting.bounds
    return next((name for name in setting.numbers if not low <= assignment[name] <= high), None)


def search(random: Random, constraints: Sequence[Constraint], setting: Setting) -> tuple[list[str], Assignment | None]:
    """Runs a local search for an assignment that satisfies all constraints; at most 24 assignments are tried.

    Each step reports the first constraint that fails and changes one of its variables to the value under which the most
    constraints hold.

    Returns:
        The trace, one line per assignment, and the solution; None instead of the solution if none was found.
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
