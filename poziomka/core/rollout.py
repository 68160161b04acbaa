"""Rollouts: scored attempts at problems, the data that training, evaluation and the inspector read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import seed_of
from poziomka.core.transcript import CLOSE, Author, Correction, Stop, Transcript

NOTHING = Correction()


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
        judged_as: index of the branch whose score this one has, because it is a part of that branch: a conversation
            that was sampled in parts. None if it is scored itself.
    """

    transcript: Transcript
    score: Score | None = None
    parent: int | None = None
    fork_at: int = 0
    role: str = "model"
    trainable: bool = True
    reward: float | None = None
    judged_as: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Tokens that an attempt took.

    `a + b` is the cost of b after a; `Cost.together` is that of concurrent parts.

    Attributes:
        sampled: number of tokens sampled from the policy, in all branches; a prefix that branches share counts once.
        read: number of other tokens that the policy read: prompts, replies of an environment, forced tokens. A prefix
            that branches share counts once, as it does in a sampler with a prefix cache.
        judged: number of tokens that judges read and sampled, each weighted by the judge's parameters / the policy's.
        latency: number of sampled tokens that had to wait for one another: the longest chain of them.
    """

    sampled: int = 0
    read: int = 0
    judged: float = 0.0
    latency: int = 0

    @property
    def tokens(self) -> float:
        """Cost in tokens of the policy, by which strategies are compared: sampled tokens and those of judges."""
        return self.sampled + self.judged

    def flops(self, parameters: int) -> float:
        """Returns the floating-point operations, 2 per parameter and token (Kaplan et al. 2020, section 2.1).

        Args:
            parameters: number of the policy's parameters.
        """
        return 2.0 * parameters * (self.sampled + self.read + self.judged)

    def __add__(self, after: "Cost") -> "Cost":
        """Returns the cost of this part and of a part that begins after it."""
        both = Cost.together((self, after))
        return replace(both, latency=self.latency + after.latency)

    @classmethod
    def together(cls, parts: "Iterable[Cost]") -> "Cost":
        """Returns the cost of concurrent parts: tokens are added, and the latency is the longest one."""
        parts = tuple(parts)
        return cls(
            sampled=sum(part.sampled for part in parts),
            read=sum(part.read for part in parts),
            judged=sum(part.judged for part in parts),
            latency=max((part.latency for part in parts), default=0),
        )

    @classmethod
    def of(cls, branches: "Sequence[Branch]") -> "Cost":
        """Returns the cost of branches that were sampled concurrently, with the corrections of their transcripts.

        A branch of which others are parts was not sampled itself: its tokens are theirs.
        """
        wholes = {branch.judged_as for branch in branches}
        branches = [branch for index, branch in enumerate(branches) if index not in wholes]
        heads = [tuple(branch.transcript.tokens[: _head(branch.transcript)]) for branch in branches]
        sampled = read = latency = 0
        judged = 0.0
        for branch in branches:
            transcript = branch.transcript
            start = max(_head(transcript), branch.fork_at if branch.parent is not None else 0)
            sampled += transcript.cost - _written(transcript, branch.fork_at)
            read += transcript.by(Author.MODEL)[start:].count(False)
            more = transcript.correction or NOTHING
            sampled, read, judged = sampled + more.sampled, read + more.read, judged + more.judged
            latency = max(latency, transcript.cost + more.latency)
        return cls(sampled=sampled, read=read + _distinct(heads), judged=judged, latency=latency)


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
        spent: cost as the strategy measured it; None if it follows from the branches.
    """

    id: str
    problem: Problem
    branches: tuple[Branch, ...]
    policy: str | None = None
    answer: int = 0
    spent: Cost | None = None

    @property
    def transcript(self) -> Transcript:
        """Transcript of the branch that answers the problem."""
        return self.branches[self.answer].transcript

    @property
    def cost(self) -> Cost:
        """Tokens that the attempt took, in all branches."""
        return Cost.of(self.branches) if self.spent is None else self.spent

    @property
    def seed(self) -> int:
        """Seed of the rollout's sampling requests, derived from its id."""
        return seed_of_rollout(self.problem, self.id)

    @property
    def thinking(self) -> int:
        """Number of thinking tokens that the model sampled, a sampled "</think>" included.

        A thought that was not closed counts in full. The count ends at a forced "</think>", as at the thinking budget;
        other forced text, such as " Wait", is not counted.
        """
        count, forced = 0, ""
        for span in self.transcript:
            forced += span.text if span.author is Author.FORCED else ""
            if CLOSE in forced:
                break
            if span.author is Author.MODEL:
                count += span.cost
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


def _head(transcript: Transcript) -> int:
    """Returns the number of tokens before the first MODEL token."""
    count = 0
    for span in transcript:
        if span.author is Author.MODEL:
            break
        count += len(span)
    return count


def _distinct(texts: "Iterable[tuple[int, ...]]") -> int:
    """Returns the number of tokens of texts in which a prefix that several of them share counts once."""
    count = 0
    for before, text in pairwise([(), *sorted(texts)]):
        shared = next((place for place, pair in enumerate(zip(before, text, strict=False)) if len(set(pair)) > 1), None)
        count += len(text) - (min(len(before), len(text)) if shared is None else shared)
    return count


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
