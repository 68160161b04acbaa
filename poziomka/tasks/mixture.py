"""Mixtures: one task that draws its problems from several tasks, in proportion to their weights.

A mixture's name lists its parts, joined by "+", each with an optional weight before "*": `mixture:3*sums+gcd` draws
three problems of `sums` for each of `gcd`. The default weight is 1. A part has its usual name, colons and slashes
included, as in `mixture:3*sums+gcd+grade_school:FOLDER`. A part whose name contains "*" needs an explicit weight; one
whose name contains "+" can be mixed only in Python, with `mixture`.

**Fields of a problem.** The `task` of a mixture's problem is the mixture's name. The name of its part is the prefix of
its key and `facts["part"]`, where the journal shows it; the part's own facts and level are `facts["facts"]` and
`facts["level"]`. Scorers, environments, demonstrations and the like receive the part's own problem, exactly as the part
made it. A problem whose facts name no part of this mixture raises TaskError and is never scored by another scorer.

**Order of the problems.** Problems are drawn in rounds. In each round every part occurs exactly in proportion to its
weight, in an order seeded by the split and the round's number, so any long stretch of problems keeps the proportions.
The problems of one part are drawn in the order of their indices. For a finite part that order is shuffled for every
pass, seeded by the split and the pass's number, so each problem is drawn once before any is repeated.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm
from typing import TypeVar, cast

from poziomka.core.environment import Environment, Session
from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Group
from poziomka.core.rollouts.cross_check import says_gold
from poziomka.core.rollouts.evaluation import Evaluation
from poziomka.core.seeds import random_of
from poziomka.core.splits import SPLITS
from poziomka.core.task import Delegate, Scorer, Task

LONGEST_ROUND = 10_000  # problems in a round
WEIGHT = re.compile(r"\d+(\.\d+)?|\.\d+", re.ASCII)
HOW = "name one as mixture:3*sums+gcd, a weight before '*' and '+' between parts"
T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """A task in a mixture, with its weight.

    Attributes:
        task: the task that the problems are drawn from.
        weight: frequency of its problems, relative to the other parts' weights; above 0.
        name: name of the part within the mixture; `name=""` uses the task's own name.

    Raises:
        TaskError: the weight is not above 0.
    """

    task: Task
    weight: float | Fraction = 1
    name: str = ""

    def __post_init__(self) -> None:
        """Rejects weights that are zero, negative, infinite or NaN."""
        if not 0 < self.weight < float("inf"):
            message = f"the weight of a part must be above 0: received {float(self.weight):g} for {self.called!r}"
            raise TaskError(message)

    @property
    def called(self) -> str:
        """The name of the part within the mixture: `name`, or else the task's own name."""
        return self.name or self.task.name

    def own(self, problem: Problem) -> Problem:
        """Returns the part's own problem from a problem of the mixture, exactly as the part's task made it."""
        facts = cast("Mapping[str, object]", problem.facts["facts"])
        key = problem.key.removeprefix(f"{self.called}/")
        return replace(problem, task=self.task.name, key=key, facts=facts, level=cast("int", problem.facts["level"]))


# --------------------------------------------------------------------------------------------------------- by a name
def read_parts(where: str, named: Callable[[str], Task]) -> list[Part]:
    """Parses a mixture's name into its parts.

    Args:
        where: the name without "mixture:", such as "3*sums+gcd".
        named: returns the task for a task's name.

    Raises:
        TaskError: a part is empty, is a mixture itself or occurs twice, a weight is not a number above 0, or `named`
            raises TaskError for a part.
    """
    found: dict[str, tuple[Fraction, Task]] = {}
    for text in where.split("+"):
        before, star, after = (piece.strip() for piece in text.partition("*"))
        weight, name = (before, after) if star else ("1", before)
        if not name:
            message = f"the mixture {where!r} has a part without a name: {HOW}"
            raise TaskError(message)
        if not WEIGHT.fullmatch(weight) or not Fraction(weight):
            message = f"the weight of a part must be a number above 0: received {weight!r} before {name!r}; {HOW}"
            raise TaskError(message)
        if name in found:
            message = f"{name!r} stands twice in the mixture {where!r}: give it one weight, such as 2*{name}"
            raise TaskError(message)
        if name.partition(":")[0] == "mixture":
            message = f"a mixture holds no mixture by name: received {name!r}; list its parts instead"
            raise TaskError(message)
        found[name] = Fraction(weight), named(name)
    own = [task.name for _, task in found.values()]
    # without the folder in a part's name, a run repeats on other machines; parts of the same task keep it
    return [
        Part(task, weight, task.name if own.count(task.name) == 1 else name) for name, (weight, task) in found.items()
    ]


