"""Majority voting (self-consistency): several replies to one prompt, and the most frequent answer among them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from poziomka.core.errors import SettingsError, nearest
from poziomka.core.problem import Problem
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.strategy import Attempt, OpenSession, Strategy
from poziomka.core.transcript import Transcript

Reward = Literal["scorer", "vote", "agreement"]


def last_words(transcript: Transcript) -> str | None:
    """Returns a reply's text after its thought, stripped; None if there is no such text."""
    return transcript.answer or None


@dataclass(frozen=True)
class Majority(Strategy):
    """Self-consistency: samples `votes` replies and answers with the most frequent answer.

    Wang et al. 2022 (arXiv 2203.11171). The rewards of the replies in training are named by `reward`:
        scorer     those of the task's scorer
        vote       1 for every reply if the vote equals the gold answer, else 0: the attempt is rewarded as a whole
        agreement  1 for replies that agree with the vote, else 0, without gold answers: TTRL (Zuo et al. 2025, arXiv
                   2504.16084)

    Attributes:
        votes: number of replies per attempt, 1 or more.
        read: function that returns the answer of a reply; None for a reply without an answer, which has no vote.
        reward: scorer, vote or agreement.

    Raises:
        SettingsError: there is no vote, or no reward of that name.
    """

    votes: int
    read: Callable[[Transcript], str | None] = last_words
    reward: Reward = "scorer"

    def __post_init__(self) -> None:
        """Raises SettingsError if there is no vote, or no reward of that name."""
        if self.votes < 1:
            message = f"a majority needs at least 1 vote: received {self.votes}"
            raise SettingsError(message)
        if self.reward not in get_args(Reward):
            message = f"unknown reward of votes {self.reward!r}{nearest(self.reward, get_args(Reward))}"
            raise SettingsError(message)

    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns an attempt with one branch per vote; among equally frequent answers, the first sampled wins."""
        seeds = [seed_of(params.seed, "majority", vote) for vote in range(self.votes)]
        requests = [replace(params, seed=seed) for seed in seeds]
        found = await SINGLE_REPLY.attempts(sampler, prompt, requests, open_session=open_session, problem=problem)
        failure = next((vote.failure for vote in found if vote.failure is not None), None)
        answers = [self.read(vote.branches[0].transcript) for vote in found]
        winner = _most_frequent(answers)
        chosen = answers.index(winner)
        rewards = self._rewards(answers, winner, problem)
        branches = [replace(vote.branches[0], reward=reward) for vote, reward in zip(found, rewards, strict=True)]
        return Attempt(tuple(branches), chosen, failure)

    def _rewards(
        self, answers: Sequence[str | None], winner: str | None, problem: Problem | None
    ) -> list[float] | list[None]:
        """Returns the reward of each reply; None (also outside training, without a problem) leaves it to the scorer."""
        if self.reward == "agreement":
            return [float(answer is not None and answer == winner) for answer in answers]
        if self.reward == "vote" and problem is not None:
            return [float(winner == problem.answer)] * len(answers)
        return [None] * len(answers)


def _most_frequent(answers: Sequence[str | None]) -> str | None:
    """Returns the most frequent answer, the first of equally frequent ones; None if no reply has an answer."""
    counts = Counter(answer for answer in answers if answer is not None)
    return max(counts, key=lambda answer: counts[answer]) if counts else None
