"""A task: a source of problems, their scorer, and the environment that they need."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from poziomka.core.environment import Environment, opening
from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score
from poziomka.core.splits import TEST, TRAIN, VALIDATION, Carving
from poziomka.core.transcript import Transcript

Source = Callable[[str, int, int | None], Problem]
Scorer = Callable[[Problem, Transcript], Score]


@dataclass(frozen=True)
class Task:
    """Problems whose answers check themselves: a source and a scorer.

    Attributes:
        name: how the command line and the journal call it.
        source: pure in (split, index, level); level None draws from the task's own mixture.
        scorer: plain synchronous code.
        environment: opens the session that the exchange with a problem needs; None for a single reply.
        size: number of problems, the same in every split or by the split's name (0 where there is no such split: a
            task that is for evaluation only has none to train on); None for endless.
        levels: lowest and highest level that a problem can be asked for at; None where none can.
        trusted: the scorer is known to return quickly for any input, so it runs inline; others run in
            a worker process with a time limit.
        demonstration: a written-out solution of a problem as (thought, answer); None where there is none.
        mistakes: answers to a problem that are certainly wrong and earn nothing, each by what is wrong with it, for the
            trial of the scorer; give it where more than one answer is right. None: the trial changes the gold answer.
        audit: a second scorer, written in another way, by which monitors see whether a rising reward is earned;
            None: an answer that says the gold one and no other (core/rollouts/cross_check.py).
        limits: sentences that say what a result on this task does not show; they go into every report.
        symbols: every symbol of prompts, thoughts and answers, where a model from nothing is to learn them; else ().
        splits: the splits that the source itself keeps apart. Where "validation" is not among them, or is empty, one
            kind in ten of the source's training problems is the validation split, and not in "train" (core/splits.py).
        kind: what a training problem and a validation problem must not share; None for the key.
        references: returns, for a problem and a number T, the chance that each known policy solves the problem within
            0, 1, … T thinking tokens, by the policy's name; reports draw them beside the model. None where unknown.
    """

    name: str
    source: Source
    scorer: Scorer
    environment: Callable[[Problem], Environment | None] | None = None
    size: int | Callable[[str], int] | None = None
    levels: tuple[int, int] | None = None
    trusted: bool = False
    demonstration: Callable[[Problem], tuple[str, str]] | None = None
    mistakes: Callable[[Problem], Mapping[str, str]] | None = None
    audit: Scorer | None = None
    symbols: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    splits: tuple[str, ...] = (TRAIN, TEST)
    kind: Callable[[Problem], str] | None = None
    references: Callable[[Problem, int], Mapping[str, Sequence[float]]] | None = None

    @cached_property
    def _carving(self) -> Carving:
        kind = self.kind or (lambda problem: problem.key)
        return Carving(self.name, lambda index, level: self._drawn(TRAIN, index, level), self._size(TRAIN), kind)

    def _carved(self, split: str) -> bool:
        own = VALIDATION in self.splits and self._size(VALIDATION) != 0
        return split in (TRAIN, VALIDATION) and not own

    def count(self, split: str) -> int | None:
        """Returns how many problems a split has, each in one split only; None for endless."""
        return self._carving.count(split) if self._carved(split) else self._size(split)

    def _size(self, split: str) -> int | None:
        return self.size(split) if callable(self.size) else self.size

    def problem(self, split: str, index: int, level: int | None = None) -> Problem:
        """Returns a problem of a split ("train", "validation", "test", …).

        Raises:
            TaskError: the index is outside the split, the level outside `levels`, or the source raised.
        """
        count = self.count(split)
        if index < 0 or (count is not None and index >= count):
            endless = "endless" if count is None else count
            message = f"task {self.name!r} has {endless} problems in {split!r}: there is no index {index}"
            raise TaskError(message)
        if level is not None and (self.levels is None or not self.levels[0] <= level <= self.levels[1]):
            message = f"task {self.name!r} has levels {self.levels}: there is no level {level}"
            raise TaskError(message)
        return self._carving.problem(split, index, level) if self._carved(split) else self._drawn(split, index, level)

    def _drawn(self, split: str, index: int, level: int | None) -> Problem:
        """Returns what the source gives; an error of the source becomes a TaskError."""
        try:
            problem = self.source(split, index, level)
        except TaskError:
            raise
        except Exception as error:
            message = f"the source of task {self.name!r} raised {type(error).__name__} at {split}/{index}: {error}"
            raise TaskError(message) from error
        if not isinstance(problem, Problem):
            message = (
                f"a source returns a Problem: that of task {self.name!r} returned {type(problem).__name__} "
                f"at {split}/{index}"
            )
            raise TaskError(message)
        return problem

    def take(self, split: str, start: int, count: int, level: int | None = None) -> list[Problem]:
        """Returns `count` problems from index `start`, going round at the end of a finite split.

        Raises:
            TaskError: the split is empty, or as `problem`.
        """
        wrap = self.count(split)
        if wrap == 0:
            message = f"task {self.name!r} has no problems in {split!r}: it cannot be used for that"
            raise TaskError(message)
        return [self.problem(split, (start + i) % wrap if wrap else start + i, level) for i in range(count)]

    def first(self, split: str, count: int) -> list[Problem]:
        """Returns the first `count` problems of a split, or all that there are; raises as `take`."""
        there = self.count(split)
        return self.take(split, 0, count if there is None else min(count, there))


def asked(task: Task, problem: Problem) -> Transcript:
    """Returns the transcript that an exchange about a task's problem begins with.

    Where the environment cannot be made it is the prompt alone, with which `collect` records the failure.
    """
    try:
        return opening(problem, task.environment(problem) if task.environment else None)
    except Exception:  # noqa: BLE001 whatever it raises is the environment's failure, which `collect` records
        return Transcript.of(problem.prompt)
