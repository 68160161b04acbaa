"""Which problems come next, and which demonstrations a model is warmed up on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Task
from poziomka.core.rollout import Group
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.settings import setting
from poziomka.core.transcript import Transcript
from poziomka.learning.advantages import rewards_of

SPLIT = "train"


def of_levels(task: Task, low: int, high: int) -> Task:
    """Returns the task with training problems of the levels from `low` to `high` only; other splits are as they were.

    A finite task keeps the problems whose own level lies there, in their order; for an endless one that can be asked
    for a level, the levels are drawn alike.

    Raises:
        TaskError: the task has no such problem; the message says which levels there are.
    """
    size = task.count(SPLIT)
    if size is None:
        if task.levels is None or not task.levels[0] <= low <= high <= task.levels[1]:
            message = f"task {task.name!r} has levels {task.levels}: it cannot be trained on levels {low} to {high}"
            raise TaskError(message)

        def endless(split: str, index: int, level: int | None = None) -> Problem:
            if split == SPLIT and level is None:
                level = random_of("levels", task.name, index).randint(low, high)
            return task.source(split, index, level)

        return replace(task, source=endless, levels=(low, high))

    known = [task.problem(SPLIT, index).level for index in range(size)]
    kept = [index for index, level in enumerate(known) if low <= level <= high]
    if not kept:
        message = f"no problem of task {task.name!r} is of levels {low} to {high}: its levels are {sorted(set(known))}"
        raise TaskError(message)

    def finite(split: str, index: int, level: int | None = None) -> Problem:
        return task.source(split, kept[index] if split == SPLIT else index, level)

    return replace(task, source=finite, size=lambda split: len(kept) if split == SPLIT else task.count(split) or 0)


class Curriculum:
    """Deals out training problems: endless tasks without repeats, finite ones in a new order each time round.

    A finite task's problem whose pass rate reached `retire_at` is dealt no more (ScaleRL, arXiv 2510.13786).

    Args:
        task: where problems come from.
        seed: names the order.
        retire_at: pass rate from which a problem is retired; None never retires.
    """

    def __init__(self, task: Task, seed: int, retire_at: float | None = None) -> None:
        """Starts with nothing retired."""
        self.task, self.seed, self.retire_at = task, seed, retire_at
        self.size = task.count(SPLIT)
        self.retired: set[int] = set()
        self.place = 0
        self._order: tuple[int, list[int]] = (-1, [])  # of the time round that is being dealt
        self._index: dict[str, int] = {}  # a finite task's problems by key, once somebody asks

    @property
    def finished(self) -> bool:
        """Whether every problem is retired."""
        return self.size is not None and len(self.retired) >= self.size

    def take(self, count: int) -> list[Problem]:
        """Returns the next `count` problems.

        Raises:
            TaskError: every problem is retired.
        """
        size = self.size
        if size is None:
            start = seed_of("curriculum", self.seed) % 2**40 + self.place
            self.place += count
            return self.task.take(SPLIT, start, count)
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
                problems.append(self.task.problem(SPLIT, index))
        return problems

    def learn(self, groups: Sequence[Group]) -> None:
        """Retires what was solved often enough."""
        if self.size is None or self.retire_at is None:
            return
        if not self._index:
            self._index = {self.task.problem(SPLIT, i).key: i for i in range(self.size)}
        for group in groups:
            rewards = rewards_of(group)
            if rewards and sum(rewards) / len(rewards) >= self.retire_at:
                self.retired.add(self._index[group[0].problem.key])

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps."""
        return {"place": self.place, "retired": sorted(self.retired)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes a state that `state` returned."""
        self.place, self.retired = int(state["place"]), set(state["retired"])


@dataclass(frozen=True, kw_only=True)
class LessonSettings:
    """What a warm start shows: first the skill, written out, then mostly direct answers."""

    tokens: int = setting(1000, "tokens of demonstrations in an update", low=1)
    skill_share: float = setting(0.8, "first share of the updates: all written out", low=0.0, high=1.0)
    grow_share: float = setting(0.6, "share of those over which the highest level grows to its end", low=0.0, high=1.0)
    direct_share: float = setting(0.85, "share of direct answers in the updates after", low=0.0, high=1.0)


class Format(Protocol):
    """The one thing that lessons need of a chat format."""

    def demonstrate(self, prompt: Transcript, thought: str, answer: str) -> Transcript:
        """Returns the prompt, answered by a teacher."""


class Lessons:
    """Demonstrations for each update, named by seed and update.

    Raises:
        TaskError: the task has no written-out solutions.
    """

    def __init__(self, task: Task, chat: Format, settings: LessonSettings, seed: int) -> None:
        """Remembers what to show."""
        if task.demonstration is None:
            message = f"a warm start needs a task with demonstrations: {task.name!r} has none"
            raise TaskError(message)
        self.task, self.chat, self.settings, self.seed = task, chat, settings, seed
        self.demonstration = task.demonstration

    def at(self, update: int, updates: int) -> list[Transcript]:
        """Returns the demonstrations of 1 ≤ `update` ≤ `updates`."""
        progress = (update - 1) / updates
        skill = progress < self.settings.skill_share
        grown = progress / max(self.settings.skill_share * self.settings.grow_share, 1e-9)
        lessons: list[Transcript] = []
        tokens = 0
        while tokens < self.settings.tokens:
            random = random_of("lesson", self.seed, update, len(lessons))
            level = self._level(min(1.0, grown), random.random())
            index = random.getrandbits(40) % (self.task.count(SPLIT) or 2**40)
            problem = self.task.problem(SPLIT, index, level)
            thought, answer = self.demonstration(problem)
            if not skill and random.random() < self.settings.direct_share:
                thought = ""
            lesson = self.chat.demonstrate(Transcript.of(problem.prompt), thought, answer)
            lessons.append(lesson)
            tokens += len(lesson)
        return lessons

    def _level(self, grown: float, draw: float) -> int | None:
        """Returns a level, log-uniform up to a top that has `grown` from the lowest to the highest."""
        if self.task.levels is None:
            return None
        low, high = max(1, self.task.levels[0]), self.task.levels[1]  # a logarithm begins at 1
        top = low + (high - low) * grown
        return min(high, int(low * ((top + 1) / low) ** draw))
