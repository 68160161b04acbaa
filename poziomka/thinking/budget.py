"""Thinking budgets: bounds on the thinking tokens of an attempt, and evaluation at many budgets from one long thought.

Budget forcing as in s1 (Muennighoff et al. 2025, arXiv 2501.19393): `Budget` closes a thought by parameters of the
sampling request, `RandomBudget` draws its budget, and `Continue` extends a thought that the model closes.
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
from poziomka.core.sampler import OnToken, Sampler, SamplerWrapper, SamplingParams
from poziomka.core.seeds import random_of
from poziomka.core.strategy import Attempt, OpenSession, Strategy
from poziomka.core.task import Task
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Stop, Transcript, Tried


@dataclass(frozen=True)
class Budget(Strategy):
    """Strategy that bounds the thinking tokens of another strategy's attempts, in place of the request's own bounds.

    Attributes:
        most: maximum number of thinking tokens: the thought is then closed by a forced "</think>"; None for no limit.
        least: minimum number of thinking tokens: the model cannot close the thought before.
        inner: strategy that makes the attempts.

    Raises:
        SettingsError: `least` is negative, or `most` is less than it.
    """

    most: int | None
    least: int = 0
    inner: Strategy = SINGLE_REPLY

    def __post_init__(self) -> None:
        """Raises SettingsError if `least` is negative, or `most` is less than it."""
        if self.least < 0 or (self.most is not None and self.most < self.least):
            message = f"a budget is 0 thinking tokens or more, and most >= least: received {self.most}, {self.least}"
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


@dataclass(frozen=True)
class RandomBudget(Strategy):
    """Strategy that draws the thinking budget of each attempt, so that training makes a model good at any of them.

    The draw is derived from the seed of the attempt's request. Each attempt is one of `Budget(most=drawn)`.

    Attributes:
        budgets: maximum numbers of thinking tokens, of which each attempt has one with equal probability.
        inner: strategy that makes the attempts.

    Raises:
        SettingsError: there is no budget, or one is negative.
    """

    budgets: tuple[int, ...]
    inner: Strategy = SINGLE_REPLY

    def __post_init__(self) -> None:
        """Raises SettingsError if there is no budget, or one is negative."""
        if not self.budgets or min(self.budgets) < 0:
            message = f"a random budget is drawn from thinking tokens, 0 or more: received {list(self.budgets)}"
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
        """Returns an attempt of the inner strategy within the drawn budget; see Strategy.attempt for the arguments."""
        within = Budget(random_of(params.seed, "random_budget").choice(self.budgets), inner=self.inner)
        return await within.attempt(sampler, prompt, params, open_session=open_session, problem=problem)


@dataclass(frozen=True)
class Continue(Strategy):
    """Strategy that extends the thoughts of another one's attempts: a sampled "</think>" is replaced by " Wait".

    The second half of budget forcing (s1, Muennighoff et al. 2025, arXiv 2501.19393). `Budget(most, inner=Continue(2))`
    also closes the thought at a cap. The replaced "</think>" is in the transcript's `tried`, so its tokens are in the
    cost.

    Attributes:
        times: maximum number of replacements after each message of the user, 0 or more.
        word: text that replaces "</think>", forced: it is never trained.
        inner: strategy that makes the attempts.

    Raises:
        SettingsError: `times` is negative, or the word is empty.
    """

    times: int
    word: str = " Wait"
    inner: Strategy = SINGLE_REPLY

    def __post_init__(self) -> None:
        """Raises SettingsError if `times` is negative, or the word is empty."""
        if self.times < 0 or not self.word:
            message = f"a thought is continued 0 times or more with a word: received {self.times}, {self.word!r}"
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
        """Returns an attempt of the inner strategy with continued thoughts; see Strategy.attempt for the arguments."""
        waiting = Waiting(sampler, self.times, self.word)
        return await self.inner.attempt(waiting, prompt, params, open_session=open_session, problem=problem)

    async def attempts(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: Sequence[SamplingParams],
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> list[Attempt]:
        """Returns attempts of the inner strategy with continued thoughts; see Strategy.attempts for the arguments."""
        waiting = Waiting(sampler, self.times, self.word)
        return await self.inner.attempts(waiting, prompt, params, open_session=open_session, problem=problem)


@dataclass(frozen=True)
class Waiting(SamplerWrapper):
    """Sampler that continues a thought with a forced word where the inner sampler closes it.

    Attributes:
        sampler: the inner sampler; if its transcripts have token ids, it must decode them.
        times: maximum number of forced words after each message of the user.
        word: the forced word, with its leading space.
    """

    times: int
    word: str

    async def extend(
        self, transcript: Transcript, sampling: SamplingParams, on_token: OnToken | None = None
    ) -> Transcript:
        """Returns `transcript` followed by a reply whose thought is continued; see `Sampler.extend` for the arguments.

        `on_token` is also called for the tokens of a replaced "</think>".

        Raises:
            SamplerError: the inner sampler raised it, or cannot decode its tokens.
        """
        stops = (*sampling.stop, CLOSE)
        left, waited = sampling.max_tokens, self._waited(transcript)
        while waited < self.times:
            before = transcript.cost
            transcript = await self.sampler.extend(transcript, replace(sampling, max_tokens=left, stop=stops), on_token)
            left -= max(transcript.cost - before, 1)  # an endpoint that reports no tokens must not loop for ever
            *_, last = transcript.spans
            if last.stop is not Stop.PHRASE or not _closed(transcript) or CLOSE in sampling.stop:
                return transcript
            if left <= 0:
                return replace(transcript, spans=(*transcript.spans[:-1], replace(last, stop=Stop.LENGTH)))
            if _closes_thought(transcript):
                transcript = self._continued(transcript)
                waited += 1
        return await self.sampler.extend(transcript, replace(sampling, max_tokens=left), on_token)

    def _waited(self, transcript: Transcript) -> int:
        """Returns the number of forced words since the last message of the user."""
        count = 0
        for span in transcript:
            count = 0 if span.author is Author.USER else count
            count += span.author is Author.FORCED and span.text == self.word
        return count

    def _continued(self, transcript: Transcript) -> Transcript:
        """Returns a transcript whose last span lost its "</think>", which is put aside, followed by the word."""
        *before, last = transcript.spans
        kept, closing = self._split(last)
        spans = [*before, kept] if kept.text or len(kept) else before
        rest = replace(transcript, spans=tuple(spans))
        return rest.aside([Tried(len(rest), (closing,))]) + Span(Author.FORCED, self.word)

    def _split(self, span: Span) -> tuple[Span, Span]:
        """Returns a span without the "</think>" at its end, and that end: the fewest tokens whose text contains it."""
        if span.tokens is None:
            kept = replace(span, text=span.text.rstrip().removesuffix(CLOSE), stop=Stop.LENGTH)
            return kept, Span(Author.MODEL, CLOSE, stop=Stop.THOUGHT, policy=span.policy)
        tokens = span.tokens
        cut = next(n for n in range(len(tokens) - 1, -1, -1) if n == 0 or CLOSE in self.sampler.decode(tokens[n:]))
        logprobs = (None, None) if span.logprobs is None else (span.logprobs[:cut], span.logprobs[cut:])
        texts = self.sampler.decode(tokens[:cut]), self.sampler.decode(tokens[cut:])
        kept = replace(span, text=texts[0], tokens=tokens[:cut], logprobs=logprobs[0], stop=Stop.LENGTH)
        return kept, replace(span, text=texts[1], tokens=tokens[cut:], logprobs=logprobs[1], stop=Stop.THOUGHT)


def _closed(transcript: Transcript) -> bool:
    """Returns whether a reply ends with "</think>"."""
    return transcript.reply.rstrip().endswith(CLOSE)


def _closes_thought(transcript: Transcript) -> bool:
    """Returns whether the "</think>" at the end of a reply closes an open thought."""
    before = transcript.reply.rstrip().removesuffix(CLOSE)
    return before.rfind(THINK) > before.rfind(CLOSE)


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
