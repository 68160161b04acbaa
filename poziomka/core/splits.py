"""The validation split: training problems that are held out, to choose between checkpoints."""

from collections.abc import Callable

from poziomka.core.errors import ProblemError, TaskError
from poziomka.core.problem import Problem
from poziomka.core.seeds import seed_of

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
ONE_IN = 10  # one kind of training problem in this many is in the validation split
STRIDE = 2**43 - 57  # a prime: further indices tried at an endless source are far beyond those that a run uses
TRIES = 1000  # draws after which a split counts as empty


def hashed_to_validation(task: str, kind: str) -> bool:
    """Returns whether a kind of problems belongs to validation by its hash, as one kind in ten does."""
    return seed_of("validation", task, kind) % ONE_IN == 0


Draw = Callable[[int, int | None], Problem]  # (index, level) → a training problem of the source


class Carving:
    """Divides the problems of a source's train split into train and validation, by their kinds.

    A kind is the label of a group of similar problems (`Task.kind`). It belongs to validation if its hash is divisible
    by ONE_IN (10). If that assigns all kinds of a small task to one split, only the kind with the least hash belongs to
    validation. A single kind stays in train, and validation is empty.

    Args:
        name: name of the task, part of the hash.
        draw: called as draw(index, level); returns a problem of the source's train split.
        size: number of problems in that split; None if it is endless.
        kind: called as kind(problem); returns the kind of a problem. The two splits share no kind.
    """

    def __init__(self, name: str, draw: Draw, size: int | None, kind: "Callable[[Problem], str]") -> None:
        """Stores the arguments; draws no problem."""
        self.name, self.draw, self.size, self.kind = name, draw, size, kind
        self._only: frozenset[str] | None = None  # the validation kinds, if the hash alone does not decide
        self._dealt: dict[str, list[int]] | None = None  # indices of a finite source, by split
        self._tries: dict[tuple[str, int, int | None], int] = {}  # (split, index, level) → draws before the right one
        self._known = False

    def count(self, split: str) -> int | None:
        """Returns the number of problems in "train" or "validation"; None if the source is endless."""
        return None if self.size is None else len(self._indices(split, self.size))

    def problem(self, split: str, index: int, level: int | None = None) -> Problem:
        """Returns the problem of "train" or "validation" at an index.

        Args:
            split: "train" or "validation".
            index: from 0.
            level: difficulty level. `level=None`: the source chooses the level.

        Raises:
            ProblemError: the source cannot return the problem of the index.
            TaskError: no problem of the split was found, among all problems of a finite source at this level, or in
                TRIES (1000) draws from an endless one.
        """
        size, own = self.size, () if self.size is None else self._indices(split, self.size)
        place = split, index, level
        tries = TRIES if size is None else len(own) + size
        for attempt in range(self._tries.get(place, 0), tries):
            if size is None:
                at = index + attempt * STRIDE
            else:  # the split's own indices first: at another level their problems may be of another kind
                at = own[(index + attempt) % len(own)] if attempt < len(own) else (index + attempt) % size
            try:
                problem = self.draw(at, level)
                self._know(TRIES)
                found = self._validates(self.kind(problem)) == (split == VALIDATION)
            except ProblemError:
                if attempt == 0:
                    raise
                continue  # only the first problem that is tried must be drawn
            if found:
                self._tries[place] = attempt
                return problem
        asked = "" if level is None else f" of level {level}"
        message = (
            f"none of {tries} training problems{asked} of task {self.name!r} belongs to {split!r}, to which one kind "
            f"in {ONE_IN} is dealt: give the task more problems, or a validation split of its own (Task.splits)"
        )
        raise TaskError(message)

    def _indices(self, split: str, size: int) -> list[int]:
        if self._dealt is None:
            self._know(size)
            dealt: dict[str, list[int]] = {TRAIN: [], VALIDATION: []}
            for index in range(size):
                validates = self._validates(self.kind(self.draw(index, None)))
                dealt[VALIDATION if validates else TRAIN].append(index)
            self._dealt = dealt
        return self._dealt[split]

    def _know(self, draws: int) -> None:
        """Draws problems until the hash has assigned kinds to both splits, at most `draws` problems.

        If the hash assigned all their kinds to one split, the kind with the least hash becomes the validation kind.
        """
        if self._known:
            return
        kinds: dict[str, bool] = {}
        for index in range(draws):
            try:
                kind = self.kind(self.draw(index, None))
            except ProblemError:  # the kinds of the other problems suffice
                continue
            kinds[kind] = hashed_to_validation(self.name, kind)
            if kinds[kind] != next(iter(kinds.values())):
                break
        else:
            order = sorted(kinds, key=lambda kind: seed_of("validation", self.name, kind))
            self._only = frozenset(order[:1] if len(order) > 1 else ())
        self._known = True

    def _validates(self, kind: str) -> bool:
        return hashed_to_validation(self.name, kind) if self._only is None else kind in self._only
