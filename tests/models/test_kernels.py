"""The compiled kernels give what the plain expressions beside them give, up to rounding, and their gradients too."""

import copy
import os
import warnings
from array import array
from contextlib import nullcontext
from functools import lru_cache

import pytest
import torch
from torch.nn.functional import rms_norm, silu

from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import Example
from poziomka.models.config import SlidingWindow, TransformerSettings
from poziomka.models.kernels import build as compiled
from poziomka.models.kernels import ops as kernels
from poziomka.models.layers.mixing import mix_own
from poziomka.models.layers.norm import RMSNorm
from poziomka.models.layers.rotary import Rotary
from poziomka.models.transformer import Transformer

NEEDED = pytest.mark.skipif(
    not compiled.compiler_here() or os.environ.get("POZIOMKA_KERNELS") == "off",
    reason="NOT TESTED: there is no C++ compiler to build kernels with, or POZIOMKA_KERNELS is off",
)
ROUNDING = 2**-8  # of bfloat16, relative


@pytest.fixture(autouse=True)
def loaded():
    compiled.library()


def numbers(*shape):
    return torch.randn(shape).bfloat16()


def compare(found, wanted, tolerance=ROUNDING):
    """Compares with what was computed in fp32, relative to the largest number."""
    assert found.dtype is torch.bfloat16
    assert (found.float() - wanted).abs().max() <= tolerance * wanted.abs().max() + 1e-6


def both_ways(kernel, plain, *given):
    """Runs a kernel in bfloat16 and the expression in fp32, forward and backward, and compares."""
    ours = [each.clone().requires_grad_() for each in given]
    theirs = [each.float().requires_grad_() for each in given]
    found, wanted = kernel(*ours), plain(*theirs)
    compare(found, wanted)
    with torch.no_grad():
        compare(kernel(*given), wanted)
    grad = torch.randn_like(wanted).bfloat16()
    found.backward(grad)
    wanted.backward(grad.float())
    for one, other in zip(ours, theirs, strict=True):
        compare(one.grad, other.grad, 2 * ROUNDING)


@NEEDED
@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(5, 7, 48), (1, 1, 33), (300, 576)])
def test_norm(shape, offset):
    torch.manual_seed(0)
    both_ways(
        lambda x, w: kernels.norm(x, w, offset, 1e-5),
        lambda x, w: rms_norm(x, x.shape[-1:], w + offset, 1e-5),
        numbers(*shape),
        numbers(shape[-1]),
    )


@NEEDED
@pytest.mark.parametrize("shape", [(3, 5, 2 * 37), (400, 2 * 96)])
def test_the_gate(shape):
    torch.manual_seed(0)

    def plain(both):
        gate, up = both.chunk(2, -1)
        return silu(gate) * up

    both_ways(kernels.gated, plain, 4 * numbers(*shape))


@NEEDED
def test_the_gate_of_numbers_far_out_is_exact_and_what_is_no_number_stays_so():
    both = torch.tensor([[-1e4, -90.0, 0.0, 90.0, 1e4, torch.nan, *[1.0] * 6]]).bfloat16()
    found = kernels.gated(both)[0]
    assert found[:5].tolist() == pytest.approx([0.0, 0.0, 0.0, 90.0, 9984.0], abs=1e-30)
    assert found[5].isnan()
    assert kernels.norm(both, torch.ones(12).bfloat16(), 0.0, 1e-5).isnan().all()


@NEEDED
@pytest.mark.parametrize("batch", [1, 3])
def test_turning(batch):
    torch.manual_seed(0)
    cos, sin = (each.bfloat16() for each in Rotary(32, 10_000).at(torch.randint(0, 90, (batch, 7)), 90))

    def plain(x):
        return x * cos.float() + x.roll(16, -1) * sin.float()

    both_ways(lambda x: kernels.rotate(x, cos, sin), plain, numbers(3, 7, 5, 32))
    wide = numbers(3, 7, 9, 32)  # as queries and keys lie beside values
    compare(kernels.rotate(wide[:, :, :5], cos, sin), plain(wide[:, :, :5].float()))