# --------------------------------------------------------------------------------------------------------- the parts
class _Parts:
    """The parts of a mixture; maps problems of the mixture to the parts' own problems, and back."""

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        names = [part.called for part in parts]
        if not parts or len(set(names)) < len(names):
            message = f"a mixture needs parts of different names: received {names}"
            raise TaskError(message)
        self.name = name
        self.parts = {part.called: part for part in parts}
        self.deal = _deal(parts)
        ranges = [part.task.levels for part in parts]
        known = [levels for levels in ranges if levels is not None]
        self.levels = (1, max(high - low + 1 for low, high in known)) if len(known) == len(ranges) else None

    def of(self, problem: Problem) -> Part:
        """Returns the part that a problem comes from.

        Raises:
            TaskError: the problem comes from no part of this mixture.
        """
        part = self.parts.get(str(problem.facts.get("part")))
        if part is None or problem.task != self.name or not problem.key.startswith(f"{part.called}/"):
            message = (
                f"problem {problem.key!r} of {problem.task!r} is of no part of {self.name!r}: it says "
                f"{problem.facts.get('part')!r}, and the parts are {', '.join(self.parts)}"
            )
            raise TaskError(message)
        return part

    def source(self, split: str, index: int, level: int | None = None) -> Problem:
        """Returns a problem of the mixture (a task's source).

        Args:
            split: name of the split.
            index: from 0.
            level: level of the mixture; `level=None` leaves the level to the part.

        Raises:
            TaskError: the part whose turn it is has no problems in this split.
        """
        around, place = divmod(index, len(self.deal))
        order = _shuffled(self.deal, self.name, split, around)
        name = order[place]
        part = self.parts[name]
        number = around * self.deal.count(name) + order[:place].count(name)
        count = part.task.count(split)
        if count == 0:
            message = f"{name!r} in {self.name!r} has no problems in {split!r}: leave it out of what is used for that"
            raise TaskError(message)
        if count is not None:
            again, at = divmod(number, count)
            number = _order(name, split, again, count)[at]
        own = part.task.problem(split, number, None if level is None else self.inner(part, level))
        facts = {"part": name, "level": own.level, "facts": own.facts}
        outer = self.outer(part, own.level) if level is None else level
        return replace(own, task=self.name, key=f"{name}/{own.key}", facts=facts, level=outer)

    def inner(self, part: Part, level: int) -> int:
        """Returns the part's level for a level of the mixture, by linear interpolation between lowest and highest."""
        low, high = cast("tuple[int, int]", part.task.levels)
        return low + _scaled(level - 1, self._steps, high - low)

    def outer(self, part: Part, level: int) -> int:
        """Returns the mixture's level nearest to a level of a part; a mixture without levels keeps the part's level."""
        if self.levels is None:
            return level
        low, high = cast("tuple[int, int]", part.task.levels)
        return 1 + _scaled(level - low, high - low, self._steps)

    @property
    def _steps(self) -> int:
        return cast("tuple[int, int]", self.levels)[1] - 1

    def asked(self, of: Callable[[Task], Callable[[Problem], T] | None], absent: T) -> Callable[[Problem], T] | None:
        """Combines an optional function that tasks have, such as `demonstration`, into one for the mixture's problems.

        Args:
            of: returns the function of a part's task; None if the task has none.
            absent: result for a problem whose part has no such function.

        Returns:
            A function that calls the function of the problem's part with the part's own problem; None if no part has
                one.
        """
        if all(of(part.task) is None for part in self.parts.values()):
            return None

        def ask(problem: Problem) -> T:
            part = self.of(problem)
            asked = of(part.task)
            return absent if asked is None else asked(part.own(problem))

        return ask


