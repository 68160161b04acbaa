"""Votes by agreement: the first replies decide how many votes a problem gets."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.strategy import Attempt, OpenSession, Strategy
from poziomka.core.transcript import AnswerReader, Transcript
from poziomka.thinking.ensemble import Ensemble
from poziomka.thinking.majority import answers_of, elected, votes_of


@dataclass(frozen=True)
class AgreementVotes(Strategy):
    """Majority voting whose number of votes depends on how many of the first replies agree.

    If the first replies agree, the answer is probably settled; if none of them has an answer, more of them rarely help.
    `poziomka.thinking.study.fitting.fit` fits the numbers of votes to the rollouts of a study. The votes are the first
    ones of `Majority`, so both are compared on the same replies.

    Attributes:
        votes: total number of votes if 0, 1, 2, … of the first replies give the most frequent answer; 0 means that none
            has an answer. There are as many first replies as the last index. A total of at most that number stops.
        read: reader of answers for the vote, as that of `Majority`.
        inner: strategy that makes the replies.

    Raises:
        SettingsError: there are fewer than two numbers of votes, or one is below 1.
    """

    votes: tuple[int, ...]
    read: AnswerReader | None = None
    inner: Strategy = SINGLE_REPLY

    def __post_init__(self) -> None:
        """Raises SettingsError if there are fewer than two numbers of votes, or one is below 1."""
        if len(self.votes) < 2 or min(self.votes) < 1:
            message = f"agreement needs a number of votes for 0, 1, … agreeing replies: received {list(self.votes)}"
            raise SettingsError(message)

    @property
    def probe(self) -> int:
        """Number of first replies."""
        return len(self.votes) - 1

    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns an attempt with the branches of all votes, answered by the first reply with the winning answer."""
        ensemble = Ensemble(self.inner, sampler, open_session, problem)
        members = await ensemble.sample(prompt, votes_of(params, self.probe))
        total = self.votes[agreeing(list(answers_of(members, self.read).values()))]
        if total > self.probe:
            members += await ensemble.sample(prompt, votes_of(params, total - self.probe, self.probe))
        return ensemble.attempt(elected(members, answers_of(members, self.read), {each.index: 1.0 for each in members}))


def agreeing(answers: Sequence[str | None]) -> int:
    """Returns the number of replies with the most frequent answer; 0 if none has an answer."""
    return max(Counter(answer for answer in answers if answer is not None).values(), default=0)
