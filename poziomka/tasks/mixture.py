"""Mixtures: one task whose problems come from several, each as often as its weight says.

A mixture is named by its parts, "+" between them and a weight before "*": `mixture:3*sums+gcd+grade_school:FOLDER`
draws sums three times as often as gcd. A weight is 1 where none is written. A part is named as it is by itself, colons
and slashes included; one whose name holds a "*" needs its weight written, and one whose name holds a "+" can only be
mixed in Python, with `mixture`.

**Whose problem it is.** A mixture's problem names the mixture as its task. Which part it comes from stands in its facts
as "part", where the journal shows it, and before its key; the part's own facts and level stand beside it. Scorers,
environments and the like get the part's own problem back, exactly as the part made it, and a problem whose facts name
no part of this mixture is an error and never judged by somebody else's scorer.

**Which part comes when.** Problems are dealt in rounds, in each of which every part occurs exactly as often as its
weight says, in an order that is named by split and round. So any long stretch holds the parts in their proportions. A
part's own problems are taken one after another; those of a finite one in an order that is named by split and time
round, so that each comes once before any comes again.
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
from poziomka.core.task import Scorer, Task
from poziomka.core.transcript import Transcript

LONGEST_ROUND = 10_000  # problems in which all parts occur as their weights say
WEIGHT = re.compile(r"\d+(\.\d+)?|\.\d+", re.ASCII)
HOW = "name one as mixture:3*sums+gcd, a weight before '*' and '+' between parts"
T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """A task in a mixture.

    Attributes:
        task: where its problems come from.
        weight: how often they come, relative to the other parts; above 0.
        name: what the mixture calls it; "" for the task's own name.

    Raises:
        TaskError: the weight is not above 0.
    """

    task: Task
    weight: float | Fraction = 1
    name: str = ""

    def __post_init__(self) -> None:
        """Refuses a weight under which nothing, or nothing else, would come."""
        if not 0 < self.weight < float("inf"):
            message = f"the weight of a part must be above 0: received {float(self.weight):g} for {self.called!r}"
            raise TaskError(message)

    @property
    def called(self) -> str:
        """The name by which the mixture tells it from others."""
        return self.name or self.task.name

    def own(self, problem: Problem) -> Problem:
        """Returns the part's problem that a problem of the mixture holds."""
        facts = cast("Mapping[str, object]", problem.facts["facts"])
        key = problem.key.removeprefix(f"{self.called}/")
        return replace(problem, task=self.task.name, key=key, facts=facts, level=cast("int", problem.facts["level"]))


# --------------------------------------------------------------------------------------------------------- by a name
def read_parts(where: str, named: Callable[[str], Task]) -> list[Part]:
    """Returns the parts that a mixture's name lists.

    Args:
        where: "3*sums+gcd", what stands behind "mixture:".
        named: returns the task of a name.

    Raises:
        TaskError: a part is empty, is a mixture itself or occurs twice, a weight is no number above 0, or a part's
            name is of no task.
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
    # a folder is no part of what a problem is called, so that a run repeats elsewhere; unless nothing else tells parts
    return [
        Part(task, weight, task.name if own.count(task.name) == 1 else name) for name, (weight, task) in found.items()
    ]


# --------------------------------------------------------------------------------------------------------- the parts
class _Parts:
    """What of a mixture's problems is whose."""

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
            TaskError: it comes from none of this mixture.
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
        """Returns a problem of the mixture."""
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
        """Returns the part's level that stands for one of the mixture: the ends meet, and between them is even."""
        low, high = cast("tuple[int, int]", part.task.levels)
        return low + _scaled(level - 1, self._steps, high - low)

    def outer(self, part: Part, level: int) -> int:
        """Returns the mixture's level nearest to one of the part; the part's own where the mixture has none."""
        if self.levels is None:
            return level
        low, high = cast("tuple[int, int]", part.task.levels)
        return 1 + _scaled(level - low, high - low, self._steps)

    @property
    def _steps(self) -> int:
        return cast("tuple[int, int]", self.levels)[1] - 1

    def asked(self, of: Callable[[Task], Callable[[Problem], T] | None], absent: T) -> Callable[[Problem], T] | None:
        """Returns what asks the part of a problem; None where no part can be asked.

        Args:
            of: returns what to ask of a part's task.
            absent: said for a part that cannot be asked.
        """
        if all(of(part.task) is None for part in self.parts.values()):
            return None

        def ask(problem: Problem) -> T:
            part = self.of(problem)
            asked = of(part.task)
            return absent if asked is None else asked(part.own(problem))

        return ask


