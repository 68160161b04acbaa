"""Thinking budgets: bounds on the thinking tokens of an attempt, and evaluation at many budgets from one long thought.

Budget forcing as in s1 (Muennighoff et al. 2025, arXiv 2501.19393), by parameters of the sampling request.
"""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem
from poziomka.core.rollout import Branch, Group, Rollout
from poziomka.core.rollouts.collect import collect, wait_for
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.rollouts.evaluation import Evaluation
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.strategy import Attempt, OpenSession, Strategy
from poziomka.core.task import Task
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Transcript


@dataclass(frozen=True)
class Budget(Strategy):
    """Strategy that bounds the thinking tokens of another strategy's attempts, in place of the request's own bounds.

    Attributes:
        most: maximum number of thinking tokens: the thought is then closed by a forced "</think>"; None for no limit.
        least: minimum number of thinking tokens: the model cannot close the thought before.
        inner: strategy that makes the attempts.
    """

    most: int | None
    least: int = 0
    inner: Strategy = SINGLE_REPLY

    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns an attempt of the inner strategy within the budget; see Strategy.attempt for the arguments."""
        params = replace(params, min_thinking_tokens=self.least, max_thinking_tokens=self.most)
        return await self.inner.attempt(sampler, prompt, params, open_session=open_session, problem=problem)

    async def attempts(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: Sequence[SamplingParams],
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> list[Attempt]:
        """Returns attempts of the inner strategy within the budget; see Strategy.attempts for the arguments."""
        within = [replace(how, min_thinking_tokens=self.least, max_thinking_tokens=self.most) for how in params]
        return await self.inner.attempts(sampler, prompt, within, open_session=open_session, problem=problem)


async def fork(sampler: Sampler, long: Transcript, sampling: SamplingParams, budget: int) -> Transcript:
    """Returns the reply that the model gives with a smaller thinking budget, from a reply with a larger one.

    The long thought is truncated to `budget` tokens and closed by a forced "</think>", and the sampler continues. That
    is exact if a thought closes with one token and random numbers depend on a token's position, as in the local engine:
    the short thought is then a prefix of the long one. A reply whose thought ended within the budget is returned
    unchanged. A reply that opened a second thought is sampled again, because only the sampler counts its budget.

    Args:
        sampler: sampler of the long reply.
        long: transcript with the long thought, which is its first MODEL span.
        sampling: parameters of the long reply, seed included.
        budget: maximum number of thinking tokens of the returned reply.

    Raises:
        SettingsError: the reply has no token ids, by which a thought is cut.
    """
    first = next((number for number, span in enumerate(long) if span.author is Author.MODEL), None)
    if first is None:
        return long
    if long.spans[first].tokens is None:
        message = "a reply without token ids cannot be cut: sample it again, with max_thinking_tokens"
        raise SettingsError(message)
    before = sum(map(len, long.spans[:first]))
    if len(long.spans[first]) <= budget:  # closing token included: at `budget`, the next is forced
        if any(THINK in span.text for span in long.spans[first + 1 :]):
            return await sampler.extend(long.cut(before), replace(sampling, max_thinking_tokens=budget))
        return long
    cut = long.cut(before + budget) + Span(Author.FORCED, f" {CLOSE}")
    return await sampler.extend(
        cut, replace(sampling, max_tokens=sampling.max_tokens - budget, max_thinking_tokens=budget)
    )


def at_budgets(
    sampler: Sampler,
    task: Task,
    sampling: SamplingParams,
    budgets: Sequence[int],
    *,
    problems: int = 200,
    attempts: int = 1,
    scoring: Scoring | None = None,
) -> dict[int, Evaluation]:
    """Evaluates the test split at many thinking budgets: samples once at the largest, and forks at each smaller one.

    Args:
        sampler: samples the replies.
        task: task without an environment.
        sampling: sampling parameters of all requests; seed and `max_thinking_tokens` are replaced.
        budgets: maximum numbers of thinking tokens, 0 or more each.
        problems: number of problems, from index 0; a smaller split is used whole.
        attempts: number of attempts per problem.
        scoring: the scorer's workers, to reuse between calls; None starts workers for this call.

    Returns:
        The evaluation at each budget; the key is the budget in tokens.

    Raises:
        SettingsError: there are no budgets, one is negative, the task has an environment, whose replies inside a
            thought cannot be cut, or the sampler gives no token ids, by which thoughts are cut.
    """
    if not budgets or min(budgets) < 0:
        message = f"budgets are thinking tokens, 0 or more: received {list(budgets)}"
        raise SettingsError(message)
    if task.environment is not None:
        message = f"task {task.name!r} talks to an environment while it thinks: evaluate each budget by itself"
        raise SettingsError(message)
    if not sampler.capabilities.token_ids:
        message = (
            f"{type(sampler).__name__} gives no token ids, by which thoughts are cut: evaluate each budget by itself"
        )
        raise SettingsError(message)
    sampling = replace(sampling, max_thinking_tokens=max(budgets))
    drawn = task.first("test", problems, stand_ins=True)
    with Scoring(task) if scoring is None else nullcontext(scoring) as judge:
        longest = collect(sampler, task, drawn, sampling, attempts=attempts, name=NAME, scoring=judge)
        curves = {
            budget: shorter(sampler, judge, longest, sampling, budget)
            for budget in sorted(set(budgets))
            if budget < max(budgets)
        }
    return {budget: Evaluation(groups) for budget, groups in curves.items()} | {max(budgets): Evaluation(longest)}


NAME = "evaluate/test"


def shorter(
    sampler: Sampler, scoring: Scoring, longest: Sequence[Group], sampling: SamplingParams, budget: int
) -> list[Group]:
    """Returns judged groups at a smaller thinking budget, from groups at a larger one; see `fork`.

    Args:
        sampler: sampler of the long replies.
        scoring: workers of the task's scorer.
        longest: groups that were collected at the larger budget.
        sampling: sampling parameters at the larger budget; each rollout has its own seed.
        budget: maximum number of thinking tokens of the returned rollouts.
    """

    async def one(rollout: Rollout) -> Rollout:
        transcript = await fork(sampler, rollout.transcript, replace(sampling, seed=rollout.seed), budget)
        if transcript is rollout.transcript:
            return rollout
        score = await scoring.score(rollout.problem, transcript)
        return replace(rollout, branches=(Branch(transcript, score),))

    async def all_of() -> list[Group]:
        each = (asyncio.gather(*(one(rollout) for rollout in group)) for group in longest)
        return list(await asyncio.gather(*each))

    return wait_for(all_of())
