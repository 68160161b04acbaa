"""A prefix that several sequences share stands in a batch once, and changes no gradient."""

from array import array

import pytest
import torch

from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import Example
from poziomka.models.config import SlidingWindow, TransformerSettings
from poziomka.models.transformer import Transformer

SHAPES = {
    "plain": {},
    "grouped": {"key_heads": 2},
    "windowed": {"key_heads": 2, "window": SlidingWindow(tokens=6, layers=(0, 2), rope_base=1000.0)},
    "normed": {"key_heads": 1, "qk_norm": True, "unrotated": (1,)},
}


def family(prompt, owns, weight=0.1):
    """Examples that begin alike: nothing is learned from the prompt, and something from what follows."""
    length = len(prompt)
    return [
        Example(
            array("i", prompt + own),
            array("f", [0.0] * length + [weight * (number + 1)] * len(own)),
            array("f", [0.0] * (length + len(own))),
            array("f", [0.0] * length + [-1.0 - number] * len(own)),
        )
        for number, own in enumerate(owns)
    ]


def several():
    draw = torch.Generator().manual_seed(3)

    def words(count):
        return torch.randint(0, 50, (count,), generator=draw).tolist()

    groups = [family(words(7 + group), [words(3 + 2 * number + group) for number in range(4)]) for group in range(3)]
    return [example for group in groups for example in group]


def gradients(model, batch, places):
    model.zero_grad()
    total = 0.0
    for part in batch.split(places):
        hidden = model(part.tokens, packing=part.packing)[:, :-1]
        logprobs = torch.log_softmax(model.logits(hidden), -1).gather(2, part.tokens[:, 1:, None]).squeeze(2)
        loss = -(logprobs * part.policy_weight[:, 1:]).sum()
        loss.backward()
        total += float(loss.detach())
    return total, [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("places", [8192, 60, 30])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_sharing_prefixes_gives_the_gradient_of_reading_them_again(shape, places):
    torch.manual_seed(0)
    model = Transformer(TransformerSettings(width=64, layers=3, heads=4, **shape), 50)
    examples = several()
    wanted, each = gradients(model, Batch.pack(examples), 8192)
    found, shared = gradients(model, Batch.share(examples, places), places)
    assert found == pytest.approx(wanted, rel=1e-5)
    for one, other in zip(each, shared, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_prefix_is_computed_once_in_a_part():
    examples = family([1, 2, 3, 4, 5], [[6, 7], [8, 9, 10], [11]])
    batch = Batch.share(examples, 100)
    # the prompt's last token predicts the first that is learned from, so each sequence has its own
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 5, 6, 7, 5, 8, 9, 10, 5, 11]]
    assert batch.packing.position.tolist() == [[0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 4, 5]]
    assert batch.packing.sequence.tolist() == [[0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2]]
    assert batch.real == 13
    assert batch.stretches == [(0, 4), (4, 7), (4, 8), (4, 6)]
    assert Batch.pack(examples).stretches == [(0, 7), (0, 8), (0, 6)]
    assert batch.real_share == 1.0
    (part,) = batch.split(100)
    sharing = part.packing.sharing
    tokens = part.tokens.flatten()
    prefixes, others = sharing.parts
    assert tokens[prefixes.reads].tolist() == tokens[prefixes.asks].tolist() == [[1, 2, 3, 4]]
    assert tokens[others.reads].tolist() == [
        [1, 2, 3, 4, 5, 6, 7, 7],
        [1, 2, 3, 4, 5, 8, 9, 10],
        [1, 2, 3, 4, 5, 11, 11, 11],
    ]
    assert tokens[others.asks].tolist() == [[5, 6, 7, 7], [5, 8, 9, 10], [5, 11, 11, 11]]
    assert (prefixes.start.tolist(), others.start.tolist()) == ([0], [4, 4, 4])
    asks = torch.cat([prefixes.asks.flatten(), others.asks.flatten()])
    assert asks[sharing.home].tolist() == list(range(13)), "each place finds its own output"
    for texts, readers in ((prefixes, [1] * 4 + [0] * 9), (others, [3] * 4 + [1] * 9)):
        for place, count in enumerate(readers):
            found = texts.entries[texts.ends[place - 1] if place else 0 : texts.ends[place]]
            assert len(found) == count, "those that go on from it, or its own text"
            assert set(texts.reads.flatten()[found].tolist()) <= {place}


def test_a_family_too_large_for_a_part_shares_its_prefix_in_several():
    examples = family([1, 2, 3, 4], [[5, 6, 7]] * 5)
    batch = Batch.share(examples, 12)
    assert [part.tokens.shape[1] for part in batch.split(12)] == [11, 11, 7]
    assert sum(part.sequences for part in batch.split(12)) == 5


def test_weights_and_logprobs_travel_with_their_tokens():
    examples = several()
    batch = Batch.share(examples, 50)
    found = sorted(
        (token, round(weight, 5), logprob)
        for part in batch.split(50)
        for token, weight, logprob in zip(
            part.tokens[0].tolist(), part.policy_weight[0].tolist(), part.logprobs[0].tolist(), strict=True
        )
        if weight
    )
    wanted = sorted(
        (token, round(weight, 5), logprob)
        for example in examples
        for token, weight, logprob in zip(example.tokens, example.policy, example.logprobs, strict=True)
        if weight
    )
    assert found == wanted


def test_bfloat16_learns_through_products_as_fp32_does():
    torch.manual_seed(0)
    model = Transformer(TransformerSettings(width=64, layers=2, heads=4, key_heads=2), 50)
    wanted, each = gradients(model, Batch.share(several(), 100), 100)
    found, rough = gradients(model.to(torch.bfloat16), Batch.share(several(), 100), 100)
    assert found == pytest.approx(wanted, rel=1e-2)
    for one, other in zip(each, rough, strict=True):
        assert float((one - other.float()).norm()) < 0.05 * float(one.norm()) + 1e-4


def test_a_gradient_repeats_bit_for_bit_with_several_threads():
    """PyTorch's own sums over a prefix's readers differ in about every run here, with two threads in float32."""
    torch.manual_seed(0)
    model = Transformer(TransformerSettings(width=64, layers=2, heads=4, key_heads=2), 50)
    words = torch.randint(0, 50, (32, 30)).tolist()
    batch = Batch.share(family(list(range(40)), words), 8192)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _, first = gradients(model, batch, 8192)
        for _ in range(4):
            _, again = gradients(model, batch, 8192)
            assert all(map(torch.equal, first, again))
    finally:
        torch.set_num_threads(threads)
