"""Block pool that stores the states of the prefix cache in one bounded buffer instead of many small tensors."""

from collections.abc import Sequence
from heapq import heappop, heappush

import torch
from torch import Tensor

from poziomka.models.cache import zeros

BLOCK = 16 << 10  # bytes


class Pool:
    """Pool that allocates and frees blocks of 16 KiB in one buffer, lowest block number first.

    On a CPU the system commits the memory of a block when the block is first written.

    Args:
        most: maximum bytes of all blocks together.
        device: device of the buffer.
    """

    def __init__(self, most: int, device: torch.device) -> None:
        """Creates an empty pool without a buffer."""
        self.most, self.device = most, device
        self.clear()

    def clear(self) -> None:
        """Frees all blocks and the memory of the buffer."""
        self.used = 0  # blocks
        self._free: list[int] = []
        self._blocks: Tensor | None = None
        self._fresh = 0  # blocks from this number on were never used

    @property
    def nbytes(self) -> int:
        """Bytes of the allocated blocks."""
        return self.used * BLOCK

    def could_hold(self, nbytes: int) -> bool:
        """Whether `nbytes` would fit into an empty pool."""
        return blocks_of(nbytes) * BLOCK <= self.most

    def fits(self, nbytes: int) -> bool:
        """Whether `nbytes` fit beside the allocated blocks."""
        return (self.used + blocks_of(nbytes)) * BLOCK <= self.most

    def put(self, parts: Sequence[Tensor]) -> Tensor:
        """Copies tensors into newly allocated blocks and returns the numbers of the blocks; the tensors must fit."""
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
        """Returns the bytes of the given blocks as one uint8 tensor; the last block may end with padding."""
        return self._store(self._fresh)[blocks].flatten()

    def free(self, blocks: Tensor) -> None:
        """Frees blocks by their numbers."""
        self.used -= len(blocks)
        for number in blocks.tolist():
            heappush(self._free, number)

    def _store(self, count: int) -> Tensor:
        """Returns the buffer [blocks, 16 KiB], grown to at least `count` blocks."""
        most = self.most // BLOCK
        if self._blocks is None:
            self._blocks = zeros((most if self.device.type == "cpu" else count, BLOCK), _like(self.device))
        if len(self._blocks) < count:
            longer = zeros((min(most, max(count, 2 * len(self._blocks))), BLOCK), _like(self.device))
            longer[: len(self._blocks)] = self._blocks
            self._blocks = longer
        return self._blocks


def blocks_of(nbytes: int) -> int:
    """Returns the number of blocks, of 16 KiB each, that `nbytes` bytes need."""
    return -(-nbytes // BLOCK)


def _like(device: torch.device) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=device)
