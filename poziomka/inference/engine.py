"""Continuous batching over token ids: requests join and leave at any step.

The engine knows no text, no chat and no tools. Requests whose prefix is the same are read once and forked;
a prefix that was read in an earlier turn is taken up where it stood; a finished row leaves at once, and only the
rows that fill the holes move. With the same requests in the same order it repeats bit for bit.

A replacement of the weights between two steps goes on with the memory that the old weights made (as PipelineRL
does, arXiv 2509.19128); spans tell which policy wrote which token, and their log-probabilities are the writer's.
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
from poziomka.inference.prefix_cache import PrefixCache
from poziomka.inference.sequence import Marks, Piece, Request, Row, nothing
from poziomka.inference.token_sampling import choose, uniforms
from poziomka.models.base import Architecture
from poziomka.models.cache import Memory, room_for
from poziomka.models.layers.linear import unpacked

LEAST_ROWS = 8  # a matrix product's rows are bitwise independent of their number only from about here up
KEPT_IDLE = 64 << 20  # bytes of states that an engine without work may keep
READ_AT_ONCE = 16_384  # padded prompt tokens in one forward pass


@dataclass
class Counters:
    """Positions the engine has computed, padding apart."""

    read: int = 0  # prefix tokens
    written: int = 0  # tokens of decoding steps
    padded: int = 0  # computed and thrown away
    steps: int = 0


class Load(NamedTuple):
    """What an engine has to do: requests being written, requests that wait, and tokens written of the former."""

    rows: int
    waiting: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """How much the engine holds at once."""

    rows: int = 1024  # requests in the batch; more wait
    context: int | None = None  # tokens of a transcript; None: as many as the model reads
    cached: int = 65_536  # tokens of prefixes kept for later turns
    cached_bytes: int = 1 << 30  # bytes of their states
    park_all: bool = field(default=False)  # keep every finished reply's state, not only where a tool's answer follows


class Engine:
    """Writes tokens.

    Args:
        model: whose weights write; the engine keeps a copy of its own.
        marks: end tokens and how a thought closes.
        decode: ids to text, for stop strings.
        policy: names the version of the weights.
        limits: rows, context, cached prefixes.
    """

    def __init__(
        self,
        model: Architecture,
        marks: Marks,
        decode: Callable[[Sequence[int]], str],
        policy: str = "initial",
        limits: EngineLimits | None = None,
    ) -> None:
        """Starts with nothing to do."""
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
        """Most tokens of a transcript, the smaller of the limit and what the model reads; None for any number."""
        return min((most for most in (self.limits.context, self.model.context) if most is not None), default=None)

    @property
    def busy(self) -> bool:
        """Whether a request waits or is being written."""
        return bool(self._rows or self._waiting)

    @property
    def load(self) -> Load:
        """What there is to do now; another thread may ask."""
        rows = list(self._rows)
        return Load(len(rows), len(self._waiting), sum(row.place - len(row.request.tokens) for row in rows))

    def submit(self, request: Request) -> None:
        """Takes a request; it joins at the next step.

        A reply ends with Stop.LENGTH where the transcript has as many tokens as the context; a request that has as many
        already is done at once, with a piece of no tokens.

        Raises:
            TranscriptError: the request has no tokens, or one that the model does not have.
            SamplerError: the engine rests.
        """
        self._demand_awake()
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
        """Drops all requests, waiting and begun: after a failed step nobody knows what their states hold."""
        self._waiting.clear()
        self._rows = []
        self._memory = self._empty()

    def adopt(self, version: str, weights: Mapping[str, Tensor]) -> None:
        """Takes new weights (names of the model's state) between two steps.

        Raises:
            SamplerError: they do not fit; the old weights stay as they were.
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
        """Gives back the memory of weights that are about to change, unless somebody waits for what they write."""
        if not self.busy:
            self.resting = True
            self.cache.clear()
            self.model.rest()

    def _demand_awake(self) -> None:
        if self.resting:
            message = "the engine has given back the memory of its weights: let it adopt the new ones first"
            raise SamplerError(message)

    def weights(self) -> dict[str, Tensor]:
        """Returns the weights that write now, by the names of the model's state."""
        self._demand_awake()
        return unpacked(self.model)

    @torch.inference_mode()
    def step(self) -> None:
        """Admits who waits, writes one token in every row, and lets the finished go."""
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
        """Gives back memory that the rows no longer need: the learner, or other rows, need it."""
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
        """Reads each row's next token; returns logits [rows, V]."""
        rows = len(self._rows)
        computed = max(rows, LEAST_ROWS)
        inputs = torch.zeros(computed, 1, dtype=torch.long)
        inputs[:rows, 0] = torch.tensor([row.next for row in self._rows])
        self._memory.rows = computed  # the rows beyond ours are spare capacity, read and thrown away
        hidden = self.model(inputs.to(self.model.device), self._memory)
        self._memory.lengths[rows:] = 0
        self._memory.rows = rows
        self.counters.written += rows
        self.counters.padded += computed - rows
        return self.model.logits(hidden[:, 0])[:rows]

    def _choose(self, logits: Tensor) -> tuple[list[int], list[float]]:
        """Returns each row's coming token and its log-probability; a forced token is taken as it is."""
        rows, vocabulary, device = self._rows, logits.shape[1], logits.device
        for number, row in enumerate(rows):
            row.force(self.marks.close)
            for token in row.forbids(self.marks, self.decode):
                logits[number, token] = -torch.inf
        seeds = np.fromiter((row.seed for row in rows), np.uint64, len(rows))
        places = np.fromiter((row.place for row in rows), np.uint64, len(rows))
        settings = [row.request.sampling for row in rows]
        temperature = torch.tensor([how.temperature for how in settings], device=device)
        cut_k, cut_p = any(how.top_k for how in settings), any(how.top_p < 1 for how in settings)
        chosen, logprobs = choose(
            logits,
            torch.from_numpy(uniforms(seeds, places)).to(device),
            temperature,
            torch.tensor([how.top_k or vocabulary for how in settings], device=device) if cut_k else None,
            torch.tensor([how.top_p for how in settings], device=device) if cut_p else None,
        )
        tokens = [row.forced[0] if row.forced else token for row, token in zip(rows, chosen.tolist(), strict=True)]
        return tokens, self._finite(logprobs.tolist())

    def _finite(self, logprobs: list[float]) -> list[float]:
        """Returns log-probabilities that are numbers; one that is not comes from logits that are NaN or infinite.

        Raises:
            SamplerError: one is not a number.
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
        """Reads the prefixes of those who wait, each different one once, and lets them join."""
        alike: dict[bytes, list[Request]] = {}
        room = self.limits.rows - len(self._rows)
        while self._waiting and room > 0:
            request = self._waiting.popleft()
            if not request.cancelled:
                alike.setdefault(request.tokens.tobytes(), []).append(request)
                room -= 1
        plans = [(key, self.cache.longest(key[:-4])) for key in alike]
        plans.sort(key=lambda plan: len(plan[0]) // 4 - plan[1])  # like with like: little padding
        for chunk in _chunks(plans):
            memory = self._read(chunk)
            copies = [number for number, (key, _) in enumerate(chunk) for _ in alike[key]]
            self._memory.join(memory, torch.tensor(copies, dtype=torch.long, device=self.model.device))
            self._rows += [Row(request, self.context) for key, _ in chunk for request in alike[key]]
        if not self.limits.park_all:  # a conversation goes on from its newest state only
            for key, known in plans:
                self.cache.forget(key[: 4 * known])

    def _read(self, plans: "Sequence[Plan]") -> Memory:
        """Returns a memory with one row a plan, everything but the last token read."""
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
        """Keeps the state of a row that will be taken up again; its last token has not been read yet.

        A state that older weights had a part in is not kept: who takes it up would not get what these weights say.
        """
        if not row.swapped and (row.pieces[-1].stop is Stop.PHRASE or self.limits.park_all):
            self.cache.put(row.written[:-1].tobytes(), self._memory, number)

    def _drop(self, finished: list[bool]) -> None:
        """Lets rows go; the last ones move into the holes."""
        if not any(finished):
            return
        count = finished.count(False)
        movers = iter([number for number, over in enumerate(finished) if not over and number >= count])
        order = [next(movers) if finished[number] else number for number in range(count)]
        self._memory.keep(torch.tensor(order, dtype=torch.long, device=self.model.device))
        self._rows = [self._rows[number] for number in order]

    @torch.inference_mode()
    def score(self, tokens: Sequence[int], temperature: float = 1.0) -> list[float]:
        """Returns the log-probability of each token given those before it; 0 for the first.

        At temperature 0, where nothing is drawn, they are those of temperature 1, as in `choose`.

        Raises:
            TranscriptError: there are more tokens than the model reads.
            SamplerError: the logits are not finite, or the engine rests.
        """
        self._demand_awake()
        if self.model.context is not None and len(tokens) > self.model.context:
            message = (
                f"a transcript of {len(tokens)} tokens cannot be scored by a model that reads {self.model.context}"
            )
            raise TranscriptError(message)
        ids = torch.tensor(tokens, dtype=torch.long, device=self.model.device).unsqueeze(0)
        logprobs = torch.log_softmax(self.model.logits(self.model(ids)[0, :-1]) / (temperature or 1.0), -1)
        return [0.0, *self._finite(logprobs.gather(1, ids[0, 1:, None]).squeeze(1).tolist())]


Plan = tuple[bytes, int]  # a prefix's bytes, and how many of its tokens are known


def _chunks(plans: Sequence[Plan]) -> Iterable[Sequence[Plan]]:
    """Cuts plans, shortest first, into forward passes of bounded size whose rows are about equally long."""
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


__all__ = ["Counters", "Engine", "EngineLimits", "Marks", "Piece", "Request"]
