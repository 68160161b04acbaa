"""States of prefixes that were read before, so that a later turn reads only what is new."""

from collections import Counter, OrderedDict

import torch
from torch import Tensor

from poziomka.inference.prefix_pool import Pool
from poziomka.models.cache import Memory

CPU = torch.device("cpu")


class PrefixCache:
    """Least recently used states go first.

    Args:
        tokens: most tokens that all prefixes together may have.
        nbytes: most bytes that their states together may take.
        device: where they are kept.
    """

    def __init__(self, tokens: int = 65_536, nbytes: int = 1 << 30, device: torch.device = CPU) -> None:
        """Starts empty."""
        self.room = tokens
        self.pool = Pool(nbytes, device)
        self._states: OrderedDict[bytes, Tensor] = OrderedDict()  # blocks in the pool
        self._lengths: Counter[int] = Counter()
        self._used = 0

    def __len__(self) -> int:
        """Number of prefixes."""
        return len(self._states)

    def put(self, key: bytes, memory: Memory, row: int) -> None:
        """Remembers a row's state after the tokens whose bytes are `key` (four a token), unless it is too large."""
        if key in self._states:
            self._states.move_to_end(key)
            return
        parts = memory.parts(row)
        tokens, nbytes = len(key) // 4, sum(part.nbytes for part in parts)
        if tokens > self.room or not self.pool.could_hold(nbytes):
            return
        while self._used + tokens > self.room or not self.pool.fits(nbytes):
            self.forget(next(iter(self._states)))
        self._states[key] = self.pool.put(parts)
        self._lengths[len(key)] += 1
        self._used += tokens

    def longest(self, tokens: bytes) -> int:
        """Returns the number of tokens of the longest known prefix of `tokens`; 0 where there is none."""
        for length in sorted(self._lengths, reverse=True):
            if length <= len(tokens) and tokens[:length] in self._states:
                self._states.move_to_end(tokens[:length])
                return length // 4
        return 0

    def load(self, key: bytes, memory: Memory, row: int) -> None:
        """Writes the state of a known prefix into a row, which must have room."""
        memory.load(row, self.pool.get(self._states[key]), len(key) // 4)

    def forget(self, key: bytes) -> None:
        """Forgets a prefix, if it is known."""
        if key not in self._states:
            return
        self.pool.free(self._states.pop(key))
        self._used -= len(key) // 4
        self._lengths[len(key)] -= 1
        if not self._lengths[len(key)]:
            del self._lengths[len(key)]

    def clear(self) -> None:
        """Forgets everything: the weights changed."""
        self._states.clear()
        self._lengths.clear()
        self._used = 0
        self.pool.clear()
