"""Packed weights change the speed of sampling and nothing else."""

import pytest
import torch

from poziomka.core.errors import ModelError
from poziomka.models.layers.linear import Linear, packed, unpacked
from poziomka.models.layers.mixing import mix
from poziomka.models.shape import TransformerSettings
from poziomka.models.transformer import Transformer

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


def model(dtype):
    torch.manual_seed(0)
    return Transformer(TransformerSettings(width=64, layers=2, heads=4, key_heads=2), 300).to(dtype)


@pytest.mark.parametrize("rows", [1, 3, 8, 64])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_product_is_the_product(rows, bias):
    torch.manual_seed(0)
    layer = Linear(96, 160, bias=bias).to(torch.bfloat16)
    x = torch.randn(rows, 96, dtype=torch.bfloat16)
    with torch.inference_mode():
        plain = layer(x)
        layer.pack()
        assert layer.packed is not None
        assert torch.equal(layer(x), plain)


def test_packing_waits_for_nothing_that_learns():
    layer = Linear(8, 8).to(torch.bfloat16)
    layer.pack()
    with torch.no_grad():
        layer.weight.zero_()  # the layout still holds the old weight
    assert not layer(torch.ones(1, 8, dtype=torch.bfloat16)).sub(layer.bias).any(), "a learner reads the weight itself"


def test_fp32_is_left_as_it_is():
    assert packed(torch.zeros(4, 4)) is None


def test_a_packed_model_reads_as_before():
    tokens = torch.randint(0, 300, (3, 9))
    plain = model(torch.bfloat16)
    with torch.inference_mode():
        wanted = plain.logits(plain(tokens))
        plain.pack()
        assert torch.equal(plain.logits(plain(tokens)), wanted)


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
        learning.pack()
        assert torch.equal(sampling.logits(sampling(tokens)), learning.logits(learning(tokens)))
    with torch.no_grad():
        learning.norm.weight.zero_()
    assert sampling.norm.weight.all(), "no weight is shared with who learns"
    with pytest.raises(ModelError, match="for sampling only"):
        sampling(tokens)
