"""Judges that need no training: an exact checker, a function, and the policy's own confidence in a reply."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from poziomka.core.errors import SettingsError, reason_of
from poziomka.core.problem import Problem
from poziomka.core.rollout import Cost
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import Sampler
from poziomka.core.transcript import Author, Span, Transcript
from poziomka.thinking.judges.judge import Judge, Judgement


@dataclass(frozen=True)
class ExactJudge(Judge):
    """Judge that runs the task's scorer, which knows the gold answer: value 1 for a correct reply, else 0.

    It belongs to training and to upper bounds: best-of-n with this judge is pass@n. In a chat, or behind a `Thinker`,
    there is no problem, and it raises SettingsError.

    Attributes:
        scoring: scores the replies; the scorer's time is not in the cost.
    """

    scoring: Scoring

    async def judge(
        self, transcripts: Sequence[Transcript], *, problem: Problem | None = None, seed: int = 0
    ) -> list[Judgement]:
        """Returns 1 or 0 for each transcript; a failed judgement if the check failed. See Judge.judge."""
        if problem is None:
            message = "an exact judge needs the problem, which a chat does not have: choose a judge that needs none"
            raise SettingsError(message)
        scores = await asyncio.gather(*(self.scoring.score(problem, transcript) for transcript in transcripts))
        return [
            Judgement.failed(score.why) if score.reward is None else Judgement(float(score.correct), why=score.why)
            for score in scores
        ]


@dataclass(frozen=True)
class FunctionJudge(Judge):
    """Judge that calls a function of the problem and the transcript, such as the exact value of a toy task.

    In a chat, or behind a `Thinker`, there is no problem, and the function receives None.

    Attributes:
        value: returns the probability, 0 to 1, that a reply, or the beginning of one, is or will be correct. A
            transcript for which it raises gets a failed judgement. Its time is not in the cost.
    """

    value: Callable[[Problem | None, Transcript], float]

    async def judge(
        self, transcripts: Sequence[Transcript], *, problem: Problem | None = None, seed: int = 0
    ) -> list[Judgement]:
        """Returns the value of each transcript; a failed judgement where the function raised. See Judge.judge."""
        return [self._judged(problem, transcript) for transcript in transcripts]

    def _judged(self, problem: Problem | None, transcript: Transcript) -> Judgement:
        try:
            return Judgement(self.value(problem, transcript))
        except Exception as error:  # noqa: BLE001 a function may raise anything; all of it becomes a failed judgement
            return Judgement.failed(reason_of(error))


@dataclass(frozen=True)
class Logprobs(Judge):
    """Judge that reads the log-probabilities with which the sampler chose the reply's tokens; it costs nothing.

    The value is exp(c), the geometric mean of the tokens' probabilities. Without `window`, c is the mean
    log-probability of the reply. With it, c is the lowest mean over `window` successive tokens, the "lowest group
    confidence" of DeepConf (Fu et al. 2025, arXiv 2508.15260, section 3); there, a token's confidence is the mean over
    the 20 most probable tokens, here it is that of the sampled token, which is what spans store.

    Attributes:
        window: number of tokens of a group, 1 or more; a shorter reply is one group. None for the whole reply.

    Raises:
        SettingsError: the window is below 1.
    """

    window: int | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError if the window is below 1."""
        _demand_window(self.window)

    async def judge(
        self, transcripts: Sequence[Transcript], *, problem: Problem | None = None, seed: int = 0
    ) -> list[Judgement]:
        """Returns the value of each transcript; a failed judgement for a reply without sampled tokens.

        Raises:
            SettingsError: a reply has no log-probabilities, because its sampler returns none.
        """
        return [self._judge(transcript) for transcript in transcripts]

    def _judge(self, transcript: Transcript) -> Judgement:
        values: list[float] = []
        for span in _replied(transcript):
            if span.logprobs is None:
                message = "the sampler returns no log-probabilities to judge by: use a local sampler, or another judge"
                raise SettingsError(message)
            values.extend(span.logprobs)
        if not values:
            return Judgement.failed("the reply has no sampled token")
        return Judgement(math.exp(min(lowest_mean(values, self.window), 0.0)))  # rounding can exceed 0


@dataclass(frozen=True)
class SelfCertainty(Judge):
    """Judge that reads how far the policy's distributions at the reply's tokens are from uniform.

    Self-certainty (Kang et al. 2025, arXiv 2502.18581, equation 3) is the mean c over the reply's tokens of KL(U || p),
    in nats; see `Sampler.certainty`. The value is c / (1 + c): it has the order of c, and is no probability. The policy
    reads each transcript once more, which is in the cost.

    Attributes:
        sampler: sampler of the policy.
        window: number of tokens of a group: c is then the lowest mean over `window` successive tokens, as in
            `Logprobs`. None for the whole reply.

    Raises:
        SettingsError: the window is below 1.
    """

    sampler: Sampler
    window: int | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError if the window is below 1."""
        _demand_window(self.window)

    @property
    def parameters(self) -> int | None:
        """Number of parameters of the policy; None if unknown."""
        return self.sampler.capabilities.parameters

    async def judge(
        self, transcripts: Sequence[Transcript], *, problem: Problem | None = None, seed: int = 0
    ) -> list[Judgement]:
        """Returns the value of each transcript; a failed judgement for a reply without sampled tokens.

        Raises:
            SamplerError: the sampler has no distributions over the vocabulary.
        """
        return list(await asyncio.gather(*map(self._judge, transcripts)))

    async def _judge(self, transcript: Transcript) -> Judgement:
        found = await self.sampler.certainty(transcript)
        cost = Cost(judged=len(found))
        start = len(transcript) - sum(map(len, since_prompt(transcript)))
        mine = transcript.by(Author.MODEL)
        values = [value for place, value in enumerate(found) if place >= start and mine[place]]
        if not values:
            return Judgement(None, cost, "the reply has no sampled token")
        mean = lowest_mean(values, self.window)
        return Judgement(0.0 if mean < 0 else mean / (1 + mean), cost)  # rounding can be below 0


def lowest_mean(values: Sequence[float], window: int | None) -> float:
    """Returns the lowest mean over `window` successive values; the mean of all if there are no more, or it is None."""
    if window is None or window >= len(values):
        return math.fsum(values) / len(values)
    groups = (values[end - window : end] for end in range(window, len(values) + 1))
    return min(math.fsum(group) for group in groups) / window


def _replied(transcript: Transcript) -> list[Span]:
    """Returns the spans of the model after the last message of the user or system."""
    return [span for span in since_prompt(transcript) if span.author is Author.MODEL]


def _demand_window(window: int | None) -> None:
    if window is not None and window < 1:
        message = f"a window of confidences has 1 token or more: received {window}"
        raise SettingsError(message)


def since_prompt(transcript: Transcript) -> Sequence[Span]:
    """Returns the spans after the last message of the user or system: the reply, with what an environment said."""
    asks = [place for place, span in enumerate(transcript) if span.author in (Author.USER, Author.SYSTEM)]
    return transcript.spans[asks[-1] + 1 :] if asks else transcript.spans
