"""The strategy interface: one or many attempts at a problem, made with any sampler."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from poziomka.core.environment import Session
from poziomka.core.errors import EnvironmentFailure, TranscriptError
from poziomka.core.problem import Problem
from poziomka.core.rollout import Branch
from poziomka.core.sampler import Sampler, Sampling
from poziomka.core.transcript import Transcript

OpenSession = Callable[[], Session]


@dataclass(frozen=True, slots=True)
class Attempt:
    """The branches of one attempt at a problem.

    Attributes:
        branches: every line that was sampled; a branch that was forked comes after its parent.
        answer: index of the branch that answers the problem.
        failure: reason why the attempt could not be finished; it is recorded as a failed check, never as a reward.

    Raises:
        ValueError: there is no branch, `answer` names none, or a branch comes before its parent.
    """

    branches: tuple[Branch, ...]
    answer: int = 0
    failure: str | None = None

    def __post_init__(self) -> None:
        """Checks the indices."""
        if not 0 <= self.answer < len(self.branches):
            message = f"an attempt answers with one of its {len(self.branches)} branches: received index {self.answer}"
            raise ValueError(message)
        for index, branch in enumerate(self.branches):
            if branch.parent is not None and not 0 <= branch.parent < index:
                message = (
                    f"branch {index} has parent {branch.parent}: a parent comes before the branches forked from it"
                )
                raise ValueError(message)

    @classmethod
    def failed(cls, transcript: Transcript, reason: str) -> "Attempt":
        """Returns an attempt that could not be finished, with the transcript as far as it is known."""
        return cls((Branch(transcript),), failure=reason)


class Strategy(ABC):
    """A way to attempt a problem: a single reply, a conversation, votes, a search, a game of several players.

    Reinforcement learning trains through any strategy, and evaluation runs any. A strategy samples with the sampler
    that it is given and with the request's own parameters; further requests of one attempt take seeds of
    `seed_of(params.seed, name of the strategy, number)`, so that a run repeats.
    """

    @abstractmethod
    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: Sampling,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns one attempt at `prompt`.

        Args:
            sampler: continues transcripts.
            prompt: opening messages, and the tools that the model can call.
            params: parameters of each request.
            open_session: opens a session of the task's environment; every vote, leaf or player opens or forks its own,
                and the strategy closes it. None where the task has no environment.
            problem: the problem in training; None in evaluation and serving, which give no gold answers.

        Raises:
            EnvironmentFailure: a session failed; recorded as a failed check of this attempt.
            TranscriptError: the transcript cannot be continued, likewise.
            SamplerError: the sampler cannot sample at all; ends the collection.
        """

    async def attempts(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: Sequence[Sampling],
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> list[Attempt]:
        """Returns one attempt for each of `params`, made concurrently; failed ones carry their reason."""

        async def one(how: Sampling) -> Attempt:
            try:
                return await self.attempt(sampler, prompt, how, open_session=open_session, problem=problem)
            except (EnvironmentFailure, TranscriptError) as error:
                return Attempt.failed(prompt, str(error))

        return list(await asyncio.gather(*map(one, params)))
