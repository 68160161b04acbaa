"""Serializes plain values for messages between an untrusted program and the process that tests it.

A plain value is None, a bool, int, float (nan and inf included), complex, str or bytes, a list, tuple, set, frozenset
or dict of plain values, or one of these types itself, which is sent by its name. Decoding creates no object of any
other type and calls no code of the sender, so that a received value has the `==` of Python itself, whatever was sent;
that is why this is neither pickle nor marshal. A value of a subclass is sent as a value of the plain type. A frame is
the length of a value, four bytes, big-endian, and the value.

    N T F               None, True, False
    i f c               integer (its length, then its bytes, little-endian, signed), float, complex
    s b                 text as UTF-8 (lone surrogates allowed), bytes, each after its length
    y                   a type: the text of its name, after its length
    l t d S Z           list, tuple, dict, set, frozenset: the number of entries, then the entries
"""

import os
import select
import struct
import time
from collections.abc import Collection, Sized
from typing import Protocol

LARGEST = 1_000_000  # maximum bytes of a value
DEPTH = 64  # maximum nesting of lists
LENGTH = struct.Struct(">I")
FLOAT = struct.Struct("<d")
TYPES = {kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict)}
CONSTANTS: dict[bytes, object] = {b"N": None, b"T": True, b"F": False}


class NotPlainError(ValueError):
    """Raised for a value that cannot be serialized (it contains an object of another type), or for invalid bytes."""


class TooLargeError(NotPlainError):
    """Raised for a value of more than 1,000,000 bytes (LARGEST), or with more than 64 levels of nesting (DEPTH)."""


def encode(value: object) -> bytes:
    """Serializes a plain value to bytes, which `decode` turns back into the value.

    A plain value is None, a bool, int, float, complex, str or bytes, a list, tuple, set, frozenset or dict of plain
    values, or one of these types itself (for example `int`). The order of a set does not affect the bytes.

    Raises:
        NotPlainError: the value is, or contains, an object of another type.
        TooLargeError: it takes more than 1,000,000 bytes (LARGEST), or has more than 64 levels of nesting (DEPTH).
    """
    out = bytearray()
    _write(value, out, 0)
    return bytes(out)


def _write(value: object, out: bytearray, depth: int) -> None:
    # calls methods of the plain type itself: those of a subclass could return anything
    if value is None or value is True or value is False:
        out += b"N" if value is None else b"T" if value is True else b"F"
    elif isinstance(value, int):
        length = int.bit_length(value) // 8 + 1
        _check(len(out) + length, depth)
        _block(b"i", int.to_bytes(value, length, "little", signed=True), out)
    elif isinstance(value, float):
        out += b"f" + FLOAT.pack(value)
    elif isinstance(value, complex):
        out += b"c" + FLOAT.pack(value.real) + FLOAT.pack(value.imag)
    elif isinstance(value, str):
        _check(len(out) + str.__len__(value), depth)
        _block(b"s", str.encode(value, "utf-8", "surrogatepass"), out)
    elif isinstance(value, bytes | bytearray):
        _check(len(out) + len(value), depth)
        _block(b"b", bytes(value), out)
    else:
        _write_many(value, out, depth)
    _check(len(out), depth)


def _write_many(value: object, out: bytearray, depth: int) -> None:
    if isinstance(value, list | tuple | dict | set | frozenset):
        _check(len(out) + _count(value), depth)  # before any of it is copied
    if isinstance(value, list):
        _entries(b"l", [*list.__iter__(value)], out, depth)
    elif isinstance(value, tuple):
        _entries(b"t", [*tuple.__iter__(value)], out, depth)
    elif isinstance(value, dict):
        _entries(b"d", [*dict.items(value)], out, depth)
    elif isinstance(value, set | frozenset):
        held = [*(set.__iter__(value) if isinstance(value, set) else frozenset.__iter__(value))]
        out += (b"S" if isinstance(value, set) else b"Z") + LENGTH.pack(len(held))
        out += b"".join(sorted(_apart(entry, depth) for entry in held))
    else:
        name = next((name for name, kind in TYPES.items() if kind is value), None)
        if name is None:
            message = f"{type(value).__name__[:60]} is not plain data"
            raise NotPlainError(message)
        _block(b"y", name.encode(), out)


def _count(value: object) -> int:
    kinds: tuple[type[Sized], ...] = (list, tuple, dict, set, frozenset)
    return next(kind.__len__(value) for kind in kinds if isinstance(value, kind))


def _entries(tag: bytes, entries: Collection[object], out: bytearray, depth: int) -> None:
    out += tag + LENGTH.pack(len(entries))
    for entry in entries:
        if tag == b"d" and isinstance(entry, tuple):
            _write(entry[0], out, depth + 1)
            _write(entry[1], out, depth + 1)
        else:
            _write(entry, out, depth + 1)


def _apart(entry: object, depth: int) -> bytes:
    out = bytearray()
    _write(entry, out, depth + 1)
    return bytes(out)


def _block(tag: bytes, data: bytes, out: bytearray) -> None:
    out += tag + LENGTH.pack(len(data)) + data


def _check(size: int, depth: int) -> None:
    if size > LARGEST:
        message = f"larger than {LARGEST} bytes"
        raise TooLargeError(message)
    if depth > DEPTH:
        message = f"deeper than {DEPTH} lists in lists"
        raise TooLargeError(message)


