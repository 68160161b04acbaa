"""Packed weights change the speed of sampling and nothing else."""

import copy

import pytest
import torch

from poziomka.core.errors import ModelError
from poziomka.models.config import TransformerSettings
from poziomka.models.layers import linear
from poziomka.models.layers.linear import Linear, lays_out_bfloat16, packed, unpacked
from poziomka.models.layers.mixing import mix
from poziomka.models.recurrent import Recurrent
from poziomka.models.transformer import Transformer

LAYS_OUT = pytest.mark.skipif(
    not lays_out_bfloat16(),
    reason="NOT SHOWN HERE: this processor has no products in bfloat16, so nothing is laid out",
)


def model(dtype):
    torch.manual_seed(0)
    return Transformer(TransformerSettings(width=64, layers=2, heads=4, key_heads=2), 300).to(dtype)


def read_alike(sampling, learning, tokens):
    """The same hidden states, bit for bit, and the same logits but for their rounding to bfloat16 where one samples."""
    hidden = learning(tokens)
    assert torch.equal(sampling(tokens), hidden)
    return torch.allclose(sampling.logits(hidden), learning.logits(hidden), rtol=2**-8, atol=1e-6)


@LAYS_OUT
@pytest.mark.parametrize("rows", [1, 3, 8, 64])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_product_is_the_product(rows, bias):
    torch.manual_seed(0)
    layer = Linear(96, 160, bias=bias).to(torch.bfloat16)
    x = torch.randn(rows, 96, dtype=torch.bfloat16)
    with torch.inference_mode():
        plain = layer(x)
        layer.take(layer.weight)
        assert layer.packed is not None
        assert torch.equal(layer(x), plain)


def test_fp32_is_left_as_it_is():
    assert packed(torch.zeros(4, 4)) is None


def test_a_packed_model_reads_as_before():
    tokens = torch.randint(0, 300, (3, 9))
    plain = model(torch.bfloat16)
    with torch.inference_mode():
        assert read_alike(plain.for_sampling(), plain, tokens)


@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_every_way_of_mixing_gives_the_same(heads, key_heads, learning, masked):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, count, 7, 16) for count in (heads, key_heads, key_heads))
    visible = torch.ones(7, 7, dtype=torch.bool).tril()
    scores = query @ key.repeat_interleave(heads // key_heads, 1).transpose(2, 3) * 0.3
    weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
    wanted = weights @ value.repeat_interleave(heads // key_heads, 1)
    given = visible[None, None].expand(2, -1, -1, -1) if masked else None
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        with torch.set_grad_enabled(learning):
            found = mix(query.to(dtype), key.to(dtype), value.to(dtype), given, 0.3)
        assert torch.allclose(found.float(), wanted, atol=tolerance)


@LAYS_OUT
def test_who_only_samples_keeps_layouts_and_can_still_say_its_weights():
    learning, sampling = model(torch.bfloat16), model(torch.bfloat16)
    tokens = torch.randint(0, 300, (3, 9))
    with torch.no_grad():
        for weight in learning.parameters():
            weight.mul_(1.5)
    sampling.sample_with(sampling.state_dict())
    assert sampling.blocks[0].attention.qkv.weight.is_meta, "the weight itself is gone"
    sampling.sample_with(learning.state_dict())
    found = unpacked(sampling)
    assert all(torch.equal(found[name], weight) for name, weight in learning.state_dict().items())
    with torch.inference_mode():
        assert read_alike(sampling, learning, tokens)
    with torch.no_grad():
        learning.norm.weight.zero_()
    assert sampling.norm.weight.all(), "no weight is shared with who learns"
    with pytest.raises(ModelError, match="for sampling only"):
        sampling(tokens)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", [Transformer, Recurrent])
@pytest.mark.parametrize("own", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
def test_a_sampler_takes_weights_of_another_type(kind, own, given, tied):
    torch.manual_seed(0)
    learning = kind(TransformerSettings(width=64, layers=2, heads=4, tied=tied), 300).to(given)
    sampling = copy.deepcopy(learning).to(own).for_sampling()
    assert all(weight.requires_grad for weight in learning.parameters()), "the learner's weights are not the sampler's"
    tokens = torch.randint(0, 300, (3, 9))
    with torch.no_grad():
        for weight in learning.parameters():
            weight.mul_(1.5)
    sampling.sample_with(learning.state_dict())
    same = copy.deepcopy(learning).to(own)
    with torch.inference_mode():
        assert read_alike(sampling, same, tokens)
        before = sampling.logits(sampling(tokens))
    with torch.no_grad():
        for weight in learning.parameters():
            weight.zero_()
    with torch.inference_mode():
        assert torch.equal(sampling.logits(sampling(tokens)), before), "nothing is shared"


@LAYS_OUT
def test_what_only_samples_cannot_be_copied():
    with pytest.raises(ModelError, match="cannot be copied"):
        model(torch.bfloat16).for_sampling().for_sampling()


def test_what_rests_keeps_no_layout():
    sampling = model(torch.bfloat16).for_sampling()
    sampling.rest()
    assert sampling.packed_head is None
    assert all(each.packed is None for each in sampling.modules() if isinstance(each, Linear))


def test_a_processor_without_products_in_bfloat16_samples_from_plain_weights(monkeypatch):
    monkeypatch.setattr(linear, "lays_out_bfloat16", lambda: False)
    tokens = torch.randint(0, 300, (3, 9))
    plain = model(torch.bfloat16)
    with torch.inference_mode():
        sampling = plain.for_sampling()
        assert read_alike(sampling, plain, tokens)
    assert not any(weight.is_meta for weight in sampling.parameters())


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 5, 48])
def test_a_large_weight_in_float32_is_laid_out_too_and_multiplies_alike(rows):
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(512, 320, generator=generator), torch.randn(rows, 320, generator=generator)
    linear = Linear(320, 512, bias=False)
    linear.take(weight)
    assert linear.weight.is_meta
    torch.testing.assert_close(linear(x), x @ weight.T, rtol=1e-5, atol=1e-4)
    assert torch.equal(unpacked(torch.nn.Sequential(linear))["0.weight"], weight)


def test_a_small_weight_in_float32_stays_as_it_is():
    assert packed(torch.randn(128, 128)) is None
