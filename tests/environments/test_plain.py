"""Only plain values pass, unchanged, and no bytes do more than be refused."""

import math
import socket
import time
from collections import Counter, OrderedDict
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.environments.sandbox.worker.wire_format import (
    DEPTH,
    LARGEST,
    LENGTH,
    NotPlainError,
    TooLargeError,
    decode,
    encode,
    receive,
    send,
)

KEYS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    KEYS | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=4)
        | st.frozensets(KEYS, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_a_value_arrives_as_it_was_with_its_types(value):
    arrived = decode(encode(value))
    assert arrived == value
    assert repr(arrived) == repr(decode(encode(arrived)))
    assert type(arrived) is type(value)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused_and_nothing_else_happens(data):
    try:
        value = decode(data)
    except NotPlainError:
        return
    assert decode(encode(value)) == value or "nan" in repr(value)


@given(VALUES, st.data())
def test_a_value_that_lost_its_end_is_refused(value, data):
    whole = encode(value)
    with pytest.raises(NotPlainError):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(NotPlainError, match="after the value"):
        decode(whole + b"N")


def test_numbers_that_are_none_and_lone_surrogates_pass():
    assert math.isnan(decode(encode(math.nan)))
    assert decode(encode([math.inf, -math.inf, -0.0, 10**5000, -(2**63), "\ud800"])) == [
        math.inf,
        -math.inf,
        -0.0,
        10**5000,
        -(2**63),
        "\ud800",
    ]
    assert decode(encode([int, str, list])) == [int, str, list]


class Pair(NamedTuple):
    left: int
    right: int


class Liar(int):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


def test_a_subclass_arrives_as_what_it_holds():
    liar = decode(encode(Liar(7)))
    assert type(liar) is int
    assert liar != 8
    for value, plain in (
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(x=1), {"x": 1}),
        (Pair(1, 2), (1, 2)),
        (True, True),
        (bytearray(b"x"), b"x"),
    ):
        assert decode(encode(value)) == plain
        assert type(decode(encode(value))) is type(plain)


@pytest.mark.parametrize("value", [object(), Fraction(1, 2), range(3), (x for x in ()), print, Liar, [1, [object()]]])
def test_anything_else_is_refused(value):
    with pytest.raises(NotPlainError, match="is not plain data"):
        encode(value)


def test_what_is_too_large_or_too_deep_is_refused():
    deep = []
    deep.append(deep)
    for value in (deep, "x" * (LARGEST + 1), [0] * LARGEST, 1 << (8 * LARGEST + 8), {1: b"x" * LARGEST}):
        with pytest.raises(TooLargeError):
            encode(value)
    with pytest.raises(TooLargeError, match="deeper"):
        decode((b"l" + LENGTH.pack(1)) * (DEPTH + 2) + b"N")


def test_equal_sets_give_equal_bytes():
    assert encode({1, 2**61, "a", "b"}) == encode({"b", "a", 2**61, 1})


@pytest.mark.parametrize(
    "data", [b"l\xff\xff\xff\xff", b"S\0\0\0\1l\0\0\0\0", b"y\0\0\0\4type", b"s\0\0\0\1\xff", b"", b"x"]
)
def test_bytes_that_promise_more_than_they_hold_are_refused(data):
    with pytest.raises(NotPlainError):
        decode(data)


def test_a_frame_arrives_whole_in_time_or_not_at_all():
    one, other = socket.socketpair()
    with one, other:
        send(one, ["x" * 100_000])
        assert receive(other, time.monotonic() + 600) == ["x" * 100_000]
        with pytest.raises(TimeoutError):
            receive(other, time.monotonic() + 0.01)
        one.sendall(LENGTH.pack(LARGEST + 1))
        with pytest.raises(TooLargeError):
            receive(other, time.monotonic() + 600)
        one.sendall(LENGTH.pack(5) + b"N")
        one.close()
        with pytest.raises(EOFError):
            receive(other, time.monotonic() + 600)
