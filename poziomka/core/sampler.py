"""The sampler interface: a sampler takes a transcript and returns a longer one."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from poziomka.core.errors import EnvironmentFailure, SamplerError, SettingsError, TranscriptError
from poziomka.core.transcript import Author, Transcript


@dataclass(frozen=True, slots=True)
class Floor:
    """Limit of confidence that ends a reply while it is sampled.

    Attributes:
        window: number of successive sampled tokens whose confidence is measured, 1 or more.
        logprob: mean log-probability of `window` tokens, in nats, below which the reply ends.

    Raises:
        SettingsError: the window is below 1.
    """

    window: int
    logprob: float

    def __post_init__(self) -> None:
        """Raises SettingsError if the window is below 1."""
        if self.window < 1:
            message = f"a window of confidences has 1 token or more: received {self.window}"
            raise SettingsError(message)


class FloorWatch:
    """Mean log-probability of the latest tokens of a reply, compared with a Floor; None never ends the reply."""

    __slots__ = ("_floor", "_latest", "_sum")

    def __init__(self, floor: Floor | None) -> None:
        """Begins before the first token."""
        self._floor, self._latest, self._sum = floor, deque[float](), 0.0

    def ends(self, logprob: float) -> bool:
        """Adds the log-probability of the next token; returns whether the reply ends with it."""
        if self._floor is None:
            return False
        self._latest.append(logprob)
        self._sum += logprob
        if len(self._latest) > self._floor.window:
            self._sum -= self._latest.popleft()
        return len(self._latest) == self._floor.window and self._sum < self._floor.logprob * self._floor.window


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Sampling parameters of one request.

    Attributes:
        temperature: divides the logits; 0 for greedy decoding.
        top_k: sample among the k most probable tokens; None for all.
        top_p: nucleus sampling: sample among the most probable tokens with this total probability; 1 for all.
        min_p: sample among the tokens with at least this share of the most probable token's probability; 0 for all.
        max_tokens: maximum number of sampled tokens, thinking tokens included.
        stop: strings that end the reply; they are kept in its text.
        min_thinking_tokens: minimum number of thinking tokens: the thought cannot be closed before.
        max_thinking_tokens: maximum number of thinking tokens: the thought is then closed by a forced "</think>"; None
            for no limit.
        seed: seed of this request.
        floor: ends a reply, with `Stop.LENGTH`, at a token at which its confidence falls below this limit; None for no
            limit. It needs a sampler with log-probabilities.

    Raises:
        SettingsError: a value is out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    min_thinking_tokens: int = 0
    max_thinking_tokens: int | None = None
    seed: int = 0
    floor: Floor | None = None

    def __post_init__(self) -> None:
        """Checks the ranges of all values.

        Raises:
            SettingsError: a value is out of range.
        """
        _demand(self.temperature >= 0, "temperature", self.temperature, "0 or more")
        _demand(self.top_k is None or self.top_k >= 1, "top_k", self.top_k, "1 or more, or None")
        _demand(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        _demand(0 <= self.min_p <= 1, "min_p", self.min_p, "from 0 to 1")
        _demand(self.max_tokens >= 1, "max_tokens", self.max_tokens, "1 or more")
        _demand(self.min_thinking_tokens >= 0, "min_thinking_tokens", self.min_thinking_tokens, "0 or more")
        most = self.max_thinking_tokens
        _demand(
            most is None or most >= self.min_thinking_tokens,
            "max_thinking_tokens",
            most,
            "at least min_thinking_tokens, or None",
        )
        _demand(all(self.stop), "stop", self.stop, "strings that are not empty")

    @property
    def plain(self) -> bool:
        """Whether tokens are sampled from the model's full distribution at a positive `temperature`.

        Only then are the stored log-probabilities those of the sampling distribution, which the policy gradient needs.
        """
        cut = self.top_k is not None or self.top_p < 1 or self.min_p > 0
        return self.temperature > 0 and not cut and self.min_thinking_tokens == 0


def _demand(holds: bool, name: str, value: object, range_: str) -> None:
    if not holds:
        message = f"sampling.{name} must be {range_}: received {value!r}"
        raise SettingsError(message)


OnToken = Callable[[Author, int | str], bool]  # (author, token id, or text without ids) → False to end the reply
OnBranchToken = Callable[[int, Author, int | str], bool]  # as OnToken, with the index of the branch first

Failed = TranscriptError | EnvironmentFailure  # errors that concern one request, and not the sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Features of a sampler.

    Attributes:
        token_ids: whether the spans of its transcripts have token ids.
        logprobs: whether the spans by the model have the log-probability of each sampled token.
        scoring: whether `Sampler.score` and `Sampler.next_logprobs` are supported.
        context: maximum length of a transcript, in tokens; None for no limit or an unknown one.
        dtype: lowest precision in which weights are multiplied, "bfloat16" for example; None if unknown.
        parameters: number of the model's parameters, by which its tokens are compared with those of another model; None
            if unknown.
        tokenizer: fingerprint of the tokenizer of its transcripts, `Transcript.tokenizer`; None if unknown.
    """

    token_ids: bool = False
    logprobs: bool = False
    scoring: bool = False
    context: int | None = None
    dtype: str | None = None
    parameters: int | None = None
    tokenizer: str | None = None


