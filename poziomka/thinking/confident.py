"""DeepConf online: replies that become unsure end while they are sampled, by a threshold that the first ones set."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.sampler import Floor, Sampler, SamplingParams
from poziomka.core.strategy import Attempt, OpenSession, Strategy
from poziomka.core.transcript import AnswerReader, Transcript
from poziomka.thinking.ensemble import Ensemble
from poziomka.thinking.judges.confidence import Logprobs
from poziomka.thinking.judges.judge import Judge
from poziomka.thinking.majority import answers_of, elected, votes_of

GROUP = Logprobs(window=64)
ROUNDING = 1e-5  # nats: samplers store log-probabilities in 32 bits, and add them in another order than the judge


@dataclass(frozen=True)
class ConfidentVotes(Strategy):
    """Weighted majority voting that ends a reply once a group of its tokens is less confident than a threshold.

    DeepConf, online (Fu et al. 2025, arXiv 2508.15260). The first replies, `warmup`, are sampled in full; the threshold
    is the quantile 1 - `keep` of their lowest group confidences. The sampler ends each further reply as soon as the
    confidence of its last tokens is below it. Replies that reach the threshold vote, weighted by their confidence.
    Confidence is that of the judge: here the mean log-probability of the sampled tokens, there of the 20 most probable
    ones. The paper's other saving, to sample no further once the vote is decided, is that of `AdaptiveConsistency`.

    Attributes:
        votes: number of replies per attempt, more than `warmup`.
        warmup: number of replies that set the threshold, 1 or more.
        keep: share of the first replies that reach the threshold, above 0 and at most 1; the paper has 0.1 and 0.9.
        judge: `Logprobs` with a window, the number of tokens of a group; the paper has 2,048.
        read: reader of answers for the vote, as that of `Majority`.
        inner: strategy that makes the replies.

    Raises:
        SettingsError: a number is out of range, or the judge is another one or has no window.
    """

    votes: int
    warmup: int = 16
    keep: float = 0.5
    judge: Judge = GROUP
    read: AnswerReader | None = None
    inner: Strategy = SINGLE_REPLY

    def __post_init__(self) -> None:
        """Raises SettingsError if a number is out of range, or the judge is another one or has no window."""
        if not 1 <= self.warmup < self.votes or not 0 < self.keep <= 1:
            message = (
                "DeepConf needs 1 reply or more that set the threshold, further ones, and a share above 0 and at most "
                f"1: received {self.warmup} of {self.votes}, {self.keep}"
            )
            raise SettingsError(message)
        if not isinstance(self.judge, Logprobs) or self.judge.window is None:
            message = f"DeepConf watches log-probabilities, its judge is Logprobs(window): received {self.judge!r:.80}"
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
        """Returns an attempt with the branches of all replies, answered by a reply with the winning answer.

        Raises:
            SettingsError: the sampler returns no log-probabilities.
        """
        if not sampler.capabilities.logprobs:
            message = f"DeepConf watches log-probabilities, which {type(sampler).__name__} lacks: use a local sampler"
            raise SettingsError(message)
        ensemble = Ensemble(self.inner, sampler, open_session, problem)
        members = await ensemble.sample(prompt, votes_of(params, self.warmup))
        confidences = await ensemble.weigh(self.judge, members, params.seed)
        least = quantile(confidences.values(), 1 - self.keep)
        further = replace(params, floor=self._floor(least))
        others = await ensemble.sample(prompt, votes_of(further, self.votes - self.warmup, self.warmup))
        confidences |= await ensemble.weigh(self.judge, others, params.seed)
        members += others
        trusted = {index: value for index, value in confidences.items() if value >= least * math.exp(-ROUNDING)}
        return ensemble.attempt(elected(members, answers_of(members, self.read), trusted))

    def _floor(self, least: float) -> Floor | None:
        """Returns the limit at which samplers end a reply, for a threshold of the judge's values; None for 0."""
        window = self.judge.window if isinstance(self.judge, Logprobs) else None
        return None if window is None or not least else Floor(window, math.log(least) - ROUNDING)


def quantile(values: Iterable[float], share: float) -> float:
    """Returns the value below which a share of some values is, interpolated linearly between two; 0 without a value.

    Args:
        values: the values.
        share: 0 for the smallest value, 1 for the largest.
    """
    ordered = sorted(values)
    if not ordered:
        return 0.0
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