def _deal(parts: Sequence[Part]) -> tuple[str, ...]:
    """Returns the part names of one round, the shortest in which each part occurs in proportion to its weight.

    Raises:
        TaskError: a round would have more than 10,000 problems.
    """
    weights = [Fraction(part.weight).limit_denominator(1000) for part in parts]
    whole = [int(weight * lcm(*(weight.denominator for weight in weights))) for weight in weights]
    counts = [count // (gcd(*whole) or 1) for count in whole]
    if min(counts) == 0 or sum(counts) > LONGEST_ROUND:
        received = " and ".join(f"{float(part.weight):g}" for part in parts)
        message = f"weights of a mixture lie within a thousandth to a thousand of each other: received {received}"
        raise TaskError(message)
    return tuple(part.called for part, count in zip(parts, counts, strict=True) for _ in range(count))


@lru_cache(maxsize=64)  # consecutive indices share a round
def _shuffled(deal: tuple[str, ...], name: str, split: str, around: int) -> list[str]:
    return random_of("mixture", name, split, around).sample(deal, len(deal))


@lru_cache(maxsize=64)
def _order(part: str, split: str, again: int, count: int) -> list[int]:
    return random_of("mixture", "order", part, split, again).sample(range(count), count)


def _scaled(place: int, steps: int, wanted: int) -> int:
    """Maps `place` from the range 0..`steps` to the nearest integer of 0..`wanted`; ties round up."""
    return (2 * place * wanted + steps) // (2 * steps) if steps else 0


# --------------------------------------------------------------------------------------------------------- as a task
class _Inside:
    """An environment of a part that accepts problems of the mixture."""

    def __init__(self, inner: Environment, part: Part) -> None:
        self.inner, self.part = inner, part
        self.stop = inner.stop
        self.described = getattr(inner, "described", None)

    def open(self, problem: Problem) -> Session:
        """Opens a session of the part's environment for the part's own problem."""
        return self.inner.open(self.part.own(problem))


def mixture(parts: Sequence[Part], name: str = "mixture") -> Task:
    """Returns one task that draws its problems from several tasks, in proportion to their weights.

    The mixture's levels go from 1 to the number of levels of the part that has most; they are spread evenly over the
    levels of the other parts. If a part has no levels, the mixture has none, and a problem's level is that of its part.
    The mixture is endless: the problems of a finite part are repeated. It has demonstrations and symbols if all parts
    have them, and is trusted if all parts are. Parts without an audit scorer are audited by comparing the answer with
    the gold answer (`says_gold`). Votes use the reader of answers that all parts share, if there is one.

    Args:
        parts: tasks with weights, under different names.
        name: name of the returned task.

    Raises:
        TaskError: there is no part, two parts have the same name, or weights differ by more than a factor of 1,000.
    """
    whole = _Parts(name, parts)
    tasks = [part.task for part in parts]

    def scorer(problem: Problem) -> tuple[Scorer, Problem]:
        part = whole.of(problem)
        return part.task.scorer, part.own(problem)

    def audit(problem: Problem) -> tuple[Scorer, Problem]:
        part = whole.of(problem)
        own = part.own(problem)
        if part.task.audit is None and not own.answer:
            failed = Score.failed(Verdict.ERROR, f"{part.called} has no second opinion on this problem")
            return (lambda _problem, _transcript: failed), own
        return part.task.audit or says_gold, own

    def environment(problem: Problem) -> Environment | None:
        part = whole.of(problem)
        inner = part.task.environment(part.own(problem)) if part.task.environment else None
        return None if inner is None else _Inside(inner, part)

    judged_twice = Delegate(audit) if any(task.audit is not None for task in tasks) else None
    shown = all(task.demonstration is not None for task in tasks)
    symbols = tuple(dict.fromkeys(symbol for task in tasks for symbol in task.symbols))
    return Task(
        name,
        whole.source,
        Delegate(scorer),
        splits=SPLITS,  # each part separates its own splits
        environment=environment if any(task.environment is not None for task in tasks) else None,
        levels=whole.levels,
        trusted=all(task.trusted for task in tasks),
        demonstration=whole.asked(lambda task: task.demonstration, ("", "")) if shown else None,
        mistakes=whole.asked(lambda task: task.mistakes, {}),
        audit=judged_twice,
        read=tasks[0].reader if all(task.reader == tasks[0].reader for task in tasks) else None,
        symbols=symbols if all(task.symbols for task in tasks) else (),
        limits=(*(f"{part.called}: {limit}" for part in parts for limit in part.task.limits), *LIMITS),
    )


LIMITS = (
    "A figure over all parts depends on their weights: compare part by part.",
    "A finite part's problems come again once all of them have come.",
)


def by_part(evaluation: Evaluation) -> dict[str, Evaluation]:
    """Splits an evaluation of a mixture into one evaluation per part, by the part's name.

    The evaluation of a task that is not a mixture has one entry, under the task's name.
    """
    found: dict[str, list[Group]] = {}
    for group in evaluation.groups:
        if group:
            problem = group[0].problem
            found.setdefault(str(problem.facts.get("part", problem.task)), []).append(group)
    return {name: Evaluation(groups) for name, groups in found.items()}
