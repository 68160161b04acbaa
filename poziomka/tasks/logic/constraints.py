"""Constraints over small whole numbers and truth values: evaluation, search, text, and a solver.

A constraint is plain data, so that it fits into a problem's facts:

    "p"                                    p is true
    ["not", C], ["or", C, D], ["if", C, D], ["iff", C, D]
    ["<=", [[2, "x"], [-1, "y", "z"]], 7]  2*x - y*z <= 7; also "<", ">", ">=", "=", "!="

Evaluation and search are exact, need no other package, and determine rewards. The solver (z3) is independent code on
the same data, for audits and for claims about all whole numbers, which no search can exhaust.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from poziomka.core.errors import TaskError

Constraint = str | list[Any]  # format: see the module's docstring
Assignment = Mapping[str, int | bool]

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
EFFORT = 2_000_000  # resource limit of the solver, in its own units, the same on every machine; about a second


# --------------------------------------------------------------------------------------------------------- evaluation
def value_of(terms: Sequence[Sequence[Any]], assignment: Assignment) -> int:
    """Returns the value of a sum of products, such as [[2, "x"], [-1, "y", "z"]] for 2*x - y*z, under an assignment."""
    total = 0
    for coefficient, *names in terms:
        product = int(coefficient)
        for name in names:
            product *= assignment[name]
        total += product
    return total


def holds(constraint: Constraint, assignment: Assignment) -> bool:
    """Whether a constraint is true under an assignment of all its variables.

    A constraint is a variable's name, a relation such as ["<=", [[2, "x"], [-1, "y"]], 7] for 2*x - y <= 7, or one of
    ["not", C], ["or", C, D], ["if", C, D] and ["iff", C, D].
    """
    if isinstance(constraint, str):
        return bool(assignment[constraint])
    kind, first, *rest = constraint
    if kind in RELATIONS:
        return RELATIONS[kind](value_of(first, assignment), rest[0])
    left = holds(first, assignment)
    if kind == "not":
        return not left
    right = holds(rest[0], assignment)
    if kind == "or":
        return left or right
    return (not left or right) if kind == "if" else left == right


def check_of(constraint: Constraint) -> Callable[[Assignment], bool]:
    """Returns a function that does the same as `holds` for one constraint; it is faster for many assignments."""
    if isinstance(constraint, str):
        return lambda assignment: bool(assignment[constraint])
    kind, first, *rest = constraint
    if kind in RELATIONS:
        compare, bound = RELATIONS[kind], rest[0]
        match first:
            case [[a, x]]:
                return lambda assignment: compare(a * assignment[x], bound)
            case [[a, x], [b, y]]:
                return lambda assignment: compare(a * assignment[x] + b * assignment[y], bound)
            case [[a, x], [b, y], [c, z]]:
                return lambda assignment: compare(a * assignment[x] + b * assignment[y] + c * assignment[z], bound)
        return lambda assignment: compare(value_of(first, assignment), bound)
    left = check_of(first)
    if kind == "not":
        return lambda assignment: not left(assignment)
    right = check_of(rest[0])
    if kind == "or":
        return lambda assignment: left(assignment) or right(assignment)
    if kind == "if":
        return lambda assignment: not left(assignment) or right(assignment)
    return lambda assignment: left(assignment) == right(assignment)


def names_in(constraint: Constraint) -> frozenset[str]:
    """Returns the names of the variables of a constraint."""
    if isinstance(constraint, str):
        return frozenset((constraint,))
    kind, first, *rest = constraint
    if kind in RELATIONS:
        return frozenset(name for _, *names in first for name in names)
    return names_in(first).union(*map(names_in, rest))


def models(
    constraints: Sequence[Constraint], domains: Mapping[str, Sequence[int | bool]]
) -> Iterator[dict[str, int | bool]]:
    """Yields every assignment that satisfies all constraints, by backtracking over the variables.

    The next variable is the one that makes most constraints checkable.

    Args:
        constraints: the constraints.
        domains: possible values by variable.
    """
    needs = [names_in(constraint) for constraint in constraints]
    names: list[str] = []
    while len(names) < len(domains):
        left = [name for name in domains if name not in names]
        names.append(max(left, key=lambda name: _readiness(name, names, needs, len(domains[name]))))
    ready: list[list[Callable[[Assignment], bool]]] = [[] for _ in names]
    for constraint, needed in zip(constraints, needs, strict=True):
        ready[max(map(names.index, needed))].append(check_of(constraint))
    chosen: dict[str, int | bool] = {}

    def extend(index: int) -> Iterator[dict[str, int | bool]]:
        if index == len(names):
            yield {name: chosen[name] for name in domains}
            return
        name, checks = names[index], ready[index]
        for value in domains[name]:
            chosen[name] = value
            for check in checks:
                if not check(chosen):
                    break
            else:
                yield from extend(index + 1)
        del chosen[name]

    return extend(0)


def _readiness(name: str, names: Sequence[str], needs: Sequence[frozenset[str]], size: int) -> tuple[int, int, int]:
    """Returns a variable's sort key for `models`; the variable with the largest key comes next.

    The key prefers a variable that makes many constraints checkable, then few values, then occurrence in many
    constraints.
    """
    known = {*names, name}
    return sum(name in need and need <= known for need in needs), -size, sum(name in need for need in needs)


# -------------------------------------------------------------------------------------------------------------- words
def say_terms(terms: Sequence[Sequence[Any]]) -> str:
    """Returns a sum of products as text: "2*x - y*z"."""
    text = ""
    for coefficient, *names in terms:
        size = abs(int(coefficient))
        factors = "*".join(([str(size)] if size != 1 or not names else []) + names)
        sign = "-" if coefficient < 0 else "+"
        text += f" {sign} {factors}" if text else factors if sign == "+" else f"-{factors}"
    return text


def say(constraint: Constraint) -> str:
    """Returns a constraint as text: "if p then 2*x - y <= 7"."""
    if isinstance(constraint, str):
        return constraint
    kind, first, *rest = constraint
    if kind in RELATIONS:
        return f"{say_terms(first)} {kind} {rest[0]}"
    if kind == "not":
        return f"not {say(first)}"
    words = {"or": "{} or {}", "if": "if {} then {}", "iff": "{} exactly if {}"}[kind]
    return words.format(say(first), say(rest[0]))


def say_assignment(assignment: Assignment) -> str:
    """Returns an assignment as text: "x = 3, p = true"."""
    return ", ".join(f"{name} = {str(value).lower()}" for name, value in assignment.items())


# ------------------------------------------------------------------------------------------------------------- solver
class Solver:
    """The solver z3, applied to constraints of this module's format."""

    def __init__(self, numbers: Sequence[str], bounds: tuple[int, int] | None) -> None:
        """Declares the numeric variables.

        Args:
            numbers: names of the variables.
            bounds: lowest and highest value of each; `bounds=None` allows all whole numbers.

        Raises:
            TaskError: z3 is not installed.
        """
        try:
            import z3  # noqa: PLC0415 an extra, needed only where a claim about all numbers is judged, or for an audit
        except ImportError as error:
            message = "judging claims about all whole numbers needs the package z3-solver: install poziomka[tasks]"
            raise TaskError(message) from error
        self.z3: Any = z3
        self.context = z3.Context()  # isolated from other uses of z3 in this process
        self.numbers = {name: z3.Int(name, self.context) for name in numbers}
        self.bounds = bounds

    def satisfiable(self, constraints: Sequence[Constraint], given: Assignment | None = None) -> bool:
        """Whether some assignment satisfies all constraints.

        Args:
            constraints: the constraints.
            given: fixed values of some or all variables.

        Raises:
            TaskError: the solver finds no answer within its resource limit, about a second.
        """
        solver = self.z3.Solver(ctx=self.context)
        solver.set("rlimit", EFFORT)
        if self.bounds is not None:
            for number in self.numbers.values():
                solver.add(number >= self.bounds[0], number <= self.bounds[1])
        for constraint in constraints:
            solver.add(self._translate(constraint))
        for name, value in (given or {}).items():
            if name in self.numbers:
                solver.add(self.numbers[name] == int(value))
            else:
                solver.add(self._translate(name if value else ["not", name]))
        found = solver.check()
        if found == self.z3.unknown:
            message = f"the solver does not know: {solver.reason_unknown()}"
            raise TaskError(message)
        return bool(found == self.z3.sat)

    def _translate(self, constraint: Constraint) -> Any:
        if isinstance(constraint, str):
            return self.z3.Bool(constraint, self.context)
        kind, first, *rest = constraint
        if kind in RELATIONS:
            total = self.z3.IntVal(0, self.context)
            for coefficient, *names in first:
                product = self.z3.IntVal(int(coefficient), self.context)
                for name in names:
                    product = product * self.numbers[name]
                total = total + product
            compared: Callable[[Any, Any], Any] = RELATIONS[kind]
            return compared(total, self.z3.IntVal(int(rest[0]), self.context))
        left = self._translate(first)
        if kind == "not":
            return self.z3.Not(left)
        right = self._translate(rest[0])
        if kind == "or":
            return self.z3.Or(left, right)
        return self.z3.Implies(left, right) if kind == "if" else left == right
