"""Credit assignment to branches: groups by problem and role, and tokens that forked branches share.

Advantages compare the branches of one role at one problem. A branch that was forked shares its first tokens with its
parent: these tokens enter the batch once, with the mean advantage of all branches that contain them.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Branch, Group, Rollout
from poziomka.core.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Line:
    """Reference to one branch of a rollout, the unit that gets an advantage.

    Attributes:
        rollout: the rollout that the branch belongs to.
        index: position of the branch in the rollout.
    """

    rollout: Rollout
    index: int

    @property
    def branch(self) -> Branch:
        """The branch that the line refers to."""
        return self.rollout.branches[self.index]

    @property
    def id(self) -> str:
        """The rollout's id, followed by "#" and the index for every branch but the first."""
        return f"{self.rollout.id}#{self.index}" if self.index else self.rollout.id

    @property
    def problem(self) -> Problem:
        """The problem that was attempted."""
        return self.rollout.problem

    @property
    def transcript(self) -> Transcript:
        """The branch's transcript."""
        return self.branch.transcript

    @property
    def score(self) -> Score:
        """The branch's score.

        Raises:
            ValueError: the branch has not been scored.
        """
        if self.branch.score is None:
            message = f"branch {self.index} of rollout {self.rollout.id} has not been judged yet"
            raise ValueError(message)
        return self.branch.score


def by_role(groups: Sequence[Group]) -> list[list[Line]]:
    """Returns the trainable branches of the groups, one list for each group and role.

    The roles of a group are in the order of their first branches.
    """
    found: list[list[Line]] = []
    for group in groups:
        roles: dict[str, list[Line]] = {}
        for rollout in group:
            for index, branch in enumerate(rollout.branches):
                if branch.trainable:
                    roles.setdefault(branch.role, []).append(Line(rollout, index))
        found += roles.values()
    return found


def lines_of(attempt: Rollout | Line) -> list[Line]:
    """Returns an attempt as lines: a line as the only one, a rollout as its trainable branches."""
    if isinstance(attempt, Line):
        return [attempt]
    return [Line(attempt, index) for index, branch in enumerate(attempt.branches) if branch.trainable]


@dataclass(frozen=True, slots=True)
class Credit:
    """The part of a branch that enters the batch, with the advantage of each token.

    Attributes:
        line: the branch.
        start: index of the first token that this branch brings into the batch; earlier tokens, which it shares by a
            fork, are in the batch with another branch of the rollout.
        advantages: one per token of the transcript; those before `start` are 0.
    """

    line: Line
    start: int
    advantages: "array[float]"


def credits_of(pairs: Sequence[tuple[Line, float]]) -> list[Credit]:
    """Returns the credit of each branch of one rollout, in the given order.

    Tokens that forked branches share are in the credit of the first one, with the mean of their advantages.

    Args:
        pairs: (line, advantage) of the branches of one rollout that have an advantage.
    """
    found = []
    for number, (line, value) in enumerate(pairs):
        length = len(line.transcript)
        shared = [_shared(line, other) for other, _ in pairs]
        start = max(shared[:number], default=0)
        advantages = array("d", bytes(8 * length))
        steps = sorted({start, length, *(count for count in shared if count > start)})
        for begin, end in pairwise(steps):
            here = [other for count, (_, other) in zip(shared, pairs, strict=True) if count >= end]
            mean = fmean(here) if len(here) > 1 else value
            advantages[begin:end] = array("d", [mean]) * (end - begin)
        found.append(Credit(line, start, advantages))
    return found


def _shared(one: Line, other: Line) -> int:
    """Returns the number of tokens that two branches of a rollout share by forks; all of them for the same branch."""
    ours, theirs = _ancestors(one), _ancestors(other)
    return max((min(ours[index], theirs[index]) for index in ours.keys() & theirs.keys()), default=0)


def _ancestors(line: Line) -> dict[int, int]:
    """Returns the branch and its ancestors by index, each with the number of tokens that the branch shares with it."""
    index, length = line.index, len(line.transcript)
    found = {index: length}
    branch = line.branch
    while branch.parent is not None:
        length = min(length, branch.fork_at)
        found[branch.parent] = length
        branch = line.rollout.branches[branch.parent]
    return found
