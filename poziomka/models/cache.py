"""What an architecture remembers of the tokens it has read, for many rows at once.

A memory forks, keeps and grows; it never forgets the end of a row. That a row could be cut shorter is true of
a key-value cache only, and a recurrent state has to fit too.

Each layer's part of a store is a tensor of its own, so that growing copies one layer at a time: the peak is the new
size and one layer. Large tensors are mapped, and not taken from the heap: freed, they are given back whole.
"""

import mmap
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

STEP = 64  # tokens, a multiple of which a row has room for once it has grown
MAPPED = 1 << 20  # bytes from which on a tensor has a mapping of its own


def zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    """Returns zeros of a shape, with the type and the device of `like`; large ones on a CPU are no part of the heap."""
    size = like.element_size()
    for each in shape:
        size *= each
    if like.device.type != "cpu" or size < MAPPED:
        return like.new_zeros(tuple(shape))
    return torch.frombuffer(mmap.mmap(-1, size, **_PRIVATE), dtype=like.dtype).view(tuple(shape))


_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


def room_for(length: int, now: int = 0) -> int:
    """Returns the room, in tokens, of rows that must hold `length` and have room for `now`."""
    if length <= now:
        return now
    wanted = max(length, now + now // 16)
    return -(-wanted // STEP) * STEP


class Memory:
    """Named stores that share their rows.

    Args:
        stores: by name, a tensor [capacity, ...] for each layer: a row's state is `layer[row]`.
        growing: for stores that hold something for each token, the axis of a layer's tensor along which tokens lie.
        rows: rows in use; the rest is spare capacity, kept so that rows may join without a copy of all.
    """

    def __init__(self, stores: Mapping[str, Sequence[Tensor]], growing: Mapping[str, int], rows: int) -> None:
        """Starts with nothing read."""
        self.stores = {name: list(layers) for name, layers in stores.items()}
        self.growing = dict(growing)
        self.rows = rows
        some = next(iter(self.stores.values()))[0]
        self._lengths = torch.zeros(len(some), dtype=torch.long, device=some.device)

    def __getitem__(self, name: str) -> list[Tensor]:
        """Returns the rows in use of a store: [rows, ...] for each layer, views to be written in place."""
        return [layer[: self.rows] for layer in self.stores[name]]

    @property
    def lengths(self) -> Tensor:
        """[rows] tokens read so far, a view."""
        return self._lengths[: self.rows]

    @property
    def capacity(self) -> int:
        """Rows that fit without a copy."""
        return len(self._lengths)

    @property
    def room(self) -> int:
        """Tokens of a row that fit without a copy; 0 where no store grows."""
        return max((self.stores[name][0].shape[axis] for name, axis in self.growing.items()), default=0)

    def advance(self, counts: Tensor | int) -> None:
        """Notes that each row has read `counts` more tokens."""
        self._lengths[: self.rows] += counts

    def reserve(self, length: int) -> None:
        """Makes room for rows of `length` tokens: a sixteenth more than before at least, to a multiple of STEP."""
        if self.growing and self.room < length:
            self.resize(self.capacity, room_for(length, self.room))

    def resize(self, capacity: int, room: int) -> None:
        """Changes capacity and room, a layer at a time; both must hold the rows in use."""
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
        """Returns a new memory whose row i is a copy of row `rows[i]`; copies of one row are branches of it."""
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
        """Returns a view of a layer's first `longest` tokens; of all of it where it holds nothing for each token."""
        return layer.narrow(self.growing[name], 0, longest) if name in self.growing else layer

    def keep(self, rows: Tensor) -> None:
        """Keeps only `rows`, in that order; only rows that change place are copied."""
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
        """Takes copies of `rows` of `other`, of all for None, in after its own."""
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
        """Returns views of all that one row remembers, layer by layer, without the room that it does not use."""
        length = int(self._lengths[row])
        return [
            self._used(name, layer[row : row + 1], length) for name, layers in self.stores.items() for layer in layers
        ]

    def load(self, row: int, flat: Tensor, length: int) -> None:
        """Takes what `parts` gave for a row of `length` tokens, as the bytes of all of it; there must be room."""
        self._lengths[row] = length
        start = 0
        for part in self.parts(row):
            part.copy_(flat[start : start + part.nbytes].view(part.dtype).view(part.shape))
            start += part.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of all stores, spare room included."""
        return sum(layer.nbytes for layers in self.stores.values() for layer in layers)
