"""A budget for thought: at least, at most, and accuracy at many budgets from one long thought.

Budget forcing as in s1 (Muennighoff et al. 2025, arXiv 2501.19393), by the samplers' own settings.
"""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from poziomka.core.answers import CLOSE, THINK
from poziomka.core.collect import collect, wait_for
from poziomka.core.errors import SettingsError
from poziomka.core.evaluation import Evaluation
from poziomka.core.problem import Task
from poziomka.core.rollout import Branch, Group, Rollout
from poziomka.core.sampler import Sampler, Sampling
from poziomka.core.scoring import Scoring
from poziomka.core.transcript import Author, Span, Transcript


@dataclass(frozen=True)
class Budget(Sampler):
    """A sampler whose thoughts have at least `least` and at most `most` tokens."""

    inner: Sampler
    most: int
    least: int = 0

    @property
    def dtype(self) -> str | None:
        """See Sampler."""
        return self.inner.dtype

    async def extend(self, transcript: Transcript, sampling: Sampling) -> Transcript:
        """See Sampler."""
        return await self.inner.extend(transcript, replace(sampling, think_least=self.least, think_most=self.most))


async def fork(sampler: Sampler, long: Transcript, sampling: Sampling, budget: int) -> Transcript:
    """Returns the reply the model would have given within `budget` thinking tokens, from one with a longer budget.

    Exact where a thought closes with one token and randomness is named by a token's place, as in the local engine:
    the shorter thought is then the longer one's beginning. A reply whose thought ended in time is returned as it is;
    one that opened its thought again is written anew, since only its sampler knows where its budget was spent.

    Args:
        sampler: wrote the long reply.
        long: the transcript with the long thought; the model's first span is the thought.
        sampling: the settings it was written with, seed included.
        budget: thinking tokens.
    """
    first = next((number for number, span in enumerate(long) if span.author is Author.MODEL), None)
    if first is None:
        return long
    before = sum(map(len, long.spans[:first]))
    if len(long.spans[first]) <= budget:  # the token that closed it included: the next one would be forced to close
        if any(THINK in span.text for span in long.spans[first + 1 :]):
            return await sampler.extend(long.cut(before), replace(sampling, think_most=budget))
        return long
    cut = long.cut(before + budget) + Span(Author.FORCED, f" {CLOSE}")
    return await sampler.extend(cut, replace(sampling, tokens=sampling.tokens - budget, think_most=budget))


def at_budgets(
    sampler: Sampler,
    task: Task,
    sampling: Sampling,
    budgets: Sequence[int],
    *,
    problems: int = 200,
    attempts: int = 1,
    scoring: Scoring | None = None,
) -> dict[int, Evaluation]:
    """Evaluates the test split at many thinking budgets: thinks once, at the largest, and forks at each smaller one.

    Raises:
        SettingsError: no budgets, or a task whose environment speaks inside the thought, which cannot be cut.
    """
    if not budgets or min(budgets) < 0:
        message = f"budgets are thinking tokens, 0 or more: received {list(budgets)}"
        raise SettingsError(message)
    if task.environment is not None:
        message = f"task {task.name!r} talks to an environment while it thinks: evaluate each budget by itself"
        raise SettingsError(message)
    sampling = replace(sampling, think_most=max(budgets))
    drawn = task.first("test", problems, stand_ins=True)
    with Scoring(task) if scoring is None else nullcontext(scoring) as judge:
        longest = collect(sampler, task, drawn, sampling, attempts=attempts, name=NAME, scoring=judge)

        async def shorter(budget: int) -> list[Group]:
            return list(await asyncio.gather(*(_shorter(sampler, judge, group, sampling, budget) for group in longest)))

        curves = {budget: wait_for(shorter(budget)) for budget in sorted(set(budgets)) if budget < max(budgets)}
    return {budget: Evaluation(groups) for budget, groups in curves.items()} | {max(budgets): Evaluation(longest)}


NAME = "evaluate/test"


async def _shorter(sampler: Sampler, scoring: Scoring, group: Group, sampling: Sampling, budget: int) -> Group:
    async def one(rollout: Rollout) -> Rollout:
        transcript = await fork(sampler, rollout.transcript, replace(sampling, seed=rollout.seed), budget)
        if transcript is rollout.transcript:
            return rollout
        score = await scoring.score(rollout.problem, transcript)
        return replace(rollout, branches=(Branch(transcript, score),))

    return await asyncio.gather(*(one(rollout) for rollout in group))
