"""The waist: a sampler takes a transcript and returns a longer one."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from poziomka.core.errors import SamplerError, SettingsError
from poziomka.core.transcript import Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Settings of one request.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: sample among the k likeliest tokens; None for all.
        top_p: sample among the likeliest tokens that hold this probability together; 1 for all.
        tokens: most tokens to write in this request, in and after the thought.
        stop: strings that end the reply once written; they are kept.
        think_least: thinking tokens before which the thought may not close.
        think_most: thinking tokens after which the thought is closed by a forced "</think>"; None for no limit.
        seed: names the randomness of this request.

    Raises:
        SettingsError: a value is out of its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    tokens: int = 512
    stop: tuple[str, ...] = ()
    think_least: int = 0
    think_most: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        _demand(self.temperature >= 0, "temperature", self.temperature, "0 or more")
        _demand(self.top_k is None or self.top_k >= 1, "top_k", self.top_k, "1 or more, or None")
        _demand(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        _demand(self.tokens >= 1, "tokens", self.tokens, "1 or more")
        _demand(self.think_least >= 0, "think_least", self.think_least, "0 or more")
        most = self.think_most
        _demand(most is None or most >= self.think_least, "think_most", most, "at least think_least, or None")
        _demand(all(self.stop), "stop", self.stop, "strings that are not empty")

    @property
    def plain(self) -> bool:
        """Whether tokens are drawn from the model's own distribution at `temperature`, nothing cut away.

        Only then are the stored log-probabilities those of the sampling distribution, which reinforcement needs.
        """
        return self.temperature > 0 and self.top_k is None and self.top_p == 1 and self.think_least == 0


def _demand(holds: bool, name: str, value: object, range_: str) -> None:
    if not holds:
        message = f"sampling.{name} must be {range_}: received {value!r}"
        raise SettingsError(message)


class Sampler(ABC):
    """Whoever writes replies: the local engine, an endpoint, a pool, a script, or a strategy over any of them."""

    @property
    def dtype(self) -> str | None:
        """In what the weights are computed with, the coarsest of them: "bfloat16", say; None where nobody knows."""
        return None

    @abstractmethod
    async def extend(self, transcript: Transcript, sampling: Sampling) -> Transcript:
        """Returns `transcript` with the model's next words after it.

        Raises:
            SamplerError: the transcript cannot be continued (too long, another tokenizer's, …).
        """

    async def branch(self, transcript: Transcript, samplings: Sequence[Sampling]) -> list[Transcript]:
        """Returns one continuation for each of `samplings`; a sampler that can shares the work on the prefix."""
        return list(await asyncio.gather(*(self.extend(transcript, sampling) for sampling in samplings)))

    async def score(self, transcript: Transcript, temperature: float = 1.0) -> list[float]:
        """Returns the log-probability of each token given those before it (0 for the first).

        Raises:
            SamplerError: this sampler cannot score.
        """
        message = f"{type(self).__name__} cannot score a transcript; ask a local sampler"
        raise SamplerError(message)

    def adopt(self, version: str, weights: object) -> None:
        """Takes new weights; every span written from now on names `version` as its policy.

        Raises:
            SamplerError: this sampler has no weights of its own.
        """
        message = f"{type(self).__name__} has no weights that could become {version!r}"
        raise SamplerError(message)

    def rest(self) -> None:  # noqa: B027 most have nothing to give back
        """Gives back the memory of its weights, where it can: they are about to change.

        It writes and scores again once it has adopted others.
        """
