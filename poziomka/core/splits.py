"""The validation split: which of a task's training problems are never trained on and choose between models."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from poziomka.core.errors import ProblemError, TaskError
from poziomka.core.seeds import seed_of

if TYPE_CHECKING:
    from poziomka.core.problem import Problem

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
ONE_IN = 10  # one kind of training problem in this many is a validation problem
STRIDE = 2**43 - 57  # a prime: an endless source is asked again at an index that no run deals by itself
TRIES = 1000  # problems drawn before a split counts as empty


def hashed_to_validation(task: str, kind: str) -> bool:
    """Whether a kind of training problem is one of those, one in ONE_IN, that are for validation."""
    return seed_of("validation", task, kind) % ONE_IN == 0


Draw = Callable[[int, int | None], "Problem"]  # (index, level) → a training problem as the source gives it


class Carving:
    """Deals the problems of a source's train split to train and to validation, by their kinds.

    A kind is a validation kind where a hash of it is divisible by ONE_IN. Where that holds for none or for all of the
    kinds (few problems), only the kind with the least hash is; a single kind stays in train, and validation is empty.

    Args:
        name: of the task; names the hash.
        draw: the source's train split.
        size: how many problems that split has; None for endless.
        kind: what problems of both splits must not share.
    """

    def __init__(self, name: str, draw: Draw, size: int | None, kind: "Callable[[Problem], str]") -> None:
        """Draws nothing yet."""
        self.name, self.draw, self.size, self.kind = name, draw, size, kind
        self._only: frozenset[str] | None = None  # the validation kinds, where a hash does not tell them
        self._dealt: dict[str, list[int]] | None = None  # indices of a finite source, by split
        self._tries: dict[tuple[str, int, int | None], int] = {}  # at which try an endless source gave a problem
        self._known = False

    def count(self, split: str) -> int | None:
        """Returns how many problems the split has; None for endless."""
        return None if self.size is None else len(self._indices(split, self.size))

    def problem(self, split: str, index: int, level: int | None = None) -> "Problem":
        """Returns a problem of train or validation.

        Raises:
            ProblemError: the source cannot give the problem of the index.
            TaskError: the source gave no problem of the split: an endless one among TRIES, a finite one at this level.
        """
        size, own = self.size, () if self.size is None else self._indices(split, self.size)
        place = split, index, level
        tries = TRIES if size is None else len(own) + size
        for attempt in range(self._tries.get(place, 0), tries):
            if size is None:
                at = index + attempt * STRIDE
            else:  # the split's own problems first: at another level they may be of another kind
                at = own[(index + attempt) % len(own)] if attempt < len(own) else (index + attempt) % size
            try:
                problem = self.draw(at, level)
                self._know(TRIES)
                found = self._validates(self.kind(problem)) == (split == VALIDATION)
            except ProblemError:
                if attempt == 0:
                    raise
                continue  # only the problem of the index itself must be drawn, not those that are tried after it
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
        """Draws until both splits have a kind by its hash; where that never comes, settles on at most one kind."""
        if self._known:
            return
        kinds: dict[str, bool] = {}
        for index in range(draws):
            try:
                kind = self.kind(self.draw(index, None))
            except ProblemError:  # an attempt at this problem fails; the kinds of the others are known without it
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