def _deal(parts: Sequence[Part]) -> tuple[str, ...]:
    """Returns the parts of the shortest round in which each occurs as often as its weight says."""
    weights = [Fraction(part.weight).limit_denominator(1000) for part in parts]
    whole = [int(weight * lcm(*(weight.denominator for weight in weights))) for weight in weights]
    counts = [count // (gcd(*whole) or 1) for count in whole]
    if min(counts) == 0 or sum(counts) > LONGEST_ROUND:
        received = " and ".join(f"{float(part.weight):g}" for part in parts)
        message = f"weights of a mixture lie within a thousandth to a thousand of each other: received {received}"
        raise TaskError(message)
    return tuple(part.called for part, count in zip(parts, counts, strict=True) for _ in range(count))


@lru_cache(maxsize=64)  # neighbours are asked for one after another
def _shuffled(deal: tuple[str, ...], name: str, split: str, around: int) -> list[str]:
    return random_of("mixture", name, split, around).sample(deal, len(deal))


@lru_cache(maxsize=64)
def _order(part: str, split: str, again: int, count: int) -> list[int]:
    return random_of("mixture", "order", part, split, again).sample(range(count), count)


def _scaled(place: int, steps: int, wanted: int) -> int:
    """Returns the place among 0..wanted that is nearest to `place` among 0..steps, the higher of two."""
    return (2 * place * wanted + steps) // (2 * steps) if steps else 0


# --------------------------------------------------------------------------------------------------------- as a task
class _Inside:
    """An environment of a part, opened with the part's own problem."""

    def __init__(self, inner: Environment, part: Part) -> None:
        self.inner, self.part = inner, part
        self.stop = inner.stop
        self.described = getattr(inner, "described", None)

    def open(self, problem: Problem) -> Session:
        """Returns the inner environment's session."""
        return self.inner.open(self.part.own(problem))


def mixture(parts: Sequence[Part], name: str = "mixture") -> Task:
    """Returns one task with the problems of several.

    Levels go from 1 to the number of levels of the part that has most, and are spread evenly over those of the others;
    where a part has none, a level cannot be asked for, and a problem's level is its part's. It is endless, has
    demonstrations and symbols where all parts have them, and is trusted where all parts are. The second opinion on a
    part without an audit of its own is that its answer says the gold one.

    Args:
        parts: of different names.
        name: of the task.

    Raises:
        TaskError: no part, two of one name, or weights more than a thousandfold apart.
    """
    whole = _Parts(name, parts)
    tasks = [part.task for part in parts]

    def scorer(problem: Problem, transcript: Transcript) -> Score:
        part = whole.of(problem)
        return part.task.scorer(part.own(problem), transcript)

    def audit(problem: Problem, transcript: Transcript) -> Score:
        part = whole.of(problem)
        own = part.own(problem)
        if part.task.audit is None and not own.answer:
            return Score.failed(Verdict.ERROR, f"{part.called} has no second opinion on this problem")
        return (part.task.audit or says_gold)(own, transcript)

    def environment(problem: Problem) -> Environment | None:
        part = whole.of(problem)
        inner = part.task.environment(part.own(problem)) if part.task.environment else None
        return None if inner is None else _Inside(inner, part)

    judged_twice: Scorer | None = audit if any(task.audit is not None for task in tasks) else None
    shown = all(task.demonstration is not None for task in tasks)
    symbols = tuple(dict.fromkeys(symbol for task in tasks for symbol in task.symbols))
    return Task(
        name,
        whole.source,
        scorer,
        splits=SPLITS,  # each part keeps its own apart
        environment=environment if any(task.environment is not None for task in tasks) else None,
        levels=whole.levels,
        trusted=all(task.trusted for task in tasks),
        demonstration=whole.asked(lambda task: task.demonstration, ("", "")) if shown else None,
        mistakes=whole.asked(lambda task: task.mistakes, {}),
        audit=judged_twice,
        symbols=symbols if all(task.symbols for task in tasks) else (),
        limits=(*(f"{part.called}: {limit}" for part in parts for limit in part.task.limits), *LIMITS),
    )


LIMITS = (
    "A figure over all parts depends on their weights: compare part by part.",
    "A finite part's problems come again once all of them have come.",
)


def by_part(evaluation: Evaluation) -> dict[str, Evaluation]:
    """Returns what an evaluation of a mixture says of each of its parts, by name; another task is its only part."""
    found: dict[str, list[Group]] = {}
    for group in evaluation.groups:
        if group:
            problem = group[0].problem
            found.setdefault(str(problem.facts.get("part", problem.task)), []).append(group)
    return {name: Evaluation(groups) for name, groups in found.items()}