def decode(data: bytes) -> object:
    """Returns the plain value that `encode` serialized to these bytes.

    Raises:
        NotPlainError: the bytes are not exactly one value.
        TooLargeError: there are more than 1,000,000 bytes (LARGEST), or more than 64 levels of nesting (DEPTH).
    """
    _check(len(data), 0)
    reader = _Reader(data)
    try:
        value = reader.value(0)
    except (struct.error, UnicodeDecodeError, TypeError, KeyError) as error:  # TypeError: a list as a key
        message = f"not the bytes of a value: {error}"
        raise NotPlainError(message) from error
    if reader.place != len(data):
        message = f"{len(data) - reader.place} bytes after the value"
        raise NotPlainError(message)
    return value


class _Reader:
    """Parses serialized values one after another."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def take(self, length: int) -> bytes:
        taken = self.data[self.place : self.place + length]
        if len(taken) != length:
            message = "the bytes end within a value"
            raise NotPlainError(message)
        self.place += length
        return taken

    def length(self) -> int:
        length: int = LENGTH.unpack(self.take(4))[0]
        if length > len(self.data) - self.place:  # every entry takes at least one byte
            message = "the bytes end within a value"
            raise NotPlainError(message)
        return length

    def number(self) -> float:
        number: float = FLOAT.unpack(self.take(8))[0]
        return number

    def value(self, depth: int) -> object:
        _check(0, depth)
        tag = self.take(1)
        if tag in CONSTANTS:
            return CONSTANTS[tag]
        match tag:
            case b"i":
                return int.from_bytes(self.take(self.length()), "little", signed=True)
            case b"f":
                return self.number()
            case b"c":
                return complex(self.number(), self.number())
            case b"s":
                return self.take(self.length()).decode("utf-8", "surrogatepass")
            case b"b":
                return self.take(self.length())
            case b"y":
                return TYPES[self.take(self.length()).decode()]
            case b"l":
                return [self.value(depth + 1) for _ in range(self.length())]
            case b"t":
                return tuple([self.value(depth + 1) for _ in range(self.length())])
            case b"S":
                return {self.value(depth + 1) for _ in range(self.length())}
            case b"Z":
                return frozenset([self.value(depth + 1) for _ in range(self.length())])
            case b"d":
                return {self.value(depth + 1): self.value(depth + 1) for _ in range(self.length())}
        message = f"no value begins with {tag!r}"
        raise NotPlainError(message)


class Channel(Protocol):
    """Interface of a byte stream in both directions: a socket, or a pair of pipes."""

    def sendall(self, data: bytes, /) -> None:
        """Sends all bytes, or raises OSError."""

    def recv(self, most: int, /) -> bytes:
        """Waits for data and returns up to `most` bytes; b"" if the other side has closed."""

    def settimeout(self, seconds: float | None, /) -> None:
        """Sets the seconds after which later calls raise TimeoutError; None: no timeout."""


def is_readable(descriptor: int, seconds: float) -> bool:
    """Waits up to `seconds` until a descriptor is readable or its other side has closed; returns whether that happened.

    It uses `poll`: `select.select` accepts no descriptor from 1024 on, which a process with some hundred consoles has.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(seconds, 0.0) * 1000))


class Pipes:
    """A Channel over two pipes: one to read from and one to write to.

    Args:
        reading: file descriptor to read from.
        writing: file descriptor to write to.
    """

    def __init__(self, reading: int, writing: int) -> None:
        """Stores the descriptors, which the caller must close."""
        self.reading = reading
        self.writing = writing
        self._seconds: float | None = None

    def sendall(self, data: bytes) -> None:
        """Sends all bytes, without a timeout."""
        while data:
            data = data[os.write(self.writing, data) :]

    def recv(self, most: int) -> bytes:
        """Waits for data and returns up to `most` bytes; b"" if the other side has closed.

        Raises:
            TimeoutError: no data came within the timeout.
        """
        if self._seconds is not None and not is_readable(self.reading, self._seconds):
            raise TimeoutError
        return os.read(self.reading, most)

    def settimeout(self, seconds: float | None) -> None:
        """Sets the seconds after which `recv` raises TimeoutError; None: no timeout."""
        self._seconds = seconds


def send(channel: Channel, value: object) -> None:
    """Sends a plain value as a frame: its length, four bytes, big-endian, and the bytes of `encode`.

    Args:
        channel: channel to send to.
        value: a plain value (see `encode`).

    Raises:
        NotPlainError: the value is no plain value, or too large.
        OSError: the other side has closed.
    """
    data = encode(value)
    channel.sendall(LENGTH.pack(len(data)) + data)


def receive(channel: Channel, until: float | None = None) -> object:
    """Receives the next frame and returns its value, a plain value (see `encode`).

    Args:
        channel: channel to receive from.
        until: deadline, by `time.monotonic`; None: no deadline.

    Raises:
        NotPlainError: the received bytes are no valid frame, or too large.
        TimeoutError: the frame did not arrive in time.
        EOFError: the other side closed first.
        OSError: the channel failed.
    """
    length: int = LENGTH.unpack(_exactly(channel, LENGTH.size, until))[0]
    _check(length, 0)
    return decode(_exactly(channel, length, until))


def _exactly(channel: Channel, length: int, until: float | None) -> bytes:
    parts: list[bytes] = []
    while length:
        if until is not None:
            channel.settimeout(max(until - time.monotonic(), 1e-3))
        part = channel.recv(min(length, 65536))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
