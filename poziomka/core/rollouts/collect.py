"""Rollout collection: a strategy samples attempts at problems, and the scorer judges every branch."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeVar

from poziomka.core.environment import stops_of
from poziomka.core.errors import EnvironmentFailure
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Group, Rollout, seed_of_rollout
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.strategy import Attempt, Rewards, Strategy, reading
from poziomka.core.task import Task, environment_of
from poziomka.core.transcript import Author, Transcript

T = TypeVar("T")


def collect(
    sampler: Sampler,
    task: Task,
    problems: Sequence[Problem],
    sampling: SamplingParams,
    *,
    attempts: int = 1,
    name: str = "collect",
    scoring: Scoring | None = None,
) -> list[Group]:
    """Samples attempts at each problem, scores them, and returns one group of scored rollouts per problem, in order.

    Each attempt is a single reply, or one conversation with the task's environment. For other strategies, see
    `Collector`.

    Args:
        sampler: samples the attempts.
        task: provides the environment and the scorer.
        problems: problems to attempt.
        sampling: parameters of every request; its seed is replaced by one derived from the problem, the attempt and
            `name`.
        attempts: number of rollouts per problem.
        name: prefix of the rollouts' ids ("train/step-12"), from which seeds derive; the same name repeats exactly.
        scoring: worker processes of the scorer, for use in several calls. `scoring=None`: starts workers and stops them
            before returning.
    """
    if scoring is None:
        with Scoring(task) as own:
            return Collector(sampler, own).collect(problems, sampling, attempts, name)
    return Collector(sampler, scoring).collect(problems, sampling, attempts, name)


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine and returns its result; in a new thread if an event loop is running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@dataclass(frozen=True)
class Collector:
    """Samples rollouts of a task with a strategy and scores every branch.

    Votes of strategies that name no reader of answers use the task's, `Task.reader`.

    Attributes:
        sampler: continues transcripts.
        scoring: scores the branches with the scorer of `scoring.task`, which also provides the environment.
        strategy: makes the attempts; by default a single reply or one conversation.
    """

    sampler: Sampler
    scoring: Scoring
    strategy: Strategy = SINGLE_REPLY

    @cached_property
    def _reading(self) -> tuple[Sampler, Strategy]:
        """The sampler and the strategy, whose votes read answers as the task does."""
        read = self.scoring.task.reader
        return reading(self.sampler, read), reading(self.strategy, read)

    def collect(
        self, problems: Sequence[Problem], sampling: SamplingParams, attempts: int = 1, name: str = "collect"
    ) -> list[Group]:
        """Returns one group of `attempts` scored rollouts per problem, in the order of `problems`.

        Args:
            problems: problems to attempt.
            sampling: parameters of every request; its seed is replaced by one derived from the problem, the attempt and
                `name`.
            attempts: number of rollouts per problem.
            name: prefix of the rollouts' ids, from which seeds derive; the same name repeats exactly.
        """

        async def gathered() -> dict[int, Group]:
            return {number: group async for number, group in self.groups(problems, sampling, attempts, name)}

        found = wait_for(gathered())
        return [found[number] for number in range(len(problems))]

    async def groups(
        self, problems: Sequence[Problem], sampling: SamplingParams, attempts: int = 1, name: str = "collect"
    ) -> AsyncIterator[tuple[int, Group]]:
        """Yields (index of the problem, its group of scored rollouts) in the order of completion.

        All problems are attempted concurrently. Unfinished groups are cancelled when the iterator is closed early. The
        arguments are those of `collect`.
        """
        tasks = [
            asyncio.ensure_future(self._group(number, problem, sampling, attempts, name))
            for number, problem in enumerate(problems)
        ]
        try:
            for finished in asyncio.as_completed(tasks):
                yield await finished
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _group(
        self, number: int, problem: Problem, sampling: SamplingParams, attempts: int, name: str
    ) -> tuple[int, Group]:
        """Returns (index of the problem, its group of scored rollouts)."""
        ids = [f"{name}/{number}/{problem.key}/{attempt}" for attempt in range(attempts)]
        params = [replace(sampling, seed=seed_of_rollout(problem, rollout)) for rollout in ids]
        found = await self._attempts(problem, params)
        judged = (self._judged(*pair, problem) for pair in zip(ids, found, strict=True))
        return number, await asyncio.gather(*judged)

    async def _attempts(self, problem: Problem, params: Sequence[SamplingParams]) -> list[Attempt]:
        """Returns one attempt for each of `params`.

        All attempts are failed ones if the problem could not be drawn or the environment cannot be created.
        """
        if problem.fault:
            return [Attempt.failed(Transcript.of(problem.prompt), problem.fault)] * len(params)
        try:
            environment, prompt = environment_of(self.scoring.task, problem)
            stop = () if environment is None else stops_of(environment)
        except EnvironmentFailure as failure:
            return [Attempt.failed(Transcript.of(problem.prompt), str(failure))] * len(params)
        sampler, strategy = self._reading
        if environment is None:
            return await strategy.attempts(sampler, prompt, params, problem=problem)
        params = [replace(how, stop=(*how.stop, *stop)) for how in params]
        opens = partial(environment.open, problem)
        return await strategy.attempts(sampler, prompt, params, open_session=opens, problem=problem)

    async def _judged(self, rollout: str, attempt: Attempt, problem: Problem) -> Rollout:
        if attempt.failure is not None:
            failure = Score.failed(Verdict.ERROR, attempt.failure)
            branches = [replace(branch, score=branch.score or failure) for branch in attempt.branches]
        else:
            branches = await self._all_scored(attempt.branches, problem)
            branches = branches if attempt.rewards is None else _rewarded(branches, attempt.rewards)
        spans = (span for branch in branches for span in branch.transcript)
        policy = next((span.policy for span in spans if span.author is Author.MODEL), None)
        made = any(branch.transcript.tried or branch.transcript.correction for branch in branches)  # by a strategy
        spent = attempt.cost if made else attempt.spent
        return Rollout(rollout, problem, tuple(branches), policy, attempt.answer, spent)

    async def _all_scored(self, branches: Sequence[Branch], problem: Problem) -> list[Branch]:
        """Returns the branches with scores; a part of another branch has the score of that one."""
        own = [branch for branch in branches if branch.judged_as is None]
        scores = iter(await asyncio.gather(*(self._scored(branch, problem) for branch in own)))
        found = [next(scores) if branch.judged_as is None else branch for branch in branches]
        return [each if each.judged_as is None else replace(each, score=found[each.judged_as].score) for each in found]

    async def _scored(self, branch: Branch, problem: Problem) -> Branch:
        """Returns a branch with a score: the score that the strategy set, or else the scorer's.

        A reward that the strategy set (`branch.reward`) replaces the score's reward.
        """
        score = branch.score or await self.scoring.score(problem, branch.transcript)
        if branch.reward is not None and score.reward is not None:
            score = replace(score, reward=branch.reward)
        return replace(branch, score=score)


def _rewarded(branches: Sequence[Branch], rewards: Rewards) -> list[Branch]:
    """Returns scored branches with the rewards of an attempt's `rewards`; failed checks are left without a reward."""
    scores = [branch.score for branch in branches if branch.score is not None]
    return [
        branch if score.reward is None else replace(branch, score=replace(score, reward=reward))
        for branch, score, reward in zip(branches, scores, rewards(scores), strict=True)
    ]
