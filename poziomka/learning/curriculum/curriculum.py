"""Curriculum: selects the next training problems of a task."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem
from poziomka.core.rollout import Group
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Task
from poziomka.learning.curriculum.levels import SPLIT, CurriculumSettings, LevelRange, levels_of


class Curriculum:
    """Selects training problems: endless tasks without repeats, finite tasks in a new random order each epoch.

    A finite task's problem is retired, that is no longer selected, once the share of correct attempts of a group
    reaches `retire_at` (ScaleRL, arXiv 2510.13786). An adaptive curriculum draws the level of each problem from its
    `LevelRange` and retires no problems, since the range drops mastered levels. Each level of a finite task then has
    its own order.

    Args:
        task: source of the problems.
        seed: seed of the order.
        retire_at: share of correct attempts from which a problem is retired; None never retires.
        settings: whether and how levels adapt; None gives all levels, as kind "all".

    Attributes:
        size: number of training problems; None for an endless task.
        retired: indices of the retired problems.
        place: number of problems of the order that were selected or skipped so far.
        range: adaptive range of the levels that problems are drawn from; None if the levels do not adapt.

    Raises:
        TaskError: `settings` are adaptive and the task has no levels, or none of those that `settings.start` names.
    """

    def __init__(
        self, task: Task, seed: int, retire_at: float | None = None, settings: CurriculumSettings | None = None
    ) -> None:
        """Starts at the beginning of the order with no problem retired."""
        self.task, self.seed, self.retire_at = task, seed, retire_at
        self.size = task.count(SPLIT)
        self.retired: set[int] = set()
        self.place = 0
        self._order: tuple[int, list[int]] = (-1, [])  # the present epoch, and its order
        self._index: dict[str, int] = {}  # index of each of a finite task's problems by key; filled on first use
        self.range: LevelRange | None = None
        self._of_level: dict[int, list[int]] = {}  # indices of a finite task's problems by level
        self._places: dict[int, int] = {}  # number of selected problems by level, of a finite task
        if settings is not None and settings.kind == "adaptive":
            self._adapt(settings)

    def _adapt(self, settings: CurriculumSettings) -> None:
        levels = levels_of(self.task)
        self.range, self.retire_at = LevelRange(sorted(set(levels)), settings), None
        if self.size is not None:
            for index, level in enumerate(levels):
                self._of_level.setdefault(level, []).append(index)

    @property
    def finished(self) -> bool:
        """Whether every problem is retired."""
        return self.size is not None and len(self.retired) >= self.size

    def take(self, count: int) -> list[Problem]:
        """Returns the next `count` problems; one that the task cannot draw is replaced by a stand-in (see Task.draw).

        Raises:
            TaskError: every problem is retired.
        """
        if self.range is not None:
            return [self._adapted(self.range) for _ in range(count)]
        size = self.size
        if size is None:
            start = self._first + self.place
            self.place += count
            return self.task.take(SPLIT, start, count, stand_ins=True)
        if self.finished:
            message = f"all {size} problems of task {self.task.name!r} are retired: the model solves them; stop here"
            raise TaskError(message)
        problems: list[Problem] = []
        while len(problems) < count:
            around, at = divmod(self.place, size)
            if self._order[0] != around:
                self._order = around, random_of("curriculum", self.seed, around).sample(range(size), size)
            index = self._order[1][at]
            self.place += 1
            if index not in self.retired:
                problems.append(self.task.draw(SPLIT, index))
        return problems

    @property
    def _first(self) -> int:
        """Index of the first problem of an endless task."""
        return seed_of("curriculum", self.seed) % 2**40

    def _adapted(self, levels: LevelRange) -> Problem:
        """Returns the next problem, of a level drawn from the range; the problem's place seeds the draw."""
        level = levels.draw(random_of("curriculum", self.seed, "level", self.place))
        self.place += 1
        if self.size is None:
            return self.task.draw(SPLIT, self._first + self.place - 1, level)
        indices, dealt = self._of_level[level], self._places.get(level, 0)
        self._places[level] = dealt + 1
        around, at = divmod(dealt, len(indices))
        order = random_of("curriculum", self.seed, "level", level, around).sample(indices, len(indices))
        problem = self.task.draw(SPLIT, order[at])
        return replace(problem, level=level) if problem.fault else problem

    def learn(self, groups: Sequence[Group]) -> dict[str, float]:
        """Retires solved problems, or moves the range of levels; returns metrics of the range, {} without a range.

        Args:
            groups: judged groups of one step.
        """
        if self.range is not None:
            return self.range.learn(groups)
        if self.size is None or self.retire_at is None:
            return {}
        if not self._index:
            self._index = {self.task.draw(SPLIT, i).key: i for i in range(self.size)}
        for group in groups:
            rights = [rollout.score.correct for rollout in group if rollout.score.reward is not None]
            index = self._index.get(group[0].problem.key)  # None: its source failed when the index was made
            if index is not None and rights and sum(rights) / len(rights) >= self.retire_at:
                self.retired.add(index)
        return {}

    def state(self) -> dict[str, Any]:
        """Returns the state to save in a checkpoint, as JSON values."""
        state: dict[str, Any] = {"place": self.place, "retired": sorted(self.retired)}
        if self.range is not None:
            places = {str(level): dealt for level, dealt in sorted(self._places.items())}
            state |= {"range": self.range.state(), "places": places}
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores a state that `state` returned."""
        self.place, self.retired = int(state["place"]), set(state["retired"])
        if self.range is not None:
            self.range.restore(state["range"])
            self._places = {int(level): int(dealt) for level, dealt in state["places"].items()}
