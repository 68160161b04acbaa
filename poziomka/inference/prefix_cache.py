"""Prefix cache: decode states of earlier prompts, so that a later turn prefills only its new tokens."""

from collections import Counter, OrderedDict

import torch
from torch import Tensor

from poziomka.inference.prefix_pool import Pool
from poziomka.models.cache import Memory

CPU = torch.device("cpu")


class PrefixCache:
    """LRU cache of decode states, keyed by the token ids of a prefix.

    A key is the prefix's token ids as bytes, four for each token.

    Args:
        tokens: maximum tokens of all prefixes together.
        nbytes: maximum bytes of all states together.
        device: device that stores the states.
    """

    def __init__(self, tokens: int = 65_536, nbytes: int = 1 << 30, device: torch.device = CPU) -> None:
        """Creates an empty cache."""
        self.room = tokens
        self.pool = Pool(nbytes, device)
        self._states: OrderedDict[bytes, Tensor] = OrderedDict()  # blocks in the pool
        self._lengths: Counter[int] = Counter()
        self._used = 0

    def __len__(self) -> int:
        """Number of cached prefixes."""
        return len(self._states)

    def put(self, key: bytes, memory: Memory, row: int) -> None:
        """Stores the state of one sequence, evicting older ones; a state larger than the whole cache is not stored.

        Args:
            key: the sequence's token ids as bytes, four for each token.
            memory: the decode cache that contains the state.
            row: the sequence's row in `memory`.
        """
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
        """Returns the length, in tokens, of the longest cached prefix of `tokens`; 0 if none is cached.

        The prefix that is found becomes the most recently used. `tokens` are token ids as bytes, four for each token.
        """
        for length in sorted(self._lengths, reverse=True):
            if length <= len(tokens) and tokens[:length] in self._states:
                self._states.move_to_end(tokens[:length])
                return length // 4
        return 0

    def load(self, key: bytes, memory: Memory, row: int) -> None:
        """Copies the state of a cached prefix into one row of a decode cache, which must have room for it.

        Args:
            key: the prefix's token ids as bytes, four for each token; it must be cached.
            memory: the decode cache.
            row: the row of `memory`.
        """
        memory.load(row, self.pool.get(self._states[key]), len(key) // 4)

    def forget(self, key: bytes) -> None:
        """Removes a prefix from the cache, if present; `key` is its token ids as bytes, four for each token."""
        if key not in self._states:
            return
        self.pool.free(self._states.pop(key))
        self._used -= len(key) // 4
        self._lengths[len(key)] -= 1
        if not self._lengths[len(key)]:
            del self._lengths[len(key)]

    def clear(self) -> None:
        """Removes all prefixes; required after a change of weights."""
        self._states.clear()
        self._lengths.clear()
        self._used = 0
        self.pool.clear()
