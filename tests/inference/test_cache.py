"""The longest known prefix is found, what was not used for longest goes first, and all states have a bound in bytes."""

from array import array

import pytest
import torch

from poziomka.inference.prefix_cache import PrefixCache
from poziomka.inference.prefix_pool import BLOCK, Pool
from poziomka.models.cache import Memory


def key(*tokens):
    return array("i", tokens).tobytes()


@pytest.fixture
def state():
    """A memory of one row that spells a number."""

    def state(number=0.0, width=2):
        return Memory({"state": [torch.full((1, width), float(number))]}, {}, 1)

    return state


def loaded(cache, prefix):
    """What a known prefix's state spells."""
    memory = Memory({"state": [torch.zeros(3, 2)]}, {}, 3)
    cache.load(prefix, memory, 1)
    assert memory.lengths.tolist() == [0, len(prefix) // 4, 0]
    assert memory["state"][0][[0, 2]].tolist() == [[0.0, 0.0]] * 2
    return memory["state"][0][1].tolist()


def test_an_empty_cache_knows_nothing():
    assert PrefixCache().longest(key(1, 2, 3)) == 0


def test_the_longest_known_prefix_is_found(state):
    cache = PrefixCache()
    cache.put(key(1, 2), state(5), 0)
    cache.put(key(1, 2, 3, 4), state(6), 0)
    cache.put(key(1, 2, 3, 5, 6), state(7), 0)
    assert cache.longest(key(1, 2, 3, 4, 5)) == 4
    assert cache.longest(key(1, 2, 3)) == 2
    assert cache.longest(key(1, 2, 3, 4)) == 4
    assert cache.longest(key(2, 1)) == 0
    assert [loaded(cache, key(1, 2)), loaded(cache, key(1, 2, 3, 4))] == [[5.0, 5.0], [6.0, 6.0]]


def test_tokens_are_compared_whole_and_not_byte_by_byte(state):
    cache = PrefixCache()
    cache.put(key(0x01020304), state(), 0)
    assert cache.longest(key(0x01020305)) == 0


def test_all_prefixes_together_stay_within_the_bound_of_tokens(state):
    cache = PrefixCache(tokens=10)
    for number in range(7):
        cache.put(key(number, 1, 2), state(), 0)
        assert cache._used <= 10
    assert len(cache) == 3
    assert cache._lengths == {12: 3}


@pytest.mark.fault("A16")
def test_all_states_together_stay_within_the_bound_of_bytes(state):
    cache = PrefixCache(nbytes=5 * BLOCK)
    for number in range(9):
        cache.put(key(number), state(number, width=BLOCK // 4 + 1), 0)  # two blocks
        assert cache.pool.nbytes <= 5 * BLOCK
    assert len(cache) == 2
    assert [cache.longest(key(number, 1)) for number in (6, 7, 8)] == [0, 1, 1]


def test_the_least_recently_used_goes_first(state):
    cache = PrefixCache(tokens=6)
    for number in (1, 2, 3):
        cache.put(key(number, number), state(), 0)
    assert cache.longest(key(1, 1, 5)) == 2
    cache.put(key(4, 4), state(), 0)
    assert cache.longest(key(2, 2, 5)) == 0
    assert cache.longest(key(1, 1, 5)) == 2


def test_what_is_put_again_is_used_and_counted_once(state):
    cache = PrefixCache(tokens=4)
    cache.put(key(1, 1), state(), 0)
    cache.put(key(2, 2), state(), 0)
    cache.put(key(1, 1), state(), 0)
    assert cache._used == 4
    cache.put(key(3, 3), state(), 0)
    assert cache.longest(key(1, 1)) == 2


def test_a_prefix_beyond_either_bound_is_not_kept(state):
    for cache in (PrefixCache(tokens=2), PrefixCache(nbytes=BLOCK)):
        cache.put(key(1, 2, 3), state(width=BLOCK), 0)
        assert len(cache) == 0
        assert cache._lengths == {}
        assert cache.pool.nbytes == 0


def test_a_prefix_beyond_either_bound_pushes_no_other_out(state):
    for cache in (PrefixCache(tokens=4), PrefixCache(nbytes=4 * BLOCK)):
        cache.put(key(1, 1), state(5), 0)
        cache.put(key(2, 2, 2, 2, 2), state(6, width=2 * BLOCK), 0)
        assert loaded(cache, key(1, 1)) == [5.0, 5.0]
        assert len(cache) == 1


def test_a_cleared_cache_knows_nothing(state):
    cache = PrefixCache()
    cache.put(key(1, 2), state(), 0)
    cache.clear()
    assert cache.longest(key(1, 2)) == 0
    assert (len(cache), cache._used, len(cache._lengths), cache.pool.nbytes) == (0, 0, 0, 0)


def test_blocks_that_were_given_back_are_used_again():
    pool = Pool(4 * BLOCK, torch.device("cpu"))
    parts = [[torch.arange(BLOCK // 8) + 1000 * number, torch.full((3,), 7.5)] for number in range(3)]
    first, second = pool.put(parts[0]), pool.put(parts[1])
    pool.free(first)
    third = pool.put(parts[2])
    assert third.tolist() == first.tolist()
    for blocks, wanted in ((second, parts[1]), (third, parts[2])):
        flat = pool.get(blocks)
        assert torch.equal(flat[:BLOCK].view(torch.int64), wanted[0])
        assert torch.equal(flat[BLOCK : BLOCK + 12].view(torch.float32), wanted[1])


def test_the_lowest_free_blocks_are_taken_first():
    pool = Pool(8 * BLOCK, torch.device("cpu"))
    states = [pool.put([torch.full((BLOCK,), number, dtype=torch.uint8)]) for number in range(6)]
    for number in (4, 1, 3):
        pool.free(states[number])
    assert pool.put([torch.zeros(3 * BLOCK + 1, dtype=torch.uint8)]).tolist() == [1, 3, 4, 6]
    assert pool.nbytes == 7 * BLOCK
