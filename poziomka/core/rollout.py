"""One attempt at a problem, judged: what learning, evaluation and the inspector read."""

from collections.abc import Sequence
from dataclasses import dataclass

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import seed_of
from poziomka.core.transcript import Author, Stop, Transcript


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of a rollout.

    Attributes:
        transcript: the words, from the prompt on.
        score: what the scorer said; None before it was judged.
        parent: index of the branch it was forked from; None for the first.
        fork_at: number of tokens shared with the parent.
        role: whose view this is, where several take part.
        trainable: whether the policy may learn from it.
    """

    transcript: Transcript
    score: Score | None = None
    parent: int | None = None
    fork_at: int = 0
    role: str = "model"
    trainable: bool = True


@dataclass(frozen=True, slots=True)
class Rollout:
    """An attempt at a problem.

    Attributes:
        id: names it within the run: task/split/key/attempt/step.
        problem: what was asked.
        branches: one for a plain attempt; many for search, votes, several players.
        policy: version of the weights that began it; None where unknown.
    """

    id: str
    problem: Problem
    branches: tuple[Branch, ...]
    policy: str | None = None

    @property
    def transcript(self) -> Transcript:
        """The first branch's words."""
        return self.branches[0].transcript

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
        """The first branch's score.

        Raises:
            ValueError: it has not been judged.
        """
        score = self.branches[0].score
        if score is None:
            message = f"rollout {self.id} has not been judged yet"
            raise ValueError(message)
        return score


Group = Sequence[Rollout]  # attempts at one problem


def rewards_of(group: Group) -> list[float]:
    """Returns the rewards of the attempts that were judged."""
    return [rollout.score.reward for rollout in group if rollout.score.reward is not None]


def seed_of_rollout(problem: Problem, rollout: str) -> int:
    """Returns the seed of the rollout called `rollout`."""
    return seed_of("rollout", problem.task, rollout)
