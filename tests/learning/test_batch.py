"""Packing wastes little, loses nothing, and changes no number."""

import random
from array import array

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poziomka.learning.samples.batch import Batch, _best_fit
from poziomka.learning.samples.weighting import Example


def example(length, number=0):
    """A text whose every value tells whose it is."""
    floats = [number + place / 1000 for place in range(length)]
    return Example(
        array("i", [(number * 7 + place) % 7 for place in range(length)]),
        array("f", floats),
        array("f", [-value for value in floats]),
        array("f", [value / 2 for value in floats]),
    )


def mixes():
    draw = random.Random(0)
    return {
        "of any length": [draw.randint(7, 76) for _ in range(256)],
        "of two lengths": [draw.choice([60, 76]) for _ in range(256)],
        "most at the budget": [draw.choice([76, 76, 76, draw.randint(10, 76)]) for _ in range(256)],
        "all at the budget": [76] * 256,
        "short": [draw.randint(7, 12) for _ in range(256)],
        "medium": [draw.randint(45, 76) for _ in range(256)],
        "exponential": [min(76, 7 + int(draw.expovariate(1 / 20))) for _ in range(256)],
        "of a warm start": [min(76, 6 + 2 * int(2 * 16.5 ** draw.random())) for _ in range(40)],
        "few": [draw.randint(7, 76) for _ in range(12)],
        "with a long tail": [min(2000, 20 + int(draw.lognormvariate(4, 1))) for _ in range(256)],
    }


@pytest.mark.parametrize(("name", "lengths"), mixes().items(), ids=mixes().keys())
def test_at_least_95_percent_of_the_computed_places_are_real(name, lengths):
    batch = Batch.pack([example(length) for length in lengths])
    assert batch.real == sum(lengths)
    assert batch.real_share >= 0.95


def test_rows_stay_short_where_short_rows_waste_little():
    assert Batch.pack([example(64) for _ in range(64)]).tokens.shape == (32, 128)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(40, 80))
def test_best_fit_puts_each_text_into_the_fullest_row_that_holds_it(lengths, room):
    rows = _best_fit(lengths, room)
    assert sorted(member for members in rows for member in members) == list(range(len(lengths)))
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    left = {}
    for member in order:
        row = next(number for number, members in enumerate(rows) if member in members)
        fitting = {number: space for number, space in left.items() if space >= lengths[member]}
        if fitting:
            assert row in fitting
            assert fitting[row] == min(fitting.values())
            assert row == min(number for number, space in fitting.items() if space == fitting[row])
        else:
            assert row not in left
        left[row] = left.get(row, room) - lengths[member]
    assert min(left.values()) >= 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.sampled_from([8, 64, 128]))
def test_every_text_lies_whole_in_one_row_with_its_own_weights(lengths, row):
    examples = [example(length, number) for number, length in enumerate(lengths)]
    batch = Batch.pack(examples, row)
    assert batch.sequences == len(lengths)
    assert batch.real == sum(lengths)
    for number, each in enumerate(examples):
        mine = batch.packing.sequence == number
        (where,) = mine.any(1).nonzero()[:, 0].tolist()
        assert batch.packing.position[mine].tolist() == list(range(len(each.tokens)))
        place = mine[where].nonzero()[:, 0]
        assert place.tolist() == list(range(int(place[0]), int(place[0]) + len(place)))
        for tensor, wanted in (
            (batch.tokens, each.tokens),
            (batch.policy_weight, each.policy),
            (batch.imitate_weight, each.imitate),
            (batch.logprobs, each.logprobs),
        ):
            assert tensor[mine].tolist() == list(wanted)
    padding = batch.packing.sequence == -1
    assert not batch.policy_weight[padding].any()
    assert not batch.imitate_weight[padding].any()


def test_packing_is_the_same_every_time():
    examples = [example(length, number) for number, length in enumerate(mixes()["of any length"])]
    one, two = Batch.pack(examples), Batch.pack(examples)
    assert torch.equal(one.tokens, two.tokens)
    assert torch.equal(one.packing.sequence, two.packing.sequence)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["transformer", "recurrent"])
def test_packed_logits_are_those_of_each_text_alone(build, architecture):
    model = build(architecture=architecture, loud=0.2)
    examples = [example(length, number) for number, length in enumerate([30, 4, 17, 9, 1, 22, 40])]
    batch = Batch.pack(examples, 64)
    assert len(batch.tokens) < len(examples)
    packed = model.logits(model(batch.tokens, packing=batch.packing))
    for number, each in enumerate(examples):
        alone = model.logits(model(torch.tensor([list(each.tokens)])))[0]
        assert (packed[batch.packing.sequence == number] - alone).abs().max() <= 1e-4


def test_an_empty_batch_has_no_places():
    batch = Batch.pack([])
    assert (batch.sequences, batch.real, batch.real_share) == (0, 0, 0.0)
    assert list(batch.split(100)) == []


@pytest.mark.parametrize("places", [1, 100, 300, 10**6])
def test_parts_are_whole_rows_and_nothing_is_lost(places):
    batch = Batch.pack([example(length, number) for number, length in enumerate(mixes()["medium"])])
    parts = list(batch.split(places))
    assert torch.equal(torch.cat([part.tokens for part in parts]), batch.tokens)
    assert torch.equal(torch.cat([part.policy_weight for part in parts]), batch.policy_weight)
    assert torch.equal(torch.cat([part.packing.position for part in parts]), batch.packing.position)
    assert all(part.tokens.numel() <= places or len(part.tokens) == 1 for part in parts)


def test_a_batch_moves_whole_to_a_device():
    moved = Batch.pack([example(5), example(9)]).to(torch.device("meta"))
    tensors = (moved.tokens, moved.packing.sequence, moved.packing.position, moved.policy_weight)
    assert {tensor.device.type for tensor in (*tensors, moved.imitate_weight, moved.logprobs)} == {"meta"}
