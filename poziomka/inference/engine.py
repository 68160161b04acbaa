"""Continuous batching over token ids: requests join and leave at any step.

The engine works on token ids only; text, chat formats and tools are handled by its callers. Requests with the same
prompt are prefilled once and forked. The prefix cache supplies the state of a prompt from an earlier turn. A finished
sequence leaves the batch at once, and only the sequences that fill its place are moved. The same requests in the same
order give bitwise identical output.

When weights are replaced between two steps, unfinished sequences continue with the decode cache of the old weights (as
in PipelineRL, arXiv 2509.19128). Each piece records the policy that sampled its tokens, and its log-probabilities are
those of that policy.
"""

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from poziomka.core.errors import SamplerError, TranscriptError
from poziomka.core.transcript import Stop
from poziomka.inference.distributions import certainties, logprobs
from poziomka.inference.prefix_cache import PrefixCache
from poziomka.inference.sequence import Piece, Request, Row, SpecialTokens, nothing
from poziomka.inference.token_sampling import Cuts, choose, uniforms
from poziomka.models.base import Architecture
from poziomka.models.cache import Memory, room_for
from poziomka.models.layers.linear import unpacked

LEAST_ROWS = 8  # smallest batch: below about 8 rows, a matrix product's results depend bitwise on the number of rows
KEPT_IDLE = 64 << 20  # bytes of decode cache that an idle engine may keep
READ_AT_ONCE = 16_384  # padded prompt tokens in one forward pass


@dataclass
class Counters:
    """Token positions computed so far: `read` in prompts, `written` in decoding `steps`, and `padded` (discarded)."""

    read: int = 0  # prompt tokens
    written: int = 0  # tokens of decoding steps
    padded: int = 0  # padding: computed and discarded
    steps: int = 0


class Load(NamedTuple):
    """Current load: sequences in the batch, requests in the queue, and tokens generated so far for those sequences."""

    rows: int
    waiting: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """Limits on batch size, context length and the prefix cache.

    Attributes:
        rows: maximum sequences in the batch; further requests are queued.
        context: maximum tokens of a transcript; None for the model's own limit.
        cached: maximum tokens in the prefix cache.
        cached_bytes: maximum bytes of the states in the prefix cache.
        park_all: whether to cache all finished replies, not only those that ended at a stop string.
    """

    rows: int = 1024
    context: int | None = None
    cached: int = 65_536
    cached_bytes: int = 1 << 30
    park_all: bool = field(default=False)


