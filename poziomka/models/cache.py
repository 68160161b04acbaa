"""`Memory`, the decode cache of an architecture: keys and values or recurrent states of many sequences.

A cache can fork, select and grow its rows but not truncate them: only a key-value cache could do that, and the
interface also covers recurrent states.

Each layer's part of a store is a separate tensor, so that growth copies one layer at a time and the peak is the new
size plus one layer. Large tensors are mapped instead of allocated on the heap, so that freeing them returns all their
memory to the system.
"""

import mmap
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

STEP = 64  # tokens: the room of a grown cache is a multiple of it
MAPPED = 1 << 20  # bytes from which on a tensor has its own memory mapping


def zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    """Returns zeros with the dtype and device of `like`; a CPU tensor from 1 MiB on gets its own memory mapping.

    The system gets the memory of a mapping back as soon as the tensor is freed.
    """
    size = like.element_size()
    for each in shape:
        size *= each
    if like.device.type != "cpu" or size < MAPPED:
        return like.new_zeros(tuple(shape))
    return torch.frombuffer(mmap.mmap(-1, size, **_PRIVATE), dtype=like.dtype).view(tuple(shape))


_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


def room_for(length: int, now: int = 0) -> int:
    """Returns the room, in tokens per sequence, to which a decode cache grows for sequences of `length` tokens.

    The room grows by at least a sixteenth, to a multiple of 64 tokens.

    Args:
        length: required room.
        now: present room; it is returned if it suffices.
    """
    if length <= now:
        return now
    wanted = max(length, now + now // 16)
    return -(-wanted // STEP) * STEP


class Memory:
    """Decode cache of an architecture: named per-layer tensors in which each sequence has one row.

    Args:
        stores: by name, one tensor [capacity, ...] for each layer; the state of a sequence is `layer[row]`.
        growing: by name, the token axis of the layers' tensors, for stores with one entry for each token.
        rows: rows in use; the others are spare capacity, so that sequences can join without a copy of the cache.
    """

    def __init__(self, stores: Mapping[str, Sequence[Tensor]], growing: Mapping[str, int], rows: int) -> None:
        """Sets the lengths of all sequences to 0."""
        self.stores = {name: list(layers) for name, layers in stores.items()}
        self.growing = dict(growing)
        self.rows = rows
        some = next(iter(self.stores.values()))[0]
        self._lengths = torch.zeros(len(some), dtype=torch.long, device=some.device)

    def __getitem__(self, name: str) -> list[Tensor]:
        """Returns the rows in use of a store: one view [rows, ...] for each layer, writable in place."""
        return [layer[: self.rows] for layer in self.stores[name]]

    @property
    def lengths(self) -> Tensor:
        """Tokens read by each sequence so far, [rows]; a view."""
        return self._lengths[: self.rows]

    @property
    def capacity(self) -> int:
        """Number of rows that fit without a copy."""
        return len(self._lengths)

    @property
    def room(self) -> int:
        """Number of tokens of a sequence that fit without a copy; 0 if no store grows."""
        return max((self.stores[name][0].shape[axis] for name, axis in self.growing.items()), default=0)

    def advance(self, counts: Tensor | int) -> None:
        """Adds `counts` tokens ([rows], or one number for all) to the lengths."""
        self._lengths[: self.rows] += counts

    def reserve(self, length: int) -> None:
        """Grows the cache to room for `length` tokens per sequence if needed, as `room_for` computes it."""
        if self.growing and self.room < length:
            self.resize(self.capacity, room_for(length, self.room))

    def resize(self, capacity: int, room: int) -> None:
        """Reallocates to a capacity (rows) and room (tokens), one layer at a time; the rows in use must fit."""
        for name, layers in self.stores.items():
            axis = self.growing.get(name)
            for number, layer in enumerate(layers):
                shape = [capacity, *layer.shape[1:]]
                if axis is not None:
                    shape[axis] = room
                kept = layer[: self.rows]
                if axis is not None:
                    kept = kept.narrow(axis, 0, min(room, layer.shape[axis]))
                layers[number] = zeros(shape, layer)
                place = layers[number][: self.rows]
                (place if axis is None else place.narrow(axis, 0, kept.shape[axis])).copy_(kept)
                del layer, kept, place
        lengths = self._lengths.new_zeros(capacity)
        lengths[: self.rows] = self.lengths
        self._lengths = lengths

    def fork(self, rows: Tensor) -> "Memory":
        """Returns a new cache whose row i is a copy of row `rows[i]`; a row may be copied several times."""
        lengths = self._lengths[rows]
        longest = int(lengths.max()) if len(rows) else 0
        stores = {
            name: [self._used(name, layer, longest).index_select(0, rows) for layer in layers]
            for name, layers in self.stores.items()
        }
        copy = Memory(stores, self.growing, len(rows))
        copy._lengths[: len(rows)] = lengths
        return copy

    def _used(self, name: str, layer: Tensor, longest: int) -> Tensor:
        """Returns a view of a layer's first `longest` tokens, or of the whole layer if it has no token axis."""
        return layer.narrow(self.growing[name], 0, longest) if name in self.growing else layer

    def keep(self, rows: Tensor) -> None:
        """Keeps only the given rows, in that order; copies only rows whose index changes."""
        places = torch.arange(len(rows), device=rows.device)
        moved = rows != places
        to, origin = places[moved], rows[moved]
        for layers in self.stores.values():
            for layer in layers if len(to) else ():
                layer[to] = layer[origin]
        self._lengths[to] = self._lengths[origin]
        self.rows = len(rows)
        self._lengths[self.rows :] = 0

    def join(self, other: "Memory", rows: Tensor | None = None) -> None:
        """Appends copies of the given rows of `other` (None for all), growing the cache if needed."""
        if rows is None:
            rows = torch.arange(other.rows, device=self._lengths.device)
        start, count = self.rows, self.rows + len(rows)
        lengths = other.lengths[rows]
        longest = int(lengths.max()) if len(rows) else 0
        room = room_for(longest, self.room) if self.growing else 0
        if count > self.capacity or room > self.room:
            capacity = self.capacity if count <= self.capacity else max(count, self.capacity + self.capacity // 8)
            self.resize(capacity, room)
        for name, layers in self.stores.items():
            for layer, theirs in zip(layers, other.stores[name], strict=True):
                place = self._used(name, layer[start:count], longest)
                place.copy_(self._used(name, theirs, longest)[rows])
        self._lengths[start:count] = lengths
        self.rows = count

    def parts(self, row: int) -> list[Tensor]:
        """Returns views of one sequence's state, for each store and layer, without unused room."""
        length = int(self._lengths[row])
        return [
            self._used(name, layer[row : row + 1], length) for name, layers in self.stores.items() for layer in layers
        ]

    def load(self, row: int, flat: Tensor, length: int) -> None:
        """Restores the state of one sequence; the cache must have room for it.

        Args:
            row: the sequence's row.
            flat: bytes (uint8) of the tensors that `parts` returned for the sequence, concatenated; more may follow.
            length: number of tokens of the sequence.
        """
        self._lengths[row] = length
        start = 0
        for part in self.parts(row):
            part.copy_(flat[start : start + part.nbytes].view(part.dtype).view(part.shape))
            start += part.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of all stores, spare capacity and room included."""
        return sum(layer.nbytes for layers in self.stores.values() for layer in layers)
