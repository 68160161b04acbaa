"""Rollouts: scored attempts at problems, the data that training, evaluation and the inspector read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import seed_of
from poziomka.core.transcript import Author, Stop, Transcript


@dataclass(frozen=True, slots=True)
class Branch:
    """One sequence of a rollout: the prompt and a continuation of it.

    Attributes:
        transcript: the prompt and everything after it.
        score: result of the scorer; None before scoring. If a strategy sets it, the scorer is not called.
        parent: index of the branch that this one was forked from; None if it was not forked.
        fork_at: number of tokens shared with the parent.
        role: name of the participant that the transcript belongs to; advantages compare branches of one role.
        trainable: whether the policy may be trained on it.
        reward: reward, from -1 to 1, that replaces the scorer's; set by a strategy, for example from the
            outcome of a game. None if the scorer's reward is used.
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
    """One attempt at a problem, with its branches.

    Attributes:
        id: unique name within the run, "NAME/INDEX/KEY/ATTEMPT": the name given to `collect`, the index and the key of
            the problem, and the number of the attempt.
        problem: the problem that was attempted.
        branches: one for a single reply; several for search, votes, or several players.
        policy: version of the weights that sampled its first token; None if unknown.
        answer: index of the branch that answers the problem.
    """

    id: str
    problem: Problem
    branches: tuple[Branch, ...]
    policy: str | None = None
    answer: int = 0

    @property
    def transcript(self) -> Transcript:
        """Transcript of the branch that answers the problem."""
        return self.branches[self.answer].transcript

    @property
    def cost(self) -> int:
        """Number of tokens sampled from the model in all branches; a shared prefix counts once."""
        return sum(branch.transcript.cost - _written(branch.transcript, branch.fork_at) for branch in self.branches)

    @property
    def seed(self) -> int:
        """Seed of the rollout's sampling requests, derived from its id."""
        return seed_of_rollout(self.problem, self.id)

    @property
    def thinking(self) -> int:
        """Number of thinking tokens that the model sampled, a sampled "</think>" included.

        A thought that was not closed counts in full. The count ends where a token was forced, such as "</think>" at the
        thinking budget.
        """
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
        """Score of the answering branch.

        Raises:
            ValueError: the branch has not been scored.
        """
        score = self.branches[self.answer].score
        if score is None:
            message = f"rollout {self.id} has not been judged yet"
            raise ValueError(message)
        return score


def _written(transcript: Transcript, length: int) -> int:
    """Returns the number of MODEL tokens among the first `length` tokens of a transcript."""
    return sum(transcript.by(Author.MODEL)[:length]) if length else 0


Group = Sequence[Rollout]  # attempts at one problem


class Judged(Protocol):
    """Interface of an object with a score: a scored rollout, or one scored branch of it."""

    @property
    def score(self) -> Score:
        """Result of the scorer for this attempt."""


def rewards_of(group: Sequence[Judged]) -> list[float]:
    """Returns the rewards of a group's attempts; attempts without a reward, because scoring failed, are left out."""
    return [attempt.score.reward for attempt in group if attempt.score.reward is not None]


def seed_of_rollout(problem: Problem, rollout: str) -> int:
    """Returns the sampling seed of a rollout.

    Args:
        problem: the problem that is attempted.
        rollout: id of the rollout.
    """
    return seed_of("rollout", problem.task, rollout)
