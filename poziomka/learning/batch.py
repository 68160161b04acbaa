"""Weighted examples packed into rows, so that next to nothing that is computed is padding.

Shapes: `B` rows, `T` places in a row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from poziomka.learning.weighting import Example
from poziomka.models.architecture import Packing


@dataclass(frozen=True)
class Batch:
    """One optimizer step's worth of tokens.

    Attributes:
        tokens: [B, T] ids; 0 where padded.
        packing: which sequence a place belongs to, and where in it.
        policy_weight: [B, T] weight of the policy gradient on the token at this place.
        imitate_weight: [B, T] weight of the next-token loss on the token at this place.
        logprobs: [B, T] the sampler's log-probabilities.
        sequences: number of sequences.
    """

    tokens: Tensor
    packing: Packing
    policy_weight: Tensor
    imitate_weight: Tensor
    logprobs: Tensor
    sequences: int

    @classmethod
    def pack(cls, examples: Sequence[Example], row: int = 128) -> "Batch":
        """Packs examples into rows of at least `row` places, or as long as the longest example.

        Longest first, each into the fullest row it still fits (best fit decreasing).
        """
        length = max([row, *(len(example.tokens) for example in examples)])
        rows = _best_fit([len(example.tokens) for example in examples], length)
        shape = (len(rows), length)
        tokens, position = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        sequence = np.full(shape, -1, np.int64)
        policy, imitate, logprobs = (np.zeros(shape, np.float32) for _ in range(3))
        for number, members in enumerate(rows):
            start = 0
            for member in members:
                example = examples[member]
                place = slice(start, start + len(example.tokens))
                tokens[number, place], sequence[number, place] = example.tokens, member
                position[number, place] = np.arange(len(example.tokens))
                policy[number, place], imitate[number, place] = example.policy, example.imitate
                logprobs[number, place] = example.logprobs
                start = place.stop
        used = int((sequence >= 0).sum(1).max(initial=0))
        arrays = (tokens, sequence, position, policy, imitate, logprobs)
        t = [torch.from_numpy(np.ascontiguousarray(array[:, :used])) for array in arrays]
        return cls(t[0], Packing(t[1], t[2]), t[3], t[4], t[5], len(examples))

    @property
    def real(self) -> int:
        """Places that hold a token."""
        return int((self.packing.sequence >= 0).sum())

    @property
    def real_share(self) -> float:
        """Share of the computed places that hold a token."""
        return self.real / max(self.tokens.numel(), 1)

    def split(self, places: int) -> Iterator["Batch"]:
        """Yields parts of whole rows with at most `places` places each (but one row at least).

        Weights carry the whole batch's normaliser, so the gradients of the parts add up to the batch's.
        """
        step = max(1, places // max(self.tokens.shape[1], 1))
        for start in range(0, len(self.tokens), step):
            part = slice(start, start + step)
            packing = Packing(self.packing.sequence[part], self.packing.position[part])
            policy, imitate = self.policy_weight[part], self.imitate_weight[part]
            yield Batch(self.tokens[part], packing, policy, imitate, self.logprobs[part], self.sequences)

    def to(self, device: torch.device) -> "Batch":
        """Returns the batch on a device."""
        packing = Packing(self.packing.sequence.to(device), self.packing.position.to(device))
        tensors = (self.policy_weight, self.imitate_weight, self.logprobs)
        policy, imitate, logprobs = (tensor.to(device) for tensor in tensors)
        return Batch(self.tokens.to(device), packing, policy, imitate, logprobs, self.sequences)


def _best_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Returns which examples share a row; ties go to the earlier example and the earlier row."""
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(room + 1)]  # rows by the places they have left
    for member in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        size = lengths[member]
        left = next((left for left in range(size, room + 1) if by_room[left]), None)
        if left is None:
            rows.append([])
            number, left = len(rows) - 1, room
        else:
            number = by_room[left].pop(0)
        rows[number].append(member)
        by_room[left - size].append(number)
    return rows