@NEEDED
@pytest.mark.parametrize("window", [0, 4])
@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (6, 2)])
def test_mixing_what_a_text_has_for_itself(heads, key_heads, window):
    torch.manual_seed(0)
    start = torch.tensor([0, 3, 6])

    def act(query, key, value):
        return mix_own(query, key, value, start, 0.3, window)

    both_ways(act, act, numbers(3, heads, 5, 16), numbers(3, key_heads, 11, 16), numbers(3, key_heads, 11, 16))


@NEEDED
def test_whatever_way_tensors_lie_in_memory():
    torch.manual_seed(0)
    cos, sin = (each.bfloat16() for each in Rotary(16, 10_000).at(torch.tensor([[3], [4]]), 9))
    wanted = kernels.rotate(one := numbers(2, 1, 6, 16), cos, sin)
    other = one.transpose(1, 2).contiguous().transpose(1, 2)  # one token a row, heads first
    assert torch.equal(kernels.rotate(other, cos, sin), wanted)
    x, weight = numbers(5, 24), numbers(24)
    wanted = kernels.norm(x, weight, 0.0, 1e-5)
    assert torch.equal(kernels.norm(x.t().contiguous().t(), weight, 0.0, 1e-5), wanted)
    wide = torch.stack([weight, weight], 1)[:, 0]
    assert torch.equal(kernels.norm(x, wide, 0.0, 1e-5), wanted)


@NEEDED
def test_a_norm_in_fp32_beside_bfloat16_is_left_to_pytorch():
    layer = RMSNorm(24)
    x = numbers(5, 24)
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch says that this is slow
        found = layer(x)
    assert torch.allclose(found.float(), rms_norm(x.float(), (24,), layer.weight, 1e-5), rtol=0.02, atol=0.02)


@NEEDED
def test_gathering_sums_what_came_from_one_place():
    torch.manual_seed(0)
    places = torch.tensor([[0, 1, 2, 2], [0, 1, 3, 4]])
    entries, ends = torch.tensor([0, 4, 1, 5, 2, 6, 7]), torch.tensor([2, 4, 5, 6, 7])
    x = numbers(5, 2, 8).requires_grad_()
    found = kernels.gather(x, places, entries, ends)
    assert torch.equal(found, x[places])
    grad = numbers(2, 4, 2, 8)
    found.backward(grad)
    wanted = torch.zeros(5, 2, 8).index_add_(0, places.flatten()[entries], grad.flatten(0, 1)[entries].float())
    compare(x.grad, wanted)


