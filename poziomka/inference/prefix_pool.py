"""Blocks of bytes in which states of prefixes are kept: one mapping with a bound, and no small tensors on the heap."""

from collections.abc import Sequence
from heapq import heappop, heappush

import torch
from torch import Tensor

from poziomka.models.cache import zeros

BLOCK = 16 << 10  # bytes


class Pool:
    """Blocks that are taken, lowest first, and given back.

    On a CPU the system commits the memory of a block when it is first written.

    Args:
        most: bytes of all blocks together.
        device: where they are.
    """

    def __init__(self, most: int, device: torch.device) -> None:
        """Takes no memory yet."""
        self.most, self.device = most, device
        self.clear()

    def clear(self) -> None:
        """Gives everything back."""
        self.used = 0  # blocks
        self._free: list[int] = []
        self._blocks: Tensor | None = None
        self._fresh = 0  # blocks from here on were never used

    @property
    def nbytes(self) -> int:
        """Bytes of the blocks that are taken."""
        return self.used * BLOCK

    def could_hold(self, nbytes: int) -> bool:
        """Whether so many bytes fit where nothing else is there."""
        return blocks_of(nbytes) * BLOCK <= self.most

    def fits(self, nbytes: int) -> bool:
        """Whether so many bytes fit beside what is there."""
        return (self.used + blocks_of(nbytes)) * BLOCK <= self.most

    def put(self, parts: Sequence[Tensor]) -> Tensor:
        """Returns the numbers of the blocks that now hold the bytes of `parts`; they must fit."""
        flat = torch.cat([part.contiguous().view(torch.uint8).flatten() for part in parts])
        count = blocks_of(len(flat))
        numbers = [heappop(self._free) for _ in range(min(count, len(self._free)))]
        numbers += range(self._fresh, self._fresh + count - len(numbers))
        self._fresh = max(self._fresh, max(numbers, default=-1) + 1)
        self.used += count
        where = torch.tensor(numbers, dtype=torch.long, device=self.device)
        flat = torch.nn.functional.pad(flat, (0, count * BLOCK - len(flat)))
        self._store(self._fresh)[where] = flat.view(count, BLOCK)
        return where

    def get(self, blocks: Tensor) -> Tensor:
        """Returns the bytes of blocks, in a row."""
        return self._store(self._fresh)[blocks].flatten()

    def free(self, blocks: Tensor) -> None:
        """Gives blocks back."""
        self.used -= len(blocks)
        for number in blocks.tolist():
            heappush(self._free, number)

    def _store(self, count: int) -> Tensor:
        """Returns all blocks, `count` of them at least."""
        most = self.most // BLOCK
        if self._blocks is None:
            self._blocks = zeros((most if self.device.type == "cpu" else count, BLOCK), _like(self.device))
        if len(self._blocks) < count:
            longer = zeros((min(most, max(count, 2 * len(self._blocks))), BLOCK), _like(self.device))
            longer[: len(self._blocks)] = self._blocks
            self._blocks = longer
        return self._blocks


def blocks_of(nbytes: int) -> int:
    """Returns how many blocks hold so many bytes."""
    return -(-nbytes // BLOCK)


def _like(device: torch.device) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=device)