@dataclass(frozen=True, slots=True)
class NextTokens:
    """Log-probabilities of some candidates for the next token of a transcript.

    Attributes:
        logprobs: natural log-probability of each candidate at temperature 1, in the order of the request.
        read: number of tokens that the model read for this result. A prefix that concurrent requests share counts in
            only one of them if the sampler read it once.
    """

    logprobs: tuple[float, ...]
    read: int


class Sampler(ABC):
    """Interface of a sampler, which continues transcripts with a model's replies.

    Samplers are the local engine, llama.cpp, a remote endpoint, a script, or a wrapper of another sampler.
    """

    @property
    def capabilities(self) -> Capabilities:
        """Features of this sampler; the default is no feature."""
        return Capabilities()

    @abstractmethod
    async def extend(
        self, transcript: Transcript, sampling: SamplingParams, on_token: OnToken | None = None
    ) -> Transcript:
        """Returns `transcript` followed by the model's reply.

        Args:
            transcript: the prompt, or a conversation so far.
            sampling: parameters of the request.
            on_token: called with the author and the id (or the text, without ids) of each token of the reply as it is
                written; if it returns False, the reply ends there, with `Stop.LENGTH`.

        Raises:
            SamplerError: the transcript cannot be continued: too long, or tokens of another tokenizer.
        """

    async def branch(
        self, transcript: Transcript, samplings: Sequence[SamplingParams], on_token: OnBranchToken | None = None
    ) -> list[Transcript]:
        """Returns one continuation of `transcript` for each of `samplings`.

        Args:
            transcript: the shared prefix.
            samplings: parameters of each request.
            on_token: called as on_token(index of the continuation, author, token id or text) for each token of the
                continuations; if it returns False, that continuation ends there, with `Stop.LENGTH`.

        Raises:
            TranscriptError: a request failed; `try_branch` returns the other continuations.
            SamplerError: the sampler cannot sample at all.
        """
        found = await self.try_branch(transcript, samplings, on_token)
        failed = next((each for each in found if isinstance(each, Failed)), None)
        if failed is not None:
            raise failed
        return [each for each in found if isinstance(each, Transcript)]

    async def try_branch(
        self, transcript: Transcript, samplings: Sequence[SamplingParams], on_token: OnBranchToken | None = None
    ) -> list[Transcript | Failed]:
        """Returns a continuation of `transcript`, or the error of a request that failed alone, for each of `samplings`.

        This default implementation runs `extend` concurrently. A sampler with a prefix cache reads the transcript only
        once. The arguments are those of `branch`.

        Raises:
            SamplerError: the sampler cannot sample at all.
        """
        hears = [None if on_token is None else partial(on_token, index) for index in range(len(samplings))]
        requests = [self.extend(transcript, *request) for request in zip(samplings, hears, strict=True)]
        found = await asyncio.gather(*requests, return_exceptions=True)
        lasting = next(
            (each for each in found if isinstance(each, BaseException) and not isinstance(each, Failed)), None
        )
        if lasting is not None:
            raise lasting
        return [each for each in found if isinstance(each, Transcript | Failed)]

    async def score(self, transcript: Transcript, temperature: float = 1.0) -> list[float]:
        """Returns the log-probability of each token given the tokens before it, in nats; 0 for the first token.

        Args:
            transcript: the transcript, with token ids.
            temperature: divides the logits.

        Raises:
            SamplerError: this sampler cannot score.
        """
        message = f"{type(self).__name__} cannot score a transcript; use a local sampler"
        raise SamplerError(message)

    async def certainty(self, transcript: Transcript, temperature: float = 1.0) -> list[float]:
        """Returns the self-certainty of the model at each token, in nats, 0 or more; 0 for the first token.

        It is the divergence KL(U || p) = -mean over tokens j of log(V p_j) of the uniform distribution U over the V
        tokens of the vocabulary from the model's distribution p, given the tokens before (Kang et al. 2025, arXiv
        2502.18581). Token ids that are never sampled are left out.

        Args:
            transcript: the transcript, with token ids.
            temperature: divides the logits.

        Raises:
            SamplerError: this sampler has no distributions over the vocabulary.
        """
        message = f"{type(self).__name__} has no distributions over the vocabulary; use a local sampler"
        raise SamplerError(message)

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of token ids, decoded as the middle of a longer text.

        Raises:
            SamplerError: this sampler cannot decode token ids.
        """
        message = f"{type(self).__name__} cannot decode {len(tokens)} token ids; use a local sampler"
        raise SamplerError(message)

    async def next_logprobs(self, transcript: Transcript, texts: Sequence[str]) -> NextTokens:
        """Returns the log-probabilities of candidates for the next token, from one forward pass.

        They are those that `score` returns for the transcript followed by each candidate.

        Args:
            transcript: the prompt, or a conversation so far; the candidates begin the model's next reply.
            texts: the candidates, each the text of one token, "yes" for example.

        Raises:
            TranscriptError: the transcript cannot be continued: too long, or tokens of another tokenizer.
            SamplerError: this sampler cannot score, or a text is not one token of its tokenizer.
        """
        message = f"{type(self).__name__} has no log-probabilities of next tokens; use a local sampler"
        raise SamplerError(message)


@dataclass(frozen=True)
class SamplerWrapper(Sampler):
    """Base class of samplers that continue transcripts by requests to another sampler, which answers all else.

    Attributes:
        sampler: the inner sampler.
    """

    sampler: Sampler

    @property
    def capabilities(self) -> Capabilities:
        """Capabilities of the inner sampler."""
        return self.sampler.capabilities

    async def score(self, transcript: Transcript, temperature: float = 1.0) -> list[float]:
        """Returns the inner sampler's log-probability of each token of a transcript; see Sampler.score."""
        return await self.sampler.score(transcript, temperature)

    async def certainty(self, transcript: Transcript, temperature: float = 1.0) -> list[float]:
        """Returns the inner sampler's self-certainty at each token of a transcript; see Sampler.certainty."""
        return await self.sampler.certainty(transcript, temperature)

    async def next_logprobs(self, transcript: Transcript, texts: Sequence[str]) -> NextTokens:
        """Returns the inner sampler's log-probabilities of next tokens; see Sampler.next_logprobs."""
        return await self.sampler.next_logprobs(transcript, texts)

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the inner sampler's text of token ids."""
        return self.sampler.decode(tokens)


@runtime_checkable
class WeightHost(Protocol):
    """Interface of a sampler in which a trainer can replace the model's weights."""

    async def load_weights(self, version: str, weights: Mapping[str, Any]) -> None:
        """Replaces the weights; spans sampled from now on have `version` as their `policy`.

        Args:
            version: version of the weights, "step-000012" for example.
            weights: tensors by their names in the model's state dict.

        Raises:
            SamplerError: the weights do not fit the model.
        """

    async def release_weights(self) -> None:
        """Frees the memory of the weights until the next `load_weights`; does nothing if the sampler cannot free it."""
