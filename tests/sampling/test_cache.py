"""The longest known prefix is found, and what was not used for longest goes first."""

from array import array

import pytest
import torch

from poziomka.models.memory import Memory
from poziomka.sampling.cache import PrefixCache


def key(*tokens):
    return array("i", tokens).tobytes()


@pytest.fixture
def state():
    return lambda: Memory({"state": torch.zeros(1, 1, 2)}, {}, 1)


def test_an_empty_cache_knows_nothing():
    assert PrefixCache().longest(key(1, 2, 3)) == (0, None)


def test_the_longest_known_prefix_is_found(state):
    cache, short, long, other = PrefixCache(), state(), state(), state()
    cache.put(key(1, 2), short)
    cache.put(key(1, 2, 3, 4), long)
    cache.put(key(1, 2, 3, 5, 6), other)
    assert cache.longest(key(1, 2, 3, 4, 5)) == (4, long)
    assert cache.longest(key(1, 2, 3)) == (2, short)
    assert cache.longest(key(1, 2, 3, 4)) == (4, long)
    assert cache.longest(key(2, 1)) == (0, None)


def test_tokens_are_compared_whole_and_not_byte_by_byte(state):
    cache = PrefixCache()
    cache.put(key(0x01020304), state())
    assert cache.longest(key(0x01020305)) == (0, None)


def test_all_prefixes_together_stay_within_the_bound(state):
    cache = PrefixCache(tokens=10)
    for number in range(7):
        cache.put(key(number, 1, 2), state())
        assert cache._used <= 10
    assert len(cache) == 3
    assert cache._lengths == {12: 3}


def test_the_least_recently_used_goes_first(state):
    cache, first = PrefixCache(tokens=6), state()
    cache.put(key(1, 1), first)
    cache.put(key(2, 2), state())
    cache.put(key(3, 3), state())
    assert cache.longest(key(1, 1, 5)) == (2, first)
    cache.put(key(4, 4), state())
    assert cache.longest(key(2, 2, 5)) == (0, None)
    assert cache.longest(key(1, 1, 5)) == (2, first)


def test_what_is_put_again_is_used_and_counted_once(state):
    cache, first = PrefixCache(tokens=4), state()
    cache.put(key(1, 1), first)
    cache.put(key(2, 2), state())
    cache.put(key(1, 1), state())
    assert cache._used == 4
    cache.put(key(3, 3), state())
    assert cache.longest(key(1, 1)) == (2, first)
    assert cache.longest(key(2, 2)) == (0, None)


def test_a_prefix_beyond_the_bound_is_not_kept(state):
    cache = PrefixCache(tokens=2)
    cache.put(key(1, 2, 3), state())
    assert len(cache) == 0
    assert cache._lengths == {}


def test_a_cleared_cache_knows_nothing(state):
    cache = PrefixCache()
    cache.put(key(1, 2), state())
    cache.clear()
    assert cache.longest(key(1, 2)) == (0, None)
    assert (len(cache), cache._used, len(cache._lengths)) == (0, 0, 0)
