"""States of prefixes that were read before, so that a later turn reads only what is new."""

from collections import Counter, OrderedDict

from poziomka.models.memory import Memory


class PrefixCache:
    """Least recently used states go first.

    Args:
        tokens: most tokens that all prefixes together may have.
    """

    def __init__(self, tokens: int = 65_536) -> None:
        """Starts empty."""
        self.room = tokens
        self._states: OrderedDict[bytes, Memory] = OrderedDict()
        self._lengths: Counter[int] = Counter()
        self._used = 0

    def __len__(self) -> int:
        """Number of prefixes."""
        return len(self._states)

    def put(self, key: bytes, state: Memory) -> None:
        """Remembers the one-row state after the tokens whose bytes are `key` (four a token)."""
        if key in self._states:
            self._states.move_to_end(key)
            return
        self._states[key] = state
        self._lengths[len(key)] += 1
        self._used += len(key) // 4
        while self._used > self.room and self._states:
            self._forget(next(iter(self._states)))

    def longest(self, tokens: bytes) -> tuple[int, Memory | None]:
        """Returns (number of tokens, state) of the longest known prefix of `tokens`; (0, None) where there is none."""
        for length in sorted(self._lengths, reverse=True):
            state = self._states.get(tokens[:length]) if length <= len(tokens) else None
            if state is not None:
                self._states.move_to_end(tokens[:length])
                return length // 4, state
        return 0, None

    def _forget(self, key: bytes) -> None:
        del self._states[key]
        self._used -= len(key) // 4
        self._lengths[len(key)] -= 1
        if not self._lengths[len(key)]:
            del self._lengths[len(key)]

    def clear(self) -> None:
        """Forgets everything: the weights changed."""
        self._states.clear()
        self._lengths.clear()
        self._used = 0
