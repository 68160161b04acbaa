"""What an architecture remembers of the tokens it has read, for many rows at once.

A memory forks, keeps and grows; it never forgets the end of a row. That a row could be cut shorter is true of
a key-value cache only, and a recurrent state has to fit too.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


class Memory:
    """Named stores that share their rows.

    Args:
        stores: tensors [layers, capacity, ...]: a row's state is `store[:, row]`.
        growing: for stores that hold something for each token, the axis along which tokens lie.
        rows: rows in use; the rest is spare capacity, kept so that rows may join without a copy of all.
    """

    def __init__(self, stores: Mapping[str, Tensor], growing: Mapping[str, int], rows: int) -> None:
        """Starts with nothing read."""
        self.stores = dict(stores)
        self.growing = dict(growing)
        self.rows = rows
        some = next(iter(self.stores.values()))
        self._lengths = torch.zeros(some.shape[1], dtype=torch.long, device=some.device)

    def __getitem__(self, name: str) -> Tensor:
        """Returns the rows in use of a store: [layers, rows, ...], a view to be written in place."""
        return self.stores[name][:, : self.rows]

    @property
    def lengths(self) -> Tensor:
        """[rows] tokens read so far, a view."""
        return self._lengths[: self.rows]

    @property
    def capacity(self) -> int:
        """Rows that fit without a copy."""
        return len(self._lengths)

    def advance(self, counts: Tensor | int) -> None:
        """Notes that each row has read `counts` more tokens."""
        self._lengths[: self.rows] += counts

    def reserve(self, length: int) -> None:
        """Makes room for rows of `length` tokens, by doubling."""
        for name, axis in self.growing.items():
            store = self.stores[name]
            room = store.shape[axis]
            if room < length:
                shape = list(store.shape)
                shape[axis] = max(length, 2 * room) - room
                self.stores[name] = torch.cat([store, store.new_zeros(shape)], axis)

    def fork(self, rows: Tensor) -> "Memory":
        """Returns a new memory whose row i is a copy of row `rows[i]`; copies of one row are branches of it."""
        lengths = self._lengths[rows]
        longest = int(lengths.max()) if len(rows) else 0
        stores = {}
        for name, store in self.stores.items():
            used = store.narrow(self.growing[name], 0, longest) if name in self.growing else store
            stores[name] = used.index_select(1, rows)
        copy = Memory(stores, self.growing, len(rows))
        copy._lengths[: len(rows)] = lengths
        return copy

    def keep(self, rows: Tensor) -> None:
        """Keeps only `rows`, in that order; only rows that change place are copied."""
        places = torch.arange(len(rows), device=rows.device)
        moved = rows != places
        to, origin = places[moved], rows[moved]
        for store in self.stores.values():
            if len(to):
                store[:, to] = store[:, origin]
        self._lengths[to] = self._lengths[origin]
        self.rows = len(rows)
        self._lengths[self.rows :] = 0

    def join(self, other: "Memory") -> None:
        """Takes the rows of `other` in after its own."""
        start, rows = self.rows, self.rows + other.rows
        for name, axis in self.growing.items():
            self.reserve(other.stores[name].shape[axis])
        if rows > self.capacity:
            self._widen(max(rows, 2 * self.capacity))
        for name, store in self.stores.items():
            theirs = other[name]
            place = store[:, start:rows]
            if name in self.growing:
                place = place.narrow(self.growing[name], 0, theirs.shape[self.growing[name]])
            place.copy_(theirs)
        self._lengths[start:rows] = other.lengths
        self.rows = rows

    def _widen(self, capacity: int) -> None:
        for name, store in self.stores.items():
            shape = list(store.shape)
            shape[1] = capacity - shape[1]
            self.stores[name] = torch.cat([store, store.new_zeros(shape)], 1)
        self._lengths = torch.cat([self._lengths, self._lengths.new_zeros(capacity - len(self._lengths))])

    @property
    def nbytes(self) -> int:
        """Bytes of all stores, spare room included."""
        return sum(store.nbytes for store in self.stores.values())
