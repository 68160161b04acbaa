"""LocalSampler: the sampler interface over the engine, with a model in this process."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from poziomka.core.errors import ModelError, SamplerError
from poziomka.core.sampler import Capabilities, NextTokens, OnToken, Sampler, SamplingParams
from poziomka.core.transcript import Transcript
from poziomka.inference.engine import Engine, EngineLimits
from poziomka.inference.next_tokens import Probe, answer, demand_readable
from poziomka.inference.sequence import Piece, Request
from poziomka.inference.spans import marks_of, read_by, spans_of, thought_in
from poziomka.models.base import Architecture
from poziomka.models.text.chat import ChatFormat

SETTLED = 4  # event-loop iterations without a new request after which the engine steps


class LocalSampler(Sampler):
    """Samples from a model in this process, with continuous batching.

    The engine steps between iterations of the caller's event loop, after all tasks that can run have submitted their
    requests. So the composition of batches does not depend on timing, and a run repeats bit for bit.

    Args:
        model: architecture with weights, of which the sampler keeps its own copy.
        chat: tokenizer and chat format.
        policy: version of the weights.
        limits: batch size, context length and prefix cache; None for the defaults.

    Raises:
        SamplerError: the tokenizer has more tokens than the model.
    """

    def __init__(
        self, model: Architecture, chat: ChatFormat, policy: str = "initial", limits: EngineLimits | None = None
    ) -> None:
        """Creates the engine with a copy of the model."""
        tokenizer = chat.tokenizer
        if model.vocabulary < len(tokenizer):
            message = f"a model of {model.vocabulary} tokens cannot write with a tokenizer of {len(tokenizer)}"
            raise SamplerError(message)
        self.chat = chat
        self.engine = Engine(model, marks_of(tokenizer), tokenizer.decode, policy, limits)
        self._pump: asyncio.Task[None] | None = None
        self._asked = 0
        self._asking: set[asyncio.Future[Any]] = set()
        self._probes: list[Probe] = []

    @property
    def policy(self) -> str:
        """Version of the current weights, recorded on the spans that they sample."""
        return self.engine.policy

    @property
    def context(self) -> int | None:
        """Maximum length of a transcript, in tokens, at which a reply ends; None for no maximum."""
        return self.engine.context

    @property
    def capabilities(self) -> Capabilities:
        """Features: token ids, log-probabilities and scoring; `dtype` is the lowest precision of a weight."""
        weights = list(self.engine.model.parameters())
        coarsest = max((weight.dtype for weight in weights), key=lambda d: torch.finfo(d).eps)
        return Capabilities(
            token_ids=True,
            logprobs=True,
            scoring=True,
            context=self.context,
            dtype=str(coarsest).removeprefix("torch."),
            parameters=sum(weight.numel() for weight in weights),
            tokenizer=self.chat.tokenizer.fingerprint,
        )

    async def extend(
        self, transcript: Transcript, sampling: SamplingParams, on_token: OnToken | None = None
    ) -> Transcript:
        """Returns `transcript` followed by the model's reply; see `Sampler.extend` for the arguments.

        Raises:
            TranscriptError: the chat format rejects the messages, the tokenizer cannot encode the text, or a token is
                not in the model's vocabulary.
            SamplerError: the weights are released, or the logits are not finite.
        """
        transcript = self.read(transcript)
        started = time.perf_counter()
        future: asyncio.Future[list[Piece]] = asyncio.get_running_loop().create_future()

        def finish(pieces: list[Piece]) -> None:
            if not future.done():
                future.set_result(pieces)

        thought = thought_in(transcript, self.chat.tokenizer)
        request = Request(transcript.tokens, sampling, *thought, finish, on_token=on_token)
        self.engine.submit(request)
        self._asking.add(future)
        self._wake()
        try:
            pieces = await future
        except asyncio.CancelledError:
            request.cancelled = True
            raise
        finally:
            self._asking.discard(future)
        return transcript + spans_of(pieces, self.chat.tokenizer.decode, time.perf_counter() - started)

    def _wake(self) -> None:
        """Starts the task that steps the engine, unless it is running in this event loop."""
        self._asked += 1
        loop = asyncio.get_running_loop()
        if self._pump is None or self._pump.done() or self._pump.get_loop() is not loop:
            self._pump = loop.create_task(self._run())

    async def _run(self) -> None:
        """Steps the engine until all requests are finished; a failing step raises its error in all pending requests."""
        while self.engine.busy or self._probes:
            await self._settle()
            try:
                if self._probes:
                    probes, self._probes = self._probes, []
                    answer(self.engine, probes)
                if self.engine.busy:
                    self.engine.step()
            except Exception as error:  # noqa: BLE001 any error must reach the pending requests
                self.engine.forget()
                for future in self._asking:
                    if not future.done():
                        future.set_exception(error)

    async def _settle(self) -> None:
        """Waits until 4 iterations of the event loop have passed without a new request."""
        quiet = 0
        while quiet < SETTLED:
            before = self._asked
            await asyncio.sleep(0)
            quiet = quiet + 1 if self._asked == before else 0

    async def score(self, transcript: Transcript, temperature: float = 1.0) -> list[float]:
        """Returns the log-probability of each token given those before it, in nats; 0 for the first.

        Args:
            transcript: the transcript to score.
            temperature: divides the logits; 0 is scored at temperature 1.
        """
        return self.engine.score(self.read(transcript).tokens, temperature)

    async def certainty(self, transcript: Transcript, temperature: float = 1.0) -> list[float]:
        """Returns the self-certainty at each token, in nats; 0 for the first. See `Sampler.certainty`."""
        return self.engine.certainty(self.read(transcript).tokens, temperature)

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of token ids, decoded as the middle of a longer text."""
        return self.chat.tokenizer.decode(tokens)

    async def next_logprobs(self, transcript: Transcript, texts: Sequence[str]) -> NextTokens:
        """Returns the log-probabilities of candidates for the next token; see `Sampler.next_logprobs`.

        Concurrent requests are computed in one batch, and long prefixes that they share are read once.
        """
        tokens = self.read(transcript).tokens
        candidates = tuple(map(self._token_of, texts))
        future: asyncio.Future[NextTokens] = asyncio.get_running_loop().create_future()

        def finish(found: NextTokens) -> None:
            if not future.done():
                future.set_result(found)

        probe = Probe(tokens, candidates, finish)
        demand_readable(self.engine, probe)
        self._probes.append(probe)
        self._asking.add(future)
        self._wake()
        try:
            return await future
        finally:
            self._asking.discard(future)

    def _token_of(self, text: str) -> int:
        """Returns the token id of a text; raises SamplerError if it is not one token."""
        try:
            tokens = self.chat.tokenizer.encode(text)
        except ModelError as error:
            raise SamplerError(str(error)) from error
        if len(tokens) != 1:
            message = f"a candidate for the next token is one token: {text!r} is {len(tokens)}; give a shorter word"
            raise SamplerError(message)
        return tokens[0]

    def read(self, transcript: Transcript) -> Transcript:
        """Returns the transcript with tokens on every span, as `extend` continues it.

        Raises:
            TranscriptError: the chat format rejects the messages, or the tokenizer cannot encode the text.
        """
        return read_by(self.chat, transcript)

    async def load_weights(self, version: str, weights: Mapping[str, Any]) -> None:
        """Replaces the weights; unfinished replies continue with the new ones in a new span.

        Args:
            version: version of the weights, recorded as the policy of spans.
            weights: tensors by their names in the model's state dict.

        Raises:
            SamplerError: the weights do not fit the model.
        """
        if not isinstance(weights, Mapping):
            message = f"weights are tensors by name: received {type(weights).__name__} for version {version!r}"
            raise SamplerError(message)
        self.engine.adopt(version, weights)

    async def release_weights(self) -> None:
        """Releases weight memory until the next `load_weights`; does nothing while requests are pending."""
        self.engine.rest()
