"""A memory forks, keeps, joins and grows; no row ever knows of another."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poziomka.models.cache import Memory, zeros


def memory(rows, capacity=None, room=2):
    """A store of tokens and a state a row, in two layers; row r holds r + 1 tokens, each and its state spelled r."""
    rows, capacity = list(rows), capacity or len(rows)
    shapes = {"seen": (capacity, room), "state": (capacity, 3)}
    stores = {name: [torch.zeros(shape) for _ in range(2)] for name, shape in shapes.items()}
    made = Memory(stores, {"seen": 1}, len(rows))
    for place, row in enumerate(rows):
        made.reserve(row + 1)
        for layer in range(2):
            made.stores["seen"][layer][place, : row + 1] = row
            made.stores["state"][layer][place] = row
        made.lengths[place] = row + 1
    return made


def rows_of(made):
    """Reads back which rows a memory holds, and checks that each is whole."""
    found = []
    for place in range(made.rows):
        row = int(made["state"][0][place, 0])
        assert made.lengths[place] == row + 1
        for layer in range(2):
            assert bool((made["seen"][layer][place, : row + 1] == row).all())
            assert bool((made["state"][layer][place] == row).all())
        found.append(row)
    return found


def test_a_fork_copies_rows_and_shares_nothing():
    origin = memory([0, 3, 1])
    fork = origin.fork(torch.tensor([1, 1, 2]))
    for layer in (*origin["state"], *origin["seen"]):
        layer.fill_(9)
    assert rows_of(fork) == [3, 3, 1]


def test_a_fork_has_only_as_much_room_as_its_longest_row():
    assert memory([0, 7, 1]).fork(torch.tensor([2, 0])).stores["seen"][0].shape == (2, 2)


def test_a_fork_of_no_rows_is_empty():
    fork = memory([0, 3]).fork(torch.tensor([], dtype=torch.long))
    assert (fork.rows, fork.capacity) == (0, 0)
    fork.join(memory([2, 5]))
    assert rows_of(fork) == [2, 5]


def test_kept_rows_stand_in_the_order_asked_for():
    made = memory([0, 1, 2, 3])
    made.keep(torch.tensor([3, 1]))
    assert rows_of(made) == [3, 1]
    assert made.capacity == 4


def test_rows_may_change_places():
    made = memory([4, 1, 2])
    made.keep(torch.tensor([2, 1, 0]))
    assert rows_of(made) == [2, 1, 4]


def test_keeping_nothing_leaves_room_for_others():
    made = memory([4, 1, 2])
    made.keep(torch.tensor([], dtype=torch.long))
    assert rows_of(made) == []
    made.join(memory([5]))
    assert rows_of(made) == [5]


@pytest.mark.fault("A12")
def test_room_for_tokens_grows_by_a_sixteenth_or_to_what_is_asked_for():
    made = memory([0, 1], room=4)
    for length, room in ((4, 4), (5, 64), (65, 128), (2000, 2048), (2049, 2176), (4199, 4224)):
        made.reserve(length)
        assert made.room == room
    assert rows_of(made) == [0, 1]


def test_room_for_rows_grows_to_what_is_needed_and_can_be_given_back():
    made = memory([0, 1, 2])
    made.join(memory([7]))
    assert made.capacity == 4
    assert rows_of(made) == [0, 1, 2, 7]
    made.keep(torch.tensor([3, 1]))
    made.resize(2, 64)
    assert (made.capacity, made.room) == (2, 64)
    assert rows_of(made) == [7, 1]


def test_rows_may_join_several_times_and_in_any_order():
    made = memory([4])
    made.join(memory([0, 3, 1]), torch.tensor([2, 2, 1]))
    assert rows_of(made) == [4, 1, 1, 3]


def test_what_a_row_remembers_can_be_put_away_and_loaded_again():
    origin, made = memory([0, 5, 1]), memory([2, 2], room=64)
    flat = torch.cat([part.contiguous().view(torch.uint8).flatten() for part in origin.parts(1)])
    assert flat.nbytes == 4 * 2 * (6 + 3)
    made.load(1, flat, 6)
    assert rows_of(made) == [2, 5]


def test_large_tensors_are_zero_and_can_be_written():
    like = torch.zeros(1, dtype=torch.bfloat16)
    large = zeros((3, 700_000), like)
    assert (large.dtype, large.shape, int(large.count_nonzero())) == (torch.bfloat16, (3, 700_000), 0)
    large += 1
    assert int(large.sum(dtype=torch.float32)) == 2_100_000


def test_advancing_counts_each_row():
    made = memory([0, 1])
    made.advance(torch.tensor([2, 0]))
    made.advance(1)
    assert made.lengths.tolist() == [4, 3]


def test_bytes_are_those_of_all_stores():
    assert memory([0, 1], room=4).nbytes == 4 * (2 * 2 * 4 + 2 * 2 * 3)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_forks_keeps_and_joins_rows_stay_whole(data):
    made = memory(data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=5)), capacity=6)
    wanted = rows_of(made)
    for _ in range(data.draw(st.integers(1, 6))):
        match data.draw(st.sampled_from(["fork", "keep", "join"])):
            case "fork" if wanted:
                rows = data.draw(st.lists(st.integers(0, len(wanted) - 1), min_size=1, max_size=6))
                made, wanted = made.fork(torch.tensor(rows)), [wanted[row] for row in rows]
            case "keep":
                rows = data.draw(st.permutations(range(len(wanted))))[: data.draw(st.integers(0, len(wanted)))]
                made.keep(torch.tensor(rows, dtype=torch.long))
                wanted = [wanted[row] for row in rows]
            case _:
                more = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=4))
                made.join(memory(more, room=12))
                wanted = wanted + more
        assert rows_of(made) == wanted
