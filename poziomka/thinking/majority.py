"""Majority voting (self-consistency): several replies to one prompt, and the most frequent answer among them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from poziomka.core.problem import Problem
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.sampler import Sampler, Sampling
from poziomka.core.seeds import seed_of
from poziomka.core.strategy import Attempt, OpenSession, Strategy
from poziomka.core.transcript import Transcript


def last_words(transcript: Transcript) -> str | None:
    """Returns the stripped text after the thought; None if there is none."""
    return transcript.answer or None


@dataclass(frozen=True)
class Majority(Strategy):
    """Self-consistency: samples `votes` replies and answers with the most frequent answer.

    Wang et al. 2022 (arXiv 2203.11171). With `reward_agreement`, each reply is rewarded for agreeing with the vote
    instead of by the scorer, which needs no gold answers: TTRL (Zuo et al. 2025, arXiv 2504.16084).

    Attributes:
        votes: replies per attempt, 1 or more.
        read: returns the answer of a reply; None for a reply without one, which has no vote.
        reward_agreement: whether the reward of a reply is 1 if its answer won the vote, else 0.
    """

    votes: int
    read: Callable[[Transcript], str | None] = last_words
    reward_agreement: bool = False

    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: Sampling,
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
        branches = [vote.branches[0] for vote in found]
        if self.reward_agreement:
            agree = [float(answer is not None and answer == winner) for answer in answers]
            branches = [replace(branch, reward=reward) for branch, reward in zip(branches, agree, strict=True)]
        return Attempt(tuple(branches), chosen, failure)


def _most_frequent(answers: Sequence[str | None]) -> str | None:
    """Returns the most frequent answer, the first of equally frequent ones; None if no reply has an answer."""
    counts = Counter(answer for answer in answers if answer is not None)
    return max(counts, key=lambda answer: counts[answer]) if counts else None
