"""Difficulty levels: restricts a task to some levels, and adapts the range of levels to the pass rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from poziomka.core.errors import SettingsError, TaskError
from poziomka.core.problem import Problem
from poziomka.core.rollout import Group
from poziomka.core.seeds import random_of
from poziomka.core.settings import setting
from poziomka.core.splits import SPLITS, TRAIN
from poziomka.core.task import Task

SPLIT = TRAIN


def of_levels(task: Task, low: int, high: int) -> Task:
    """Returns the task with its training problems restricted to levels `low` to `high`; other splits are unchanged.

    A finite task keeps the problems of these levels in their order. For an endless task, the level of each problem is
    drawn uniformly.

    Args:
        task: the task to restrict.
        low: lowest level, included.
        high: highest level, included.

    Raises:
        TaskError: the task has no such problem, or an endless task lacks one of the levels; the message lists its
            levels.
    """
    size = task.count(SPLIT)
    if size is None:
        if task.levels is None or not task.levels[0] <= low <= high <= task.levels[1]:
            message = f"task {task.name!r} has levels {task.levels}: it cannot be trained on levels {low} to {high}"
            raise TaskError(message)

        def endless(split: str, index: int, level: int | None = None) -> Problem:
            if split == SPLIT and level is None:
                level = random_of("levels", task.name, index).randint(low, high)
            return task.problem(split, index, level)

        return replace(task, source=endless, levels=(low, high), splits=SPLITS)

    known = [task.problem(SPLIT, index).level for index in range(size)]
    kept = [index for index, level in enumerate(known) if low <= level <= high]
    if not kept:
        message = f"no problem of task {task.name!r} is of levels {low} to {high}: its levels are {sorted(set(known))}"
        raise TaskError(message)
    return only(task, kept)


def only(task: Task, kept: Sequence[int]) -> Task:
    """Returns a finite task with only the training problems of the indices `kept`; other splits are unchanged."""

    def finite(split: str, index: int, level: int | None = None) -> Problem:
        return task.problem(split, kept[index] if split == SPLIT else index, level)

    def counted(split: str) -> int:
        return len(kept) if split == SPLIT else task.count(split) or 0

    return replace(task, source=finite, size=counted, splits=SPLITS)


@dataclass(frozen=True, kw_only=True)
class CurriculumSettings:
    """Settings of the levels that training draws problems from, and of when an adaptive range of levels moves."""

    kind: Literal["all", "adaptive"] = setting(
        "all", "all: the task's mixture of levels; adaptive: a range of levels that follows the pass rates"
    )
    start: tuple[int, ...] | None = setting(
        None, "adaptive: initial lowest and highest level; none: only the lowest level"
    )
    attempts: int = setting(64, "adaptive: scored rollouts at a level before its pass rate is used", low=1)
    widen_at: float = setting(
        0.8, "adaptive: pass rate of the highest level above which harder levels are added", low=0.0, high=1.0
    )
    step: int = setting(1, "adaptive: levels added or removed at the upper end at once", low=1)
    narrow_at: float | None = setting(
        0.1, "adaptive: pass rate of the highest level below which it is removed; none: never", low=0.0, high=1.0
    )
    drop_at: float | None = setting(
        0.95,
        "adaptive: pass rate of the lowest level above which it counts as mastered; none: never",
        low=0.0,
        high=1.0,
    )
    width: int | None = setting(
        None, "adaptive: maximum number of levels; easier ones count as mastered; none: no limit", low=1
    )
    review_prob: float = setting(0.1, "adaptive: share of problems from mastered levels", low=0.0, high=0.9)

    def __post_init__(self) -> None:
        """Raises SettingsError if `start` is no range or the thresholds contradict one another."""
        if self.start is not None and (len(self.start) != 2 or self.start[0] > self.start[1]):
            message = f"curriculum.start must be two levels, the lowest and the highest: received {list(self.start)}"
            raise SettingsError(message)
        if self.narrow_at is not None and self.narrow_at >= self.widen_at:
            message = (
                f"curriculum.narrow_at must be below widen_at: received {self.narrow_at} and {self.widen_at}, so that "
                "a level would come and go for ever"
            )
            raise SettingsError(message)
        if self.drop_at is not None and self.drop_at < self.widen_at:
            message = (
                f"curriculum.drop_at must be widen_at or more: received {self.drop_at} and {self.widen_at}, so that "
                "a mastered level would come back at once"
            )
            raise SettingsError(message)


class LevelRange:
    """Adaptive range of difficulty levels whose edges move with the pass rate.

    Attempts at a level are counted in windows. A full window is evaluated once and then starts again from zero, so
    that old failures no longer count. The pass rate is the share of CORRECT attempts; failed checks are left out:

        highest level   rate ≥ widen_at: adds the next `step` levels     rate ≤ narrow_at: removes `step` levels
        lowest level    rate ≥ drop_at: mastered and removed, unless it is the only one
        mastered level  rate < widen_at: the range extends down to it again

    A problem's level is drawn uniformly from the range or, with probability `review_prob`, from the mastered
    levels below.

    Widening by the accuracy at the upper edge, and a bound on the width, are from RLVE (Zeng et al. 2025, arXiv
    2511.07317; .9 and 4 levels there); windows that are evaluated once, and narrowing, are from automatic domain
    randomization (OpenAI 2019, arXiv 1910.07113, section 5.2). Removing a lowest level only when mastered, rehearsing
    it and adding it again when forgotten are our own.

    Args:
        levels: all levels that problems can have, from low to high.
        settings: thresholds of the rule.

    Raises:
        TaskError: `settings.start` names a level that is not in `levels`.
    """

    def __init__(self, levels: Sequence[int], settings: CurriculumSettings) -> None:
        """Starts with the range `settings.start`, or with the lowest level."""
        self.levels, self.settings = tuple(levels), settings
        start = settings.start or self.levels[:1] * 2
        if not set(start) <= set(self.levels):
            message = f"curriculum.start names levels {list(start)}: there are levels {_said(self.levels)}"
            raise TaskError(message)
        self._low, self._high = (self.levels.index(level) for level in start)
        self._windows: dict[int, list[int]] = {}  # index of a level → judged and correct attempts
        self._keep_narrow()

    @property
    def low(self) -> int:
        """The lowest level of the range."""
        return self.levels[self._low]

    @property
    def high(self) -> int:
        """The highest level of the range."""
        return self.levels[self._high]

    def draw(self, random: Random) -> int:
        """Draws the level of the next problem, from the range or from the mastered levels below it."""
        rehearsed = random.random() < self.settings.review_prob
        if rehearsed and self._low > 0:
            return self.levels[random.randrange(self._low)]
        return self.levels[random.randint(self._low, self._high)]

    def learn(self, groups: Sequence[Group]) -> dict[str, float]:
        """Counts judged attempts, then moves the edges of the range; returns metrics of the range before the move.

        Args:
            groups: judged groups of one step.
        """
        metrics = {"curriculum/level_low": float(self.low), "curriculum/level_high": float(self.high)}
        if groups:
            metrics["curriculum/level_mean"] = sum(group[0].problem.level for group in groups) / len(groups)
        edge: list[bool] = []
        for group in groups:
            level = group[0].problem.level
            judged = [rollout.score.correct for rollout in group if rollout.score.reward is not None]
            window = self._windows.setdefault(self.levels.index(level), [0, 0])
            window[0] += len(judged)
            window[1] += sum(judged)
            edge += judged if level == self.high else []
        if edge:
            metrics["curriculum/edge_pass_rate"] = sum(edge) / len(edge)
        self._judge()
        return metrics

    def _judge(self) -> None:
        """Moves each edge at most once, by the pass rates of the full windows."""
        full = {place: right / count for place, (count, right) in self._windows.items() if self._is_full(count)}
        for place in full:
            del self._windows[place]
        low, high, settings = self._low, self._high, self.settings
        if high in full:
            if full[high] >= settings.widen_at:
                self._high = min(high + settings.step, len(self.levels) - 1)
            elif settings.narrow_at is not None and full[high] <= settings.narrow_at:
                self._high = max(high - settings.step, low)
        if low in full and low < high and settings.drop_at is not None and full[low] >= settings.drop_at:
            self._low = min(low + 1, self._high)
        forgotten = [place for place, rate in full.items() if place < low and rate < settings.widen_at]
        self._low = min([self._low, *forgotten])
        self._keep_narrow()

    def _is_full(self, count: int) -> bool:
        return count >= self.settings.attempts

    def _keep_narrow(self) -> None:
        if self.settings.width is not None:
            self._low = max(self._low, self._high - self.settings.width + 1)

    def state(self) -> dict[str, Any]:
        """Returns the state to save in a checkpoint, as JSON values."""
        windows = {str(self.levels[place]): list(window) for place, window in self._windows.items()}
        return {"low": self.low, "high": self.high, "windows": windows}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores a state that `state` returned."""
        self._low, self._high = self.levels.index(state["low"]), self.levels.index(state["high"])
        windows = state["windows"].items()
        self._windows = {self.levels.index(int(level)): [int(count) for count in window] for level, window in windows}


def levels_of(task: Task) -> list[int]:
    """Returns the level of every training problem of a finite task, or each level once of an endless task.

    Raises:
        TaskError: the task's problems have no levels.
    """
    size = task.count(SPLIT)
    if size is not None:
        found = [task.problem(SPLIT, index).level for index in range(size)]
    else:
        found = [] if task.levels is None else list(range(task.levels[0], task.levels[1] + 1))
    if set(found) <= {0}:  # 0 is the default of a problem without a level
        message = (
            f"an adaptive curriculum follows levels, and the problems of task {task.name!r} have none: "
            "take curriculum.kind = all"
        )
        raise TaskError(message)
    return found


def _said(levels: Sequence[int]) -> str:
    whole = len(levels) > 2 and levels[-1] - levels[0] == len(levels) - 1
    return f"{levels[0]} to {levels[-1]}" if whole else ", ".join(map(str, levels))
