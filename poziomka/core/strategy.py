"""The strategy interface: one or many attempts at a problem, made with any sampler."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from poziomka.core.environment import Session
from poziomka.core.errors import EnvironmentFailure, TranscriptError
from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Branch, Cost
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.transcript import AnswerReader, Transcript

T = TypeVar("T")
OpenSession = Callable[[], Session]
Rewards = Callable[[Sequence[Score]], Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """The branches of one attempt at a problem.

    Attributes:
        branches: all sampled sequences; a forked branch comes after its parent.
        answer: index of the branch that answers the problem.
        failure: reason why the attempt could not be finished, recorded as a failed check without a reward; None if it
            was finished.
        spent: cost that the strategy measured: with judges, or in rounds that wait for one another. None if the cost
            follows from the branches.
        rewards: function from the scores of all branches to their rewards in training, -1 to 1 each and None for no
            reward, where the reward of one branch depends on the scores of others. It is called when every branch is
            scored, and replaces all rewards but those of failed checks. None if each branch has its own.

    Raises:
        ValueError: there is no branch, `answer` or `judged_as` is out of range, or a branch comes before its parent.
    """

    branches: tuple[Branch, ...]
    answer: int = 0
    failure: str | None = None
    spent: Cost | None = None
    rewards: Rewards | None = None

    @property
    def cost(self) -> Cost:
        """Tokens that the attempt took, in all branches and by all judges."""
        return Cost.of(self.branches) if self.spent is None else self.spent

    def __post_init__(self) -> None:
        """Checks the indices of branches.

        Raises:
            ValueError: there is no branch, an index is out of range, or a branch comes before its parent.
        """
        if not 0 <= self.answer < len(self.branches):
            message = f"an attempt answers with one of its {len(self.branches)} branches: received index {self.answer}"
            raise ValueError(message)
        for index, branch in enumerate(self.branches):
            if branch.parent is not None and not 0 <= branch.parent < index:
                message = (
                    f"branch {index} has parent {branch.parent}: a parent comes before the branches forked from it"
                )
                raise ValueError(message)
            whole = branch.judged_as
            if whole is None:
                continue
            if not 0 <= whole < len(self.branches) or self.branches[whole].judged_as is not None:
                message = f"branch {index} is judged as branch {whole}: name a branch that is judged itself"
                raise ValueError(message)

    @classmethod
    def failed(cls, transcript: Transcript, reason: str) -> "Attempt":
        """Returns an attempt that could not be finished, with one branch: the transcript as far as it is known."""
        return cls((Branch(transcript),), failure=reason)


class Strategy(ABC):
    """Interface of a strategy, which makes one attempt at a problem with any sampler.

    A strategy is a single reply, a conversation, majority voting, a search, or a game of several players. Training and
    evaluation run with any strategy. A strategy uses the sampler and the parameters that it receives. If one attempt
    needs further requests, their seeds are `seed_of(params.seed, name of the strategy, number)`, so that a run repeats
    exactly.
    """

    @abstractmethod
    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns one attempt at `prompt`.

        Args:
            sampler: continues transcripts.
            prompt: initial messages, and the tools that the model can call.
            params: parameters of each request.
            open_session: opens a session of the task's environment. Each vote, leaf of a search or player opens or
                forks its own session, and the strategy closes it. None if the task has no environment.
            problem: the problem that is attempted, when rollouts are collected; None in a chat through Thinker, where
                there is no gold answer.

        Raises:
            EnvironmentFailure: a session failed; the caller records a failed check of this attempt.
            TranscriptError: the transcript cannot be continued; the caller records a failed check of this attempt.
            SamplerError: the sampler cannot sample at all; the whole collection of rollouts ends.
        """

    async def attempts(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: Sequence[SamplingParams],
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> list[Attempt]:
        """Returns one attempt for each of `params`, made concurrently; failed attempts have `failure` set."""

        async def one(how: SamplingParams) -> Attempt:
            try:
                return await self.attempt(sampler, prompt, how, open_session=open_session, problem=problem)
            except (EnvironmentFailure, TranscriptError) as error:
                return Attempt.failed(prompt, str(error))

        return list(await asyncio.gather(*map(one, params)))


def reading(part: T, read: AnswerReader | None) -> T:
    """Returns a strategy, or a sampler that runs one, with `read` in place of every reader that was left open.

    A strategy that votes has the field `read`, which is None if the votes of a task use the task's reader. Strategies
    inside others are included. Frozen dataclasses are copied; any other object keeps its readers.

    Args:
        part: the strategy or sampler.
        read: reader of the task that is attempted; None leaves every reader as it is.
    """
    if read is None or not _is_frozen(part):
        return part
    whole: Any = part
    changes: dict[str, Any] = {}
    runs = isinstance(part, Strategy | Sampler)  # of a judge, whose replies answer another question, no sampler is read
    for field in fields(whole):
        value = getattr(whole, field.name)
        if field.name == "read" and value is None and isinstance(part, Strategy):
            changes["read"] = read
        elif (runs or not isinstance(value, Sampler)) and (found := reading(value, read)) is not value:
            changes[field.name] = found
    if not changes:
        return part
    changed = copy(part)  # not `replace`, which calls an initializer that a subclass may have changed
    for name, value in changes.items():
        object.__setattr__(changed, name, value)
    return changed


def _is_frozen(part: object) -> bool:
    """Returns whether an object is a frozen dataclass, which a copy can replace."""
    parameters: Any = getattr(type(part), "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)
