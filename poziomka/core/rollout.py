"""One attempt at a problem, judged: what learning, evaluation and the inspector read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import seed_of
from poziomka.core.transcript import Author, Stop, Transcript


@dataclass(frozen=True, slots=True)
class Branch:
    """One sequence of a rollout, from the prompt on.

    Attributes:
        transcript: the prompt and everything after it.
        score: the scorer's result; None before it was judged. A strategy may set it: then the scorer is not called.
        parent: index of the branch that it was forked from; None for a branch of its own.
        fork_at: number of tokens shared with the parent.
        role: name of the participant whose view this is; advantages compare branches of one role.
        trainable: whether the policy may learn from it.
        reward: reward that replaces the scorer's, set by a strategy: a vote, the outcome of a game.
    """

    transcript: Transcript
    score: Score | None = None
    parent: int | None = None
    fork_at: int = 0
    role: str = "model"
    trainable: bool = True
    reward: float | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """A judged attempt at a problem.

    Attributes:
        id: its name within the run: task/split/key/attempt/step.
        problem: the problem that was attempted.
        branches: one for a single reply; many for search, votes, several players.
        policy: version of the weights that began it; None where unknown.
        answer: index of the branch that answers the problem.
    """

    id: str
    problem: Problem
    branches: tuple[Branch, ...]
    policy: str | None = None
    answer: int = 0

    @property
    def transcript(self) -> Transcript:
        """The transcript of the branch that answers."""
        return self.branches[self.answer].transcript

    @property
    def cost(self) -> int:
        """Tokens that the model wrote in all branches; a prefix that branches share counts once."""
        return sum(branch.transcript.cost - _written(branch.transcript, branch.fork_at) for branch in self.branches)

    @property
    def seed(self) -> int:
        """The seed its requests were sampled with."""
        return seed_of_rollout(self.problem, self.id)

    @property
    def thinking(self) -> int:
        """Tokens the model spent on its thought, the one that closed it included; a thought left open counts whole."""
        count = 0
        for span in self.transcript:
            if span.author is Author.FORCED:
                break
            if span.author is Author.MODEL:
                count += len(span)
                if span.stop is Stop.THOUGHT:
                    break
        return count

    @property
    def score(self) -> Score:
        """The score of the branch that answers.

        Raises:
            ValueError: it has not been judged.
        """
        score = self.branches[self.answer].score
        if score is None:
            message = f"rollout {self.id} has not been judged yet"
            raise ValueError(message)
        return score


def _written(transcript: Transcript, length: int) -> int:
    """Returns how many of the first `length` tokens the model wrote."""
    return sum(transcript.by(Author.MODEL)[:length]) if length else 0


Group = Sequence[Rollout]  # attempts at one problem


class Judged(Protocol):
    """Anything with a score: a rollout, or one branch of it."""

    @property
    def score(self) -> Score:
        """The scorer's result."""


def rewards_of(group: Sequence[Judged]) -> list[float]:
    """Returns the rewards of the attempts whose check did not fail."""
    return [attempt.score.reward for attempt in group if attempt.score.reward is not None]


def seed_of_rollout(problem: Problem, rollout: str) -> int:
    """Returns the seed of the rollout called `rollout`."""
    return seed_of("rollout", problem.task, rollout)
