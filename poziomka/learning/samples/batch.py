"""Training batches: weighted sequences packed into rows with little padding.

Shapes: `B` rows, `T` positions of a row.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heapreplace
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poziomka.learning.samples.weighting import Example
from poziomka.models.base import Packing
from poziomka.models.layers.sharing import Sharing, Texts

ENOUGH = 0.97  # share of real tokens at which the search for a better packing stops


@dataclass(frozen=True)
class Batch:
    """Packed tokens of one optimizer step, with a weight for each token and loss term.

    Attributes:
        tokens: [B, T] ids; 0 for padding.
        packing: number of the sequence, and position in the sequence, of each token.
        policy_weight: [B, T] weight of the policy gradient of each token.
        imitate_weight: [B, T] weight of the next-token loss of each token.
        match_weight: [B, T] weight of the divergence of each token.
        logprobs: [B, T] the sampler's log-probabilities; 0 for tokens that were not sampled.
        sequences: number of sequences.
        units: (length of a shared prefix, lengths of its continuations) for each prefix, in the order of the single
            row; () if prefixes are not shared.
        old: [B, T] the learner's log-probabilities before its first step on the batch; None if it takes only one.
        draw: number that seeds the dropout of passes over the batch; None gives the learner's number of steps taken.
    """

    tokens: Tensor
    packing: Packing
    policy_weight: Tensor
    imitate_weight: Tensor
    match_weight: Tensor
    logprobs: Tensor
    sequences: int
    units: "tuple[Unit, ...]" = ()
    old: Tensor | None = None
    draw: int | None = None

    @classmethod
    def share(cls, examples: Sequence[Example], places: int) -> "Batch":
        """Packs sequences into one row, longest first, and stores each shared prefix once.

        A prefix ends before the token that predicts the first trained token; each sequence has its own copy of that
        token. Attention pads to the longest sequence of a microbatch; the matrix products have no padding.

        Args:
            examples: the sequences; those with the same prefix share it.
            places: largest number of tokens of a microbatch (see `split`); a prefix whose sequences need more is stored
                once in each of several microbatches.
        """
        families: dict[bytes, list[Example]] = {}
        for example in examples:
            families.setdefault(example.tokens[: _unlearned(example)].tobytes(), []).append(example)
        units = [unit for key, family in families.items() for unit in _units(len(key) // 4, family, places)]
        units.sort(key=lambda unit: -max(len(example.tokens) for example in unit[1]))
        total = sum(prefix + sum(len(e.tokens) - prefix for e in members) for prefix, members in units)
        tokens, position, sequence = (np.zeros((1, total), np.int64) for _ in range(3))
        policy, imitate, match, logprobs = (np.zeros((1, total), np.float32) for _ in range(4))
        start = count = 0
        for prefix, members in units:
            for number, example in enumerate(members):
                skip = prefix if number else 0
                place = slice(start, start + len(example.tokens) - skip)
                tokens[0, place], sequence[0, place] = example.tokens[skip:], count
                position[0, place] = np.arange(skip, len(example.tokens))
                policy[0, place], imitate[0, place] = example.policy[skip:], example.imitate[skip:]
                match[0, place], logprobs[0, place] = example.match[skip:], example.logprobs[skip:]
                start, count = place.stop, count + 1
        t = [torch.from_numpy(array) for array in (tokens, sequence, position, policy, imitate, match, logprobs)]
        shape = tuple((prefix, tuple(len(e.tokens) - prefix for e in members)) for prefix, members in units)
        return cls(t[0], Packing(t[1], t[2]), t[3], t[4], t[5], t[6], len(examples), shape)

    @classmethod
    def pack(cls, examples: Sequence[Example], row: int = 128) -> "Batch":
        """Packs sequences into rows of about `row` tokens, or longer rows if those have less padding.

        Sequences are placed longest first, each into the fullest row with room for it (best fit decreasing), or into
        the emptiest row if that has less padding.

        Args:
            examples: the sequences.
            row: preferred number of tokens of a row.
        """
        lengths = [len(example.tokens) for example in examples]
        rows = _fit(lengths, row)
        shape = (len(rows), max((sum(lengths[member] for member in members) for members in rows), default=0))
        tokens, position = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        sequence = np.full(shape, -1, np.int64)
        policy, imitate, match, logprobs = (np.zeros(shape, np.float32) for _ in range(4))
        for number, members in enumerate(rows):
            start = 0
            for member in members:
                example = examples[member]
                place = slice(start, start + len(example.tokens))
                tokens[number, place], sequence[number, place] = example.tokens, member
                position[number, place] = np.arange(len(example.tokens))
                policy[number, place], imitate[number, place] = example.policy, example.imitate
                match[number, place], logprobs[number, place] = example.match, example.logprobs
                start = place.stop
        t = [torch.from_numpy(array) for array in (tokens, sequence, position, policy, imitate, match, logprobs)]
        return cls(t[0], Packing(t[1], t[2]), t[3], t[4], t[5], t[6], len(examples))

    @property
    def real(self) -> int:
        """Number of tokens in the batch, padding excluded."""
        return int((self.packing.sequence >= 0).sum())

    @property
    def stretches(self) -> list[tuple[int, int]]:
        """(Start, end) position of each text within its sequence; a shared prefix is a text of its own."""
        if not self.units:
            sequence = self.packing.sequence
            return [(0, int(count)) for count in torch.bincount(sequence[sequence >= 0])]
        found = []
        for prefix, owns in self.units:
            found += [(0, prefix), *((prefix, prefix + own) for own in owns)]
        return found

    @property
    def real_share(self) -> float:
        """Share of the B × T positions that are tokens, 0 to 1; the others are padding."""
        return self.real / max(self.tokens.numel(), 1)

    def _changed(self, change: Callable[[Tensor], Tensor], packing: Packing) -> "Batch":
        """Returns the batch with another packing, and `change` applied to every other tensor."""
        names = ("tokens", "policy_weight", "imitate_weight", "match_weight", "logprobs")
        tensors: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        tensors["old"] = None if self.old is None else change(self.old)
        return replace(self, packing=packing, **tensors)

    def split(self, places: int) -> Iterator["Batch"]:
        """Yields microbatches of at most `places` positions, padding included, but of at least one row or unit.

        Rows, and units of a shared prefix with its continuations, are not divided.

        Weights include the normaliser of the whole batch, so the gradients of the parts add up to the batch's.
        """
        if self.units:
            yield from self._split_units(places)
            return
        step = max(1, places // max(self.tokens.shape[1], 1))
        for start in range(0, len(self.tokens), step):
            part = slice(start, start + step)
            packing = Packing(self.packing.sequence[part], self.packing.position[part])
            yield self._changed(itemgetter(part), packing)

    def _split_units(self, places: int) -> "Iterator[Batch]":
        start = end = 0
        part: list[Unit] = []
        for unit in (*self.units, None):
            size = unit[0] + sum(unit[1]) if unit else 0
            if part and (unit is None or end - start + size > places):
                cut = slice(start, end)
                packing = Packing(self.packing.sequence[:, cut], self.packing.position[:, cut], _sharing(part))
                changed = self._changed(itemgetter((slice(None), cut)), packing)
                yield replace(changed, sequences=sum(len(owns) for _, owns in part), units=tuple(part))
                part, start = [], end
            if unit:
                part.append(unit)
                end += size

    def to(self, device: torch.device) -> "Batch":
        """Returns the batch with its tensors on a device."""
        given = self.packing
        sharing = None if given.sharing is None else given.sharing.to(device)
        packing = Packing(given.sequence.to(device), given.position.to(device), sharing)
        return self._changed(lambda tensor: tensor.to(device), packing)


Text = tuple[np.ndarray, np.ndarray]  # indices of the tokens of a prefix, and of its continuation
Unit = tuple[int, tuple[int, ...]]  # length of a shared prefix, and of its continuation in each sequence


def _unlearned(example: Example) -> int:
    """Returns the length of the sharable prefix: all tokens before the one that predicts the first trained token."""
    for place, weights in enumerate(zip(example.policy, example.imitate, example.match, strict=True)):
        if any(weights):
            return max(place - 1, 0)
    return max(len(example.tokens) - 1, 0)


def _units(prefix: int, family: Sequence[Example], places: int) -> Iterator[tuple[int, list[Example]]]:
    """Yields (prefix, sequences): the sequences of a prefix in units of at most `places` tokens or one sequence."""
    unit: list[Example] = []
    size = prefix
    for example in family:
        own = len(example.tokens) - prefix
        if unit and size + own > places:
            yield prefix, unit
            unit, size = [], prefix
        unit.append(example)
        size += own
    yield prefix, unit


def _sharing(units: Sequence[Unit]) -> Sharing:
    """Returns the attention indices of consecutive units, each a shared prefix with its continuations."""
    prefixes: list[Text] = []
    others: list[Text] = []
    start = 0
    for prefix, owns in units:
        before = np.arange(start, start + prefix)
        if prefix:
            prefixes.append((before[:0], before))
        start += prefix
        for count in owns:
            others.append((before, np.arange(start, start + count)))
            start += count
    home, parts, entries = np.empty(start, np.int64), [], 0
    for texts in filter(None, (prefixes, others)):
        mine = [own for _, own in texts]
        asks, real = _padded(mine)
        home[np.concatenate(mine)] = entries + real
        entries += asks.size
        parts.append(_texts(texts, asks, start))
    return Sharing(tuple(parts), torch.from_numpy(home))


def _texts(texts: Sequence[Text], asks: np.ndarray, places: int) -> Texts:
    whole = [np.concatenate(text) for text in texts]
    reads, real = _padded(whole)
    read = np.concatenate(whole)
    order = np.argsort(read, kind="stable")
    ends = np.bincount(read, minlength=places).cumsum()
    starts = np.array([len(before) for before, _ in texts])
    return Texts(*(torch.from_numpy(each) for each in (reads, asks, starts, real[order], ends)))


def _padded(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows padded to the longest with their last entry, and the indices (row-major) of the unpadded entries."""
    longest = max(map(len, rows))
    padded = np.stack([np.pad(row, (0, longest - len(row)), "edge") for row in rows])
    return padded, np.concatenate([number * longest + np.arange(len(row)) for number, row in enumerate(rows)])


