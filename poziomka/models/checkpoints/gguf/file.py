"""GGUF file reader: metadata, and tensors dequantised one at a time.

The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The metadata is parsed here because the reader
of the `gguf` package takes seconds for a vocabulary; the package dequantises the tensors.
"""

import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from poziomka.core.errors import ModelError
from poziomka.core.safety.untrusted import open_regular

MAGIC, VERSIONS, ALIGNMENT = b"GGUF", (2, 3), 32
TEXT, ARRAY = 8, 9
AXES = 4  # maximum axes of a tensor
ELEMENTS = 1 << 24  # maximum elements of an array in the metadata
NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}


@dataclass(frozen=True)
class StoredTensor:
    """Location of a tensor in a GGUF file.

    Attributes:
        shape: sizes of the axes in PyTorch's order, [rows, columns] for a matrix; the reverse of the file's order.
        kind: type in which the values are stored, quantised or not.
        start: offset in bytes from the beginning of the file.
        nbytes: length in bytes.
    """

    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType
    start: int
    nbytes: int


class GGUFFile:
    """A memory-mapped GGUF file; only its metadata is read until a tensor is requested.

    Args:
        path: the file.

    Attributes:
        metadata: values by key; arrays are lists.
        stored: tensor locations by name.

    Raises:
        ModelError: the file is no GGUF file, of an unknown version, truncated, damaged, or has tensors of a type that
            cannot be dequantised.
    """

    def __init__(self, path: Path) -> None:
        """Reads the metadata and checks that every tensor is complete and of a supported type."""
        self.path = path
        demand_gguf(path)
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            self.metadata, self.stored = self._read()
        except (struct.error, UnicodeDecodeError, OverflowError, MemoryError) as error:
            message = f"the GGUF file {path} is cut short or damaged in its metadata: fetch it again"
            raise ModelError(message) from error
        self._demand_whole()

    def _read(self) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
        cursor = _Cursor(self._data, self._wrong)
        version = cursor.number("<u4")
        if version not in VERSIONS:
            what = f"is of version {version}; known: {VERSIONS[0]}, {VERSIONS[1]}, little-endian"
            raise self._wrong(what)
        tensors, fields = cursor.number("<u8"), cursor.number("<u8")
        metadata: dict[str, Any] = {}
        for _ in range(fields):
            name = cursor.text()
            self._demand_new(name, metadata)
            metadata[name] = cursor.value(cursor.number("<u4"))
        rows: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for _ in range(tensors):
            name, axes = cursor.text(), cursor.number("<u4")
            self._demand_new(name, rows)
            if axes > AXES:
                what = f"holds {name} with {axes:,} axes, more than the {AXES} of the format: it is damaged"
                raise self._wrong(what)
            shape = tuple(cursor.number("<u8") for _ in range(axes))[::-1]
            rows[name] = (shape, cursor.number("<u4"), cursor.number("<u8"))
        alignment = metadata.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0:
            what = f"says general.alignment {str(alignment)[:40]}: it is damaged"
            raise self._wrong(what)
        start = -(-cursor.place // alignment) * alignment
        return metadata, {
            name: self._located(name, shape, kind, start + at) for name, (shape, kind, at) in rows.items()
        }

    def _demand_new(self, name: str, known: Mapping[str, Any]) -> None:
        if name in known:
            what = f"states {name[:80]} twice: it is damaged"
            raise self._wrong(what)

    def _located(self, name: str, shape: tuple[int, ...], number: int, start: int) -> StoredTensor:
        try:
            kind = gguf.GGMLQuantizationType(number)
        except ValueError:
            what = f"holds {name} in the unknown type {number}"
            raise self._wrong(what) from None
        block, nbytes = gguf.GGML_QUANT_SIZES[kind]
        if not shape or not all(shape) or shape[-1] % block:
            what = f"holds {name} of shape {list(shape)} in blocks of {block} values: it is damaged"
            raise self._wrong(what)
        return StoredTensor(shape, kind, start, prod(shape) // block * nbytes)

    def _demand_whole(self) -> None:
        for kind in sorted({stored.kind for stored in self.stored.values()}):
            one_block = np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8)
            try:
                with np.errstate(all="ignore"):
                    gguf.dequantize(one_block, kind)
            except NotImplementedError:
                what = f"holds tensors of type {kind.name}, which cannot be dequantised: take another quantisation"
                raise self._wrong(what) from None
        size = len(self._data)
        short = {name: stored for name, stored in self.stored.items() if stored.start + stored.nbytes > size}
        if short:
            wanted = max(one.start + one.nbytes for one in short.values())
            what = f"is cut short, {size:,} of {wanted:,} bytes: {len(short)} tensors are not whole; fetch it again"
            raise self._wrong(what)

    def _wrong(self, what: str) -> ModelError:
        return ModelError(f"the GGUF file {self.path} {what}")

    def tensor(self, name: str) -> np.ndarray:
        """Returns a tensor by name, dequantised to fp32, in the shape of its entry in `stored`."""
        stored = self.stored[name]
        data = np.frombuffer(self._data, np.uint8, stored.nbytes, stored.start)
        rows = data.reshape(*stored.shape[:-1], stored.nbytes // prod(stored.shape[:-1]))
        found: np.ndarray = gguf.dequantize(rows, stored.kind)
        return found.reshape(stored.shape)


def demand_gguf(path: Path) -> None:
    """Raises ModelError if a file cannot be read or does not begin with the magic bytes of GGUF."""
    try:
        with open_regular(path, ModelError) as file:
            begins = file.read(len(MAGIC))
    except FileNotFoundError as error:
        message = f"cannot read {path}: {(error.strerror or str(error)).lower()}"
        raise ModelError(message) from error
    if begins != MAGIC:
        message = f"{path} is not a GGUF file: it does not begin with {MAGIC.decode()!r}"
        raise ModelError(message)


class _Cursor:
    """Sequential parser of the values in a GGUF header."""

    def __init__(self, data: mmap.mmap, wrong: Callable[[str], ModelError]) -> None:
        self._data, self._wrong, self.place = data, wrong, len(MAGIC)

    def number(self, kind: str) -> Any:
        return self.numbers(kind, 1)[0]

    def numbers(self, kind: str, count: int) -> list[Any]:
        dtype = np.dtype(kind)
        if self.place + count * dtype.itemsize > len(self._data):
            raise struct.error
        values = np.frombuffer(self._data, dtype, count, self.place)
        self.place += values.nbytes
        return values.tolist()

    def text(self) -> str:
        (length,) = struct.unpack_from("<Q", self._data, self.place)
        start, self.place = self.place + 8, self.place + 8 + length
        if self.place > len(self._data):
            raise struct.error
        return self._data[start : self.place].decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == TEXT:
            return self.text()
        if kind == ARRAY:
            inner, count = self.number("<u4"), self.number("<u8")
            if count > ELEMENTS or inner == ARRAY:
                what = f"holds a list of {count:,} values or of lists, which no model's metadata is: it is damaged"
                raise self._wrong(what)
            if inner in NUMBERS:
                return self.numbers(NUMBERS[inner], count)
            return [self.value(inner) for _ in range(count)]
        if kind not in NUMBERS:
            what = f"holds a value of the unknown type {kind}: it is damaged"
            raise self._wrong(what)
        return self.number(NUMBERS[kind])