@pytest.mark.parametrize("built", [pytest.param(True, marks=NEEDED), False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_gathering_sums_in_the_same_order_whatever_the_threads(dtype, built):
    torch.manual_seed(0)
    places = torch.randint(0, 50, (32, 150))  # PyTorch's own sums of float32 differ in each of twenty runs here
    entries, ends = places.flatten().argsort(stable=True), torch.bincount(places.flatten(), minlength=60).cumsum(0)
    x, grad = torch.randn(60, 3, 64, dtype=dtype, requires_grad=True), torch.randn(32, 150, 3, 64, dtype=dtype)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        wanted = torch.zeros(60, 3, 64, dtype=dtype).index_put_((places,), grad, accumulate=True)
        for count in (1, 2, 2, 2, 2):
            torch.set_num_threads(count)
            with nullcontext() if built else kernels.plain():
                (found,) = torch.autograd.grad(kernels.gather(x, places, entries, ends), x, grad)
            if dtype is not torch.bfloat16 or not built:  # the kernel rounds bfloat16 once
                assert torch.equal(found, wanted)
    finally:
        torch.set_num_threads(threads)


SHAPES = {
    "plain": {},
    "grouped": {"key_heads": 2},
    "normed": {"key_heads": 1, "qk_norm": True},
    "windowed": {"window": SlidingWindow(tokens=5, layers=(0, 2))},
    "unrotated": {"unrotated": (0,)},
    "gemma's": {"offset_norms": True, "post_norms": True, "gate": "gelu_tanh", "qk_norm": True},
}


def model(shape, seed=0):
    torch.manual_seed(seed)
    found = Transformer(TransformerSettings(width=64, layers=3, heads=4, **shape), 50)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return found.bfloat16()


def far(found, wanted):
    return float((found.float() - wanted).abs().mean())


def as_near_as_without(act, ours, exact):
    """Compares what is found with kernels, and without, to what the model in fp32 gives; returns the former."""
    wanted = act(exact)
    with kernels.plain():
        without = act(ours)
    found = act(ours)
    assert not torch.equal(found, without), "the kernels had no part in it"
    assert far(found, wanted) <= 1.1 * far(without, wanted)
    return found


@NEEDED
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_decoding_with_kernels_is_as_near_to_fp32_as_without(shape):
    ours = model(shape)
    exact = copy.deepcopy(ours).float()
    tokens = torch.randint(0, 50, (3, 14))

    @torch.inference_mode()
    def read(what):
        memory = what.memory(3, 4)
        counts = torch.tensor([7, 3, 5])
        what(tokens[:, :7], memory, counts=counts)
        steps = [what.logits(what(tokens[:, place : place + 1], memory)) for place in range(7, 14)]
        return torch.cat(steps, 1)

    as_near_as_without(read, ours, exact)


@NEEDED
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_gradients_with_kernels_are_as_near_to_fp32_as_without(shape):
    """Over ten draws of weights: of a single one, rounding alone makes the distances differ by an eighth."""
    texts = [[1, 2, 3, 4, 5, *reply] for reply in ([6, 7], [8, 9, 10, 11, 12, 13], [14])]
    zeros = [array("f", bytes(4 * len(text))) for text in texts]
    weights = [array("f", [0.0] * 5 + [0.3] * (len(text) - 5)) for text in texts]
    examples = [
        Example(array("i", text), zero, weight, zero) for text, zero, weight in zip(texts, zeros, weights, strict=True)
    ]

    def gradient(what):
        what.zero_grad()
        for part in Batch.share(examples, 100).split(100):
            logits = what.logits(what(part.tokens, packing=part.packing)[:, :-1])
            logprobs = torch.log_softmax(logits, -1).gather(2, part.tokens[:, 1:, None]).squeeze(2)
            (logprobs * part.imitate_weight[:, 1:]).sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in what.parameters()])

    drawn = [model(shape, seed) for seed in range(10)]
    exact = [copy.deepcopy(ours).float() for ours in drawn]
    found = as_near_as_without(lambda models: torch.cat([gradient(each) for each in models]), drawn, exact)
    for ours in drawn:
        ours.checkpointing = True
    assert torch.equal(torch.cat([gradient(ours) for ours in drawn]), found)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("POZIOMKA_CACHE", str(tmp_path))
    before = compiled.library
    monkeypatch.setattr(compiled, "library", lru_cache(before.__wrapped__))  # the process keeps what it has loaded
    monkeypatch.setattr(kernels, "library", compiled.library)
    return tmp_path


@pytest.mark.slow
@NEEDED
def test_kernels_are_built_once(fresh):
    compiler = compiled.compiler_here()
    first = compiled.built(compiler)
    assert first.parent == fresh / "kernels"
    made = first.stat().st_mtime_ns
    assert compiled.built(compiler) == first
    assert first.stat().st_mtime_ns == made
    assert list(first.parent.iterdir()) == [first], "nothing unfinished is left"


def test_without_a_compiler_plain_expressions_do_the_work(fresh, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(fresh))
    assert compiled.library() is None
    assert not kernels.on(numbers(1))


def test_who_does_not_want_kernels_gets_none(fresh, monkeypatch):
    monkeypatch.setenv("POZIOMKA_KERNELS", "off")
    assert compiled.library() is None


def test_a_compiler_that_fails_is_told_of_once_and_done_without(fresh, monkeypatch):
    wrong = fresh / "compiler"
    wrong.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "kernels.cpp:1: too old" >&2\nexit 1\n')
    wrong.chmod(0o755)
    monkeypatch.setenv("CXX", str(wrong))
    with pytest.warns(UserWarning, match=r"could not be built with .*compiler.*too old"):
        assert compiled.library() is None
    assert compiled.library() is None


def test_fp32_is_left_to_pytorch():
    assert not kernels.on(torch.zeros(2))
