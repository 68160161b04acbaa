"""Constraint satisfaction: find whole numbers and truth values that satisfy all constraints. Many answers are right.

An answer is checked by evaluating the constraints, which is exact and needs no solver. The level sets the number of
variables, from two numbers (1) to five numbers and two truth values (6). At most one assignment in fifty, and no more
than twelve, satisfy the constraints, so that guessing does not pay.
"""

from collections.abc import Mapping
from typing import Any, cast

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript, split_thought
from poziomka.tasks.logic.certificates import (
    DIGITS,
    HELD_OUT,
    Setting,
    assignment_alike,
    draw_constraints,
    form_of,
    numbered,
    outside,
    read_assignment,
    search,
)
from poziomka.tasks.logic.certificates_cross_check import read_pairs
from poziomka.tasks.logic.constraints import Constraint, Solver, holds, say, say_assignment

NAME = "satisfy"
SHAPES = ((2, 0), (2, 1), (3, 1), (3, 2), (4, 2), (5, 2))  # by level: numbers and truth values
SEARCHES = 40  # most searches for a demonstration, which shows the first that succeeds


def source(split: str, index: int, level: int | None = None) -> Problem:
    """Returns a problem that has a solution (a task's source); no two splits share a list of constraints.

    Args:
        split: name of the split.
        index: from 0.
        level: 1 to 6, for the number of variables; `level=None` draws it uniformly.
    """
    level = random_of(NAME, split, index, "level").randint(1, len(SHAPES)) if level is None else level
    random = random_of(NAME, split, index, level)
    setting = Setting.of(SHAPES[level - 1], DIGITS)
    while True:
        constraints, found = draw_constraints(random, setting)
        seed = seed_of(NAME, "constraints", str(setting), *sorted(map(say, constraints)))
        if (seed % HELD_OUT == 0) == (split == "test"):
            break
    question = (
        f"Find {setting.say()} for which all of these hold:\n{numbered(constraints)}\n"
        f"The answer is nothing but the values: {form_of(setting)}"
    )
    facts = setting.facts | {"constraints": constraints, "hidden": found[0]}
    return Problem(question, task=NAME, key=f"{seed:016x}", facts=facts, level=level)


def _constraints(problem: Problem) -> list[Constraint]:
    return cast("list[Constraint]", problem.facts["constraints"])


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Returns reward 1 if the answer gives every variable a value within its bounds, and all constraints hold."""
    answer = split_thought(transcript.reply)[1]
    if answer is None:
        return Score.unparsed("the thought never ended")
    setting = Setting.in_facts(problem)
    found = read_assignment(answer, setting)
    if found is None:
        return Score.unparsed(f"the answer is not {form_of(setting)}")
    far = outside(found, setting)
    if far is not None:
        return Score.wrong(answer, f"{far} is out of bounds")
    failing = next((one for one in _constraints(problem) if not holds(one, found)), None)
    if failing is not None:
        return Score.wrong(answer, f"{say(failing)} fails")
    return Score.right(answer, "all constraints hold")


def demonstration(problem: Problem) -> tuple[str, str]:
    """Returns a local search, which changes one value at a time, as the thought, and the solution that it found.

    The first successful search is shown, not the shortest: the shortest would show no search.
    """
    setting, constraints = Setting.in_facts(problem), _constraints(problem)
    for number in range(SEARCHES):
        lines, found = search(random_of(NAME, "demonstration", problem.key, number), constraints, setting)
        if found is not None:
            return "\n".join(lines), say_assignment(found)
    hidden = cast("Mapping[str, Any]", problem.facts["hidden"])
    return f"{say_assignment(hidden)}: all hold", say_assignment(hidden)


def mistakes(problem: Problem) -> dict[str, str]:
    """Returns wrong answers, keyed by a description of the fault: they violate a constraint or have a wrong format."""
    setting, constraints = Setting.in_facts(problem), _constraints(problem)
    hidden = cast("dict[str, int | bool]", problem.facts["hidden"])
    found: dict[str, str] = {}
    for name, values in setting.domains.items():
        for value in values:
            changed = hidden | {name: value}
            if not all(holds(one, changed) for one in constraints):
                found[f"another {name}"] = say_assignment(changed)
    first = setting.numbers[0]
    found["a number out of bounds"] = say_assignment(hidden | {first: 10 + int(hidden[first])})
    found["a variable left out"] = say_assignment({name: hidden[name] for name in list(hidden)[1:]})
    found["a variable twice"] = f"{say_assignment(hidden)}, {first} = {hidden[first]}"
    found["a variable too many"] = f"{say_assignment(hidden)}, w = 1"
    found["a claim that there is none"] = "unsatisfiable"
    return found


def audit(problem: Problem, transcript: Transcript) -> Score:
    """Returns a second score, independent of `scorer`: by another parser of the values, and by the solver z3."""
    setting = Setting.in_facts(problem)
    given = read_pairs(transcript, [*setting.numbers, *setting.truths])
    if given is None:
        return Score.unparsed("not every variable has one value")
    try:
        solver = Solver(setting.numbers, setting.bounds)
        right = solver.satisfiable(_constraints(problem), given)
    except TaskError as error:
        return Score.failed(Verdict.ERROR, str(error))
    said = say_assignment(given)
    return Score.right(said, "z3 agrees") if right else Score.wrong(said, "z3 finds a constraint that fails")


LIMITS = (
    "Problems are random and small: finding values by trial is enough, and says little of proofs.",
    "Held-out problems share no list of constraints with training, but single constraints occur in both.",
)


def satisfy() -> Task:
    """Task of finding whole numbers and truth values that satisfy all given constraints; many answers are right.

    The level, 1 to 6, sets the number of variables: from two numbers to five numbers and two truth values.
    """
    return Task(
        NAME,
        source,
        scorer,
        levels=(1, len(SHAPES)),
        trusted=True,
        demonstration=demonstration,
        mistakes=mistakes,
        audit=audit,
        limits=LIMITS,
        read=lambda transcript: assignment_alike(transcript.answer),
    )