class Engine:
    """Generates tokens for many requests in one batch.

    Args:
        model: the model to sample from; the engine keeps its own copy of the weights.
        marks: end tokens, and the tokens that open and close a thought.
        decode: turns token ids into text, to find stop strings.
        policy: version of the weights, recorded on every piece.
        limits: batch size, context length and prefix cache; None for the defaults.
    """

    def __init__(
        self,
        model: Architecture,
        marks: SpecialTokens,
        decode: Callable[[Sequence[int]], str],
        policy: str = "initial",
        limits: EngineLimits | None = None,
    ) -> None:
        """Copies the model for sampling and starts with an empty batch."""
        self.model = model.for_sampling()
        self.marks, self.decode, self.policy = marks, decode, policy
        self.limits = limits or EngineLimits()
        self.counters = Counters()
        self.cache = PrefixCache(self.limits.cached, self.limits.cached_bytes, self.model.device)
        self.resting = False
        self._waiting: deque[Request] = deque()
        self._rows: list[Row] = []
        self._memory = self._empty()

    def _empty(self) -> Memory:
        memory = self.model.memory(LEAST_ROWS, 64)
        memory.rows = 0
        return memory

    @property
    def context(self) -> int | None:
        """Maximum tokens of a transcript: the smaller of `limits.context` and the model's own; None for no maximum."""
        return min((most for most in (self.limits.context, self.model.context) if most is not None), default=None)

    @property
    def busy(self) -> bool:
        """Whether any request is queued or in the batch."""
        return bool(self._rows or self._waiting)

    @property
    def load(self) -> Load:
        """Number of sequences, queued requests and generated tokens now; may be read from another thread."""
        rows = list(self._rows)
        return Load(len(rows), len(self._waiting), sum(row.place - len(row.request.tokens) for row in rows))

    def submit(self, request: Request) -> None:
        """Queues a request; it joins the batch at the next step.

        A reply ends with Stop.LENGTH when the transcript reaches `context` tokens. A request whose prompt is already
        that long finishes immediately, with one piece of no tokens.

        Raises:
            TranscriptError: the request has no tokens, or a token id outside the model's vocabulary.
            SamplerError: the engine has released its weights.
        """
        self.demand_awake()
        if not request.tokens:
            message = "a request needs at least one token to go on from: received none"
            raise TranscriptError(message)
        if not 0 <= min(request.tokens) <= max(request.tokens) < self.model.vocabulary:
            strange = next(token for token in request.tokens if not 0 <= token < self.model.vocabulary)
            message = (
                f"a transcript has token {strange}, and the model has {self.model.vocabulary} tokens: read it with the "
                "tokenizer of this model"
            )
            raise TranscriptError(message)
        if self.context is not None and len(request.tokens) >= self.context:
            request.done([nothing(self.policy)])
            return
        self._waiting.append(request)

    def forget(self) -> None:
        """Drops all requests without calling `done`, for use after a failed step: decode caches are undefined then."""
        self._waiting.clear()
        self._rows = []
        self._memory = self._empty()

    def adopt(self, version: str, weights: Mapping[str, Tensor]) -> None:
        """Loads new weights between two steps and clears the prefix cache.

        Args:
            version: the policy's new name.
            weights: tensors by their names in the model's state dict.

        Raises:
            SamplerError: names or shapes differ from the model's; the old weights are unchanged.
        """
        own = {name: tensor.shape for name, tensor in self.model.state_dict().items()}
        given = {name: getattr(tensor, "shape", None) for name, tensor in weights.items()}
        wrong = sorted(name for name in {*own, *given} if own.get(name) != given.get(name))
        if wrong:
            name = wrong[0]
            message = (
                f"the weights of version {version!r} do not fit the engine's model: {len(wrong)} of {len(own)} differ, "
                f"{name!r} for one ({given.get(name, 'absent')} instead of {own.get(name, 'absent')})"
            )
            raise SamplerError(message)
        self.model.sample_with(weights)
        self.resting = False
        self.policy = version
        self.cache.clear()
        for row in self._rows:
            row.swapped = True

    def rest(self) -> None:
        """Releases weight memory until the next `adopt` and clears the prefix cache, unless requests are pending."""
        if not self.busy:
            self.resting = True
            self.cache.clear()
            self.model.rest()

    def demand_awake(self) -> None:
        """Raises SamplerError if the engine has released its weights."""
        if self.resting:
            message = "the engine has given back the memory of its weights: load weights first"
            raise SamplerError(message)

    def weights(self) -> dict[str, Tensor]:
        """Returns the current weights by their names in the model's state dict."""
        self.demand_awake()
        return unpacked(self.model)

    @torch.inference_mode()
    def step(self) -> None:
        """Runs one decoding step: admits queued requests, samples one token each, and removes finished sequences."""
        self._drop([row.request.cancelled for row in self._rows])
        self._admit()
        if not self._rows:
            return
        self.counters.steps += 1
        tokens, logprobs = self._choose(self._decode())
        finished = [
            row.write(token, logprob, self.policy, self.marks, self.decode)
            for row, token, logprob in zip(self._rows, tokens, logprobs, strict=True)
        ]
        for number, (row, over) in enumerate(zip(self._rows, finished, strict=True)):
            if over:
                self._park(number, row)
                row.request.done(row.pieces)
        self._drop(finished)
        self._shrink()

    def _shrink(self) -> None:
        """Shrinks the decode cache if it is much larger than the batch needs, to free memory for the learner."""
        memory = self._memory
        if memory.nbytes <= KEPT_IDLE:
            return
        if not self.busy:
            self._memory = self._empty()
            return
        capacity = max(len(self._rows), LEAST_ROWS)
        longest = int(memory.lengths.max()) + 1 if self._rows else 1
        room = room_for(longest) if memory.growing else memory.room
        if capacity * max(room, 1) < 0.7 * memory.capacity * max(memory.room, 1):
            memory.resize(capacity, room)

    def _decode(self) -> Tensor:
        """Runs the model on each sequence's last token and returns the logits of the next, [rows, V]."""
        rows = len(self._rows)
        computed = max(rows, LEAST_ROWS)
        inputs = torch.zeros(computed, 1, dtype=torch.long)
        inputs[:rows, 0] = torch.tensor([row.next for row in self._rows])
        self._memory.rows = computed  # rows beyond the batch are spare capacity, computed and discarded
        hidden = self.model(inputs.to(self.model.device), self._memory)
        self._memory.lengths[rows:] = 0
        self._memory.rows = rows
        self.counters.written += rows
        self.counters.padded += computed - rows
        return self.model.logits(hidden[:, 0])[:rows]

    def _choose(self, logits: Tensor) -> tuple[list[int], list[float]]:
        """Returns each sequence's next token id, and the log-probability (nats) of the token that was sampled for it.

        A forced token replaces the sampled one; `Row.write` does not record the log-probability then.
        """
        rows, vocabulary, device = self._rows, logits.shape[1], logits.device
        for number, row in enumerate(rows):
            row.force(self.marks.close)
            for token in row.forbids(self.marks, self.decode):
                logits[number, token] = -torch.inf
        seeds = np.fromiter((row.seed for row in rows), np.uint64, len(rows))
        places = np.fromiter((row.place for row in rows), np.uint64, len(rows))
        settings = [row.request.sampling for row in rows]
        temperature = torch.tensor([how.temperature for how in settings], device=device)
        chosen, logprobs = choose(
            logits,
            torch.from_numpy(uniforms(seeds, places)).to(device),
            temperature,
            Cuts.of(settings, vocabulary, device),
        )
        tokens = [row.forced[0] if row.forced else token for row, token in zip(rows, chosen.tolist(), strict=True)]
        return tokens, self.finite(logprobs.tolist())

    def finite(self, logprobs: list[float]) -> list[float]:
        """Returns the log-probabilities unchanged if none is NaN, which NaN or infinite logits cause.

        Raises:
            SamplerError: a log-probability is NaN.
        """
        if not any(map(math.isnan, logprobs)):
            return logprobs
        bad = [name for name, weight in unpacked(self.model).items() if not weight.isfinite().all()]
        found = f"{bad[0]} holds NaN or infinity" if bad else "all weights are finite, so a product overflowed"
        message = (
            f"the model's logits are not finite at policy {self.policy!r}: {found}; sample from an earlier checkpoint, "
            "or load the weights again"
        )
        raise SamplerError(message)

    def _admit(self) -> None:
        """Moves queued requests into the batch; each distinct prompt is prefilled once and forked."""
        alike: dict[bytes, list[Request]] = {}
        room = self.limits.rows - len(self._rows)
        while self._waiting and room > 0:
            request = self._waiting.popleft()
            if not request.cancelled:
                alike.setdefault(request.tokens.tobytes(), []).append(request)
                room -= 1
        plans = [(key, self.cache.longest(key[:-4])) for key in alike]
        plans.sort(key=lambda plan: len(plan[0]) // 4 - plan[1])  # similar lengths together need little padding
        for chunk in _chunks(plans):
            memory = self._read(chunk)
            copies = [number for number, (key, _) in enumerate(chunk) for _ in alike[key]]
            self._memory.join(memory, torch.tensor(copies, dtype=torch.long, device=self.model.device))
            self._rows += [Row(request, self.context) for key, _ in chunk for request in alike[key]]
        if not self.limits.park_all:  # a conversation continues from its newest state only
            for key, known in plans:
                self.cache.forget(key[: 4 * known])

    def _read(self, plans: "Sequence[Plan]") -> Memory:
        """Prefills all but the last token of each prompt; returns a decode cache with one row for each prompt."""
        fresh = [array("i", key[4 * known : -4]) for key, known in plans]
        longest = max(map(len, fresh))
        if longest:
            longest = max(longest, -(-LEAST_ROWS // len(plans)))
        memory = self.model.memory(len(plans), max(known for _, known in plans) + longest)
        for row, (key, known) in enumerate(plans):
            if known:
                self.cache.load(key[: 4 * known], memory, row)
        if longest:
            tokens = torch.zeros(len(plans), longest, dtype=torch.long)
            for number, ids in enumerate(fresh):
                tokens[number, : len(ids)] = torch.tensor(ids)
            counts = torch.tensor([len(ids) for ids in fresh], device=self.model.device)
            self.model(tokens.to(self.model.device), memory, counts=counts)
            self.counters.read += int(counts.sum())
            self.counters.padded += tokens.numel() - int(counts.sum())
        return memory

    def _park(self, number: int, row: Row) -> None:
        """Stores a finished sequence's state in the prefix cache: after a stop string, or always with `park_all`.

        The key leaves out the last token, which the model has not read. A state that older weights computed in part is
        not stored, because a later request would not be sampled from the current weights alone.
        """
        if not row.swapped and (row.pieces[-1].stop is Stop.PHRASE or self.limits.park_all):
            self.cache.put(row.written[:-1].tobytes(), self._memory, number)

    def _drop(self, finished: list[bool]) -> None:
        """Removes the sequences for which `finished` is True from the batch; its last ones move into their places."""
        if not any(finished):
            return
        count = finished.count(False)
        movers = iter([number for number, over in enumerate(finished) if not over and number >= count])
        order = [next(movers) if finished[number] else number for number in range(count)]
        self._memory.keep(torch.tensor(order, dtype=torch.long, device=self.model.device))
        self._rows = [self._rows[number] for number in order]

    @torch.inference_mode()
    def score(self, tokens: Sequence[int], temperature: float = 1.0) -> list[float]:
        """Returns the log-probability, in nats, of each token given the tokens before it; 0 for the first.

        Raises:
            TranscriptError: the sequence is longer than the model's context.
            SamplerError: the logits are not finite, or the engine has released its weights.
        """
        self.demand_awake()
        return self.finite(logprobs(self.model, tokens, temperature))

    def certainty(self, tokens: Sequence[int], temperature: float = 1.0) -> list[float]:
        """Returns the model's certainty at each token, in nats; 0 for the first. See `Sampler.certainty`.

        Raises:
            TranscriptError: the sequence is longer than the model's context.
            SamplerError: the logits are not finite, or the engine has released its weights.
        """
        self.demand_awake()
        return self.finite(certainties(self.model, tokens, temperature))


Plan = tuple[bytes, int]  # a prompt's token ids as bytes, and how many of its tokens the prefix cache has


def _chunks(plans: Sequence[Plan]) -> Iterable[Sequence[Plan]]:
    """Splits prompts, sorted by length, into prefill batches of similar lengths and at most 16,384 tokens.

    A single longer prompt is a batch of its own. Lengths are those without the tokens in the prefix cache.
    """
    chunk: list[Plan] = []
    for plan in plans:
        fresh = len(plan[0]) // 4 - plan[1]
        first = len(chunk[0][0]) // 4 - chunk[0][1] if chunk else fresh
        if chunk and (fresh * (len(chunk) + 1) > READ_AT_ONCE or fresh > 2 * first + 16):
            yield chunk
            chunk = []
        chunk.append(plan)
    if chunk:
        yield chunk


__all__ = ["Counters", "Engine", "EngineLimits", "Piece", "Request", "SpecialTokens"]
