"""Sources made of a generator: the library seeds it, and hashes the keys of its problems into disjoint splits."""

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from random import Random

from poziomka.core.errors import ProblemError, TaskError
from poziomka.core.problem import Problem
from poziomka.core.safety.failures import failures_of
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.splits import SPLITS, TEST, TRAIN, VALIDATION

Generator = Callable[[Random], Problem] | Callable[[Random, int], Problem]

MANY = 2000  # distinct problems from which on a generator counts as endless
ALIKE = 1000  # draws in a row without a new problem after which there are no further ones
TRIES = 1000  # problems drawn for a place of the training split
ONE_IN = 10  # one problem in this many belongs to the test split, and one to the validation split
FEWEST = 3  # problems that three splits need


def is_generator(source: object) -> bool:
    """Returns whether a function is a generator of problems, which has one or two positional parameters.

    A source, which is called as source(split, index, level), has three.
    """
    try:
        parameters = inspect.signature(source).parameters.values()  # type: ignore[arg-type]  # it raises TypeError
    except (TypeError, ValueError):
        return False
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return False
    return 1 <= _positional(source) <= 2


def _positional(function: object) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in kinds for each in inspect.signature(function).parameters.values())  # type: ignore[arg-type]  # callable


class GeneratedSource:
    """A source made of a generator: returns the generator's problems by split, index and level.

    A hash of its key assigns every problem to one split. The validation and test splits contain every problem once. A
    generator of fewer than MANY (2000) distinct problems is finite: its training split, too, contains every problem
    once.

    Args:
        name: name of the task.
        generate: called as generate(rng) or generate(rng, level); returns a Problem drawn with the random.Random `rng`.
        levels: lowest and highest level; None for a generator without levels.

    Raises:
        TaskError: the generator takes a level, and the task has no levels.
    """

    def __init__(self, name: str, generate: Generator, levels: tuple[int, int] | None) -> None:
        """Stores the arguments; draws no problem."""
        self.name, self.generate, self.levels = name, generate, levels
        self._takes_level = _positional(generate) == 2
        if self._takes_level and levels is None:
            message = f"the generator of task {name!r} takes a level: give the task levels=(lowest, highest)"
            raise TaskError(message)
        self._known: dict[str, list[Problem]] | None = None  # all problems by split, of a finite generator
        self._keys: dict[str, set[str]] = {}  # the keys of those, by split
        self._probed = False
        self._held_out: dict[tuple[str, int | None], list[Problem]] = {}
        self._drawn: dict[tuple[str, int | None], int] = {}  # number of draws for each of these lists
        self._exhausted: set[tuple[str, int | None]] = set()

    def __call__(self, split: str, index: int, level: int | None = None) -> Problem:
        """Returns the problem of a split at an index.

        Args:
            split: "train", "validation" or "test".
            index: from 0.
            level: difficulty level. `level=None`: a random level for each problem.

        Raises:
            TaskError: there is no such split, the split has too few problems at this level for the index, or the
                generator returned something else than a Problem.
        """
        if split not in SPLITS:
            message = f"task {self.name!r} has the splits {', '.join(SPLITS)}: received {split!r}"
            raise TaskError(message)
        known = self._finite()
        if known is not None and level is None:
            return known[split][index]
        if split == TRAIN:
            return self._for_training(index, level)
        found = self._distinct(split, level, index + 1)
        if index >= len(found):
            asked = "" if level is None else f" at level {level}"
            message = (
                f"task {self.name!r} has only {len(found)} distinct problems in {split!r}{asked}: there is no index "
                f"{index}"
            )
            raise TaskError(message)
        return found[index]

    def count(self, split: str) -> int | None:
        """Returns the number of distinct problems of a split; None if the generator is endless.

        A generator of MANY (2000) or more distinct problems counts as endless.
        """
        known = self._finite()
        return None if known is None else len(known.get(split, ()))

    def available(self, split: str, most: int) -> int:
        """Returns the number of distinct problems of a split, counted up to `most`.

        Returns `most` for the training split of an endless generator.
        """
        count = self.count(split)
        if count is not None:
            return min(count, most)
        return most if split == TRAIN else min(most, len(self._distinct(split, None, most)))

    def _draw(self, random: Random, level: int | None) -> Problem:
        if level is None and self.levels is not None:
            level = random.randint(*self.levels)
        with failures_of(f"the generator of task {self.name!r}", ProblemError, passes=(TaskError,)):
            problem = self.generate(random, level) if self._takes_level else self.generate(random)  # type: ignore[call-arg, arg-type]  # counted
            if not isinstance(problem, Problem):
                message = f"a generator returns a Problem: that of task {self.name!r} returned {type(problem).__name__}"
                raise ProblemError(message)
            return replace(problem, task=self.name, key=problem.key or _key(problem), level=problem.level or level or 0)

    def _split_of(self, problem: Problem) -> str:
        if self._known is not None:
            return next((split for split in (TEST, VALIDATION) if problem.key in self._keys[split]), TRAIN)
        return {0: TEST, 1: VALIDATION}.get(self._hash(problem.key) % ONE_IN, TRAIN)

    def _hash(self, key: str) -> int:
        return seed_of("generator", self.name, key)

    def _for_training(self, index: int, level: int | None) -> Problem:
        for attempt in range(TRIES):
            problem = self._draw(random_of("generator", self.name, TRAIN, index, attempt), level)
            if self._split_of(problem) == TRAIN:
                return problem
        message = f"none of {TRIES} problems of task {self.name!r} at level {level} belongs to the training split"
        raise TaskError(message)

    def _distinct(self, split: str, level: int | None, most: int) -> list[Problem]:
        """Returns distinct problems of a split in the order in which they are drawn.

        Draws until there are `most` of them, or until 10,000 draws in a row give no new one.
        """
        place = split, level
        found = self._held_out.setdefault(place, [])
        keys, alike = {problem.key for problem in found}, 0
        while len(found) < most and place not in self._exhausted:
            number = self._drawn.get(place, 0)
            self._drawn[place] = number + 1
            try:
                problem = self._draw(random_of("generator", self.name, split, str(level), number), level)
                new = problem.key not in keys and self._split_of(problem) == split
            except ProblemError:  # the next draw takes its place
                new = False
            alike = 0 if new else alike + 1
            if new:
                keys.add(problem.key)
                found.append(problem)
            elif alike >= ALIKE * ONE_IN:
                self._exhausted.add(place)
        return found

    def _finite(self) -> dict[str, list[Problem]] | None:
        """Returns all problems by split, if there are fewer than MANY (2000) distinct ones; else None."""
        if not self._probed:
            found: dict[str, Problem] = {}
            alike = number = 0
            while alike < ALIKE and len(found) < MANY:
                number += 1
                try:
                    problem = self._draw(random_of("generator", self.name, "probe", number - 1), None)
                except ProblemError:  # the other problems suffice, if there are any
                    alike += 1
                    if alike >= ALIKE and not found:
                        raise
                    continue
                alike = alike + 1 if problem.key in found else 0
                found.setdefault(problem.key, problem)
            if alike >= ALIKE:
                self._deal(found)
            self._probed = True
        return self._known

    def _deal(self, found: dict[str, Problem]) -> None:
        if len(found) < FEWEST:
            message = (
                f"the generator of task {self.name!r} makes only {len(found)} distinct problems: train, validation and "
                f"test need {FEWEST} or more"
            )
            raise TaskError(message)
        order = sorted(found.values(), key=lambda problem: self._hash(problem.key))
        share = max(1, len(order) // ONE_IN)
        dealt = {TEST: order[:share], VALIDATION: order[share : 2 * share], TRAIN: order[2 * share :]}
        self._keys = {split: {problem.key for problem in problems} for split, problems in dealt.items()}
        self._known = dealt


def _key(problem: Problem) -> str:
    """Returns the key of a problem to which its generator gave none: a hash of its prompt."""
    spelled = json.dumps([[message.role, message.content] for message in problem.prompt])
    return f"{seed_of('generator', 'prompt', spelled):016x}"