def _fit(lengths: Sequence[int], row: int) -> list[list[int]]:
    """Returns the sequences of each row: rows of `row` tokens if they have little padding, else longer rows.

    Longer rows pack better and cost more attention, so the first packing with ENOUGH real tokens is taken, else the
    best.
    """
    longest, total = max(lengths, default=0), sum(lengths)
    best: list[list[int]] = []
    least = math.inf
    for room in (max(row, longest), *(longest * halves // 2 for halves in range(2, 13))):
        for rows in (_best_fit(lengths, room), _even(lengths, -(-total // max(room, 1)))):
            computed = len(rows) * max((sum(lengths[member] for member in members) for members in rows), default=0)
            if computed < least:
                best, least = rows, computed
            if total >= ENOUGH * least:
                return best
    return best


def _best_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Returns the sequences of each row: longest first, each put into the fullest row with room for it.

    Ties go to the earlier sequence and row.
    """
    rows: list[list[int]] = []
    spaces: list[tuple[int, int]] = []  # free tokens and number of each row, sorted
    for member in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        size = lengths[member]
        at = bisect_left(spaces, (size, 0))
        if at == len(spaces):
            rows.append([])
            spaces.append((room, len(rows) - 1))
        left, number = spaces.pop(at)
        rows[number].append(member)
        insort(spaces, (left - size, number))
    return rows


def _even(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Returns the sequences of each row: longest first, each put into the emptiest of `count` rows.

    Rows of several sequences then have similar lengths.
    """
    rows: list[list[int]] = [[] for _ in range(count)]
    loads = [(0, number) for number in range(count)]
    for member in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        load, number = loads[0]
        heapreplace(loads, (load + lengths[member], number))
        rows[number].append(member)
    return [members for members in rows if members]
