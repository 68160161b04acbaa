"""Majority voting (self-consistency): several replies to one prompt, and the most frequent answer among them."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from poziomka.core.errors import SettingsError, nearest
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.rollouts.votes import elect
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.strategy import Attempt, OpenSession, Rewards, Strategy
from poziomka.core.transcript import AnswerReader, Transcript
from poziomka.thinking.credit import Credit, SetReward, reward_of
from poziomka.thinking.ensemble import Ensemble, Member, requests
from poziomka.thinking.judges.judge import Judge

ROUNDING = 1e-9  # of a share times a number, which may exceed an integer by a rounding error
Reward = Literal["scorer", "vote", "agreement"]


def last_words(transcript: Transcript) -> str | None:
    """Returns a reply's text after its thought, stripped; None if there is no such text."""
    return transcript.answer or None


@dataclass(frozen=True)
class Majority(Strategy):
    """Self-consistency: samples `votes` replies and answers with the most frequent answer.

    Wang et al. 2022 (arXiv 2203.11171). With a judge, the answer with the largest sum of the judge's values wins
    (weighted majority), and `keep` leaves out the replies with the smallest values: with `confidence.Logprobs` as
    judge, that is the offline form of DeepConf (Fu et al. 2025, arXiv 2508.15260). Among equal answers, the first
    sampled wins. The rewards of the replies in training are named by `reward`:

        scorer     those of the task's scorer
        vote       that of the reply that the vote elects: training for majority@k, as `credit` divides it
        agreement  1 for replies that agree with the vote, else 0, without gold answers: TTRL (Zuo et al. 2025, arXiv
                   2504.16084)

    Attributes:
        votes: number of replies per attempt, 1 or more.
        read: function that returns the answer of a reply; None for a reply without an answer, which has no vote.
            `read=None`: the reader of the task that is attempted (`Task.reader`); in a chat, or without such a reader,
            the text after the thought.
        reward: scorer, vote or agreement.
        credit: reward of each reply if `reward` is "vote": set, that of the vote, or leave_one_out, what the vote would
            lose without the reply (`thinking.credit`).
        inner: strategy that makes the replies.
        judge: its value of a reply, 0 to 1, is the weight of the reply's vote; None for equal weights.
        keep: share of the replies that vote, above 0 and at most 1: those with the largest weights, rounded up.

    Raises:
        SettingsError: there is no vote, no reward or credit of that name, or `keep` is out of range or has no judge.
    """

    votes: int
    read: AnswerReader | None = None
    reward: Reward = "scorer"
    inner: Strategy = SINGLE_REPLY
    judge: Judge | None = None
    keep: float = 1.0
    credit: Credit = "set"

    def __post_init__(self) -> None:
        """Raises SettingsError if there is no vote, nothing by which to keep replies, or an unknown name."""
        if self.votes < 1:
            message = f"a majority needs at least 1 vote: received {self.votes}"
            raise SettingsError(message)
        demand_reward(self.reward, self.credit, get_args(Reward))
        if not 0 < self.keep <= 1 or (self.keep < 1 and self.judge is None):
            message = f"keep is a share above 0 and at most 1, below 1 only with a judge: received {self.keep}"
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
        """Returns an attempt with the branches of all votes, answered by a reply with the winning answer."""
        ensemble = Ensemble(self.inner, sampler, open_session, problem)
        members = await ensemble.sample(prompt, votes_of(params, self.votes))
        weights = await ensemble.weigh(self.judge, members, params.seed)
        answers = answers_of(members, self.read)
        winner = self._elected(members, answers, weights)
        won = None if winner is None else answers[winner.index]
        for member in members if self.reward == "agreement" else ():
            answer = answers[member.index]
            ensemble.reward(member, float(answer is not None and answer == won))
        return ensemble.attempt(winner, self._rewards(members, answers, weights))

    def _elected(
        self, members: Sequence[Member], answers: Mapping[int, str | None], weights: Mapping[int, float]
    ) -> Member | None:
        """Returns the member that a vote of these members elects; those of the smallest weights do not vote."""
        own = {member.index: weights[member.index] for member in members if member.index in weights}
        return elected(members, answers, most_trusted(own, self.keep))

    def _rewards(
        self, members: Sequence[Member], answers: Mapping[int, str | None], weights: Mapping[int, float]
    ) -> Rewards | None:
        """Returns the rewards of a vote that is rewarded as a whole; None for other rewards."""
        if self.reward != "vote":
            return None

        def outcome(some: Sequence[Member], scores: Sequence[Score]) -> float | None:
            return reward_of(self._elected(some, answers, weights), scores)

        return SetReward(tuple(members), outcome, self.credit)


def votes_of(params: SamplingParams, count: int, first: int = 0) -> list[SamplingParams]:
    """Returns the parameters of independent replies to one prompt.

    All strategies that sample such replies derive the seeds alike, so they are compared on the same replies.
    """
    return requests(params, "majority", count=count, first=first)


def answer_in(transcript: Transcript, read: AnswerReader | None) -> str | None:
    """Returns the answer that a reader finds in a reply; None if there is none, or if the reader raises.

    A reader is code of a task, and one reply that it cannot read is no reason to end the other attempts. An answer that
    is no text, such as a number or a list, is compared as text. `read=None` takes the text after the thought.
    """
    try:
        found = (read or last_words)(transcript)
        return None if found is None else str(found)
    except Exception:  # noqa: BLE001 a reader may raise anything; the scorer, which also calls it, records the reason
        return None


def answers_of(members: Sequence[Member], read: AnswerReader | None) -> dict[int, str | None]:
    """Returns the answer of each member, by the index of its branch; None for a reply without an answer."""
    return {member.index: answer_in(member.transcript, read) for member in members}


def most_trusted(weights: Mapping[int, float], share: float) -> dict[int, float]:
    """Returns the entries with the largest weights: `share` of them, rounded up; of equal ones, the first."""
    kept = sorted(weights, key=lambda index: -weights[index])[: math.ceil(share * len(weights) - ROUNDING)]
    return {index: weights[index] for index in kept}


def elected(
    members: Sequence[Member], answers: Mapping[int, str | None], weights: Mapping[int, float]
) -> Member | None:
    """Returns the member that a weighted vote chooses: of those with the winning answer, the one of largest weight.

    Members without a weight have no vote. Among equal sums of weights, and equal weights, the first sampled wins.

    Args:
        members: members of an ensemble, in the order in which they were sampled.
        answers: answer of each member, by the index of its branch; None has no vote.
        weights: weight of each vote, by the index of its branch.

    Returns:
        The chosen member; the first one with a weight if none has an answer; None if none has a weight.
    """
    voters = [member for member in members if member.index in weights]
    ballots: dict[str, list[float]] = defaultdict(list)
    for member in voters:
        answer = answers[member.index]
        if answer is not None:
            ballots[answer].append(weights[member.index])
    winner = elect({answer: math.fsum(ballot) for answer, ballot in ballots.items()})
    if winner is None:
        return next(iter(voters), None)
    return max((m for m in voters if answers[m.index] == winner), key=lambda member: weights[member.index])


def demand_reward(reward: str, credit: str, known: Sequence[str]) -> None:
    """Raises SettingsError if the reward or the credit of a strategy's replies is unknown.

    Args:
        reward: name of the reward.
        credit: name of the credit.
        known: names of rewards.
    """
    for what, name, names in (("reward", reward, known), ("credit", credit, get_args(Credit))):
        if name not in names:
            message = f"unknown {what} of replies {name!r}{nearest(name, names)}"
            raise SettingsError(message)
