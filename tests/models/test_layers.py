"""The layers are the formulas of their papers."""

import math

import pytest
import torch

from poziomka.models.layers.attention import Attention, Heads, View
from poziomka.models.layers.feedforward import SwiGLU
from poziomka.models.layers.norm import RMSNorm
from poziomka.models.layers.recurrence import TAPS, Recurrence
from poziomka.models.layers.rotary import Rotary, rotate


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def turned(x, position, base=10_000.0):
    """Rotary embedding of [T, size] by complex numbers, half-split: element i goes with element i + size/2."""
    half = x.shape[-1] // 2
    angles = position.unsqueeze(1) * base ** (-torch.arange(half) * 2 / x.shape[-1])
    pairs = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([pairs.real, pairs.imag], -1)


def test_rotary_turns_pairs_by_their_angles():
    x, position = torch.randn(5, 8), torch.tensor([0.0, 3.0, 4.0, 50.0, 511.0])
    cos, sin = Rotary(8, 10_000.0).at(position.long().unsqueeze(0), 512)
    assert torch.allclose(rotate(x[None, :, None], cos, sin)[0, :, 0], turned(x, position), atol=1e-4)


def test_rotary_grows_when_positions_go_beyond_its_table():
    rotary = Rotary(8, 500.0)
    cos, sin = rotary.at(torch.tensor([[1500]]), 1501)
    x = torch.randn(1, 8)
    assert torch.allclose(
        rotate(x[None, :, None], cos, sin)[0, :, 0], turned(x, torch.tensor([1500.0]), 500.0), atol=1e-3
    )
    assert rotary.table.shape[1] >= 1501


def test_a_products_of_turned_vectors_depends_on_their_distance_only():
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    rotary = Rotary(8, 10_000.0)

    def product(at, other):
        return (
            rotate(query, *rotary.at(torch.tensor([[at]]), 512)) * rotate(key, *rotary.at(torch.tensor([[other]]), 512))
        ).sum()

    assert torch.allclose(product(5, 2), product(105, 102), atol=1e-4)


def test_the_norm_scales_to_unit_root_mean_square():
    norm = RMSNorm(6)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(4, 6)
    assert torch.allclose(norm(x), x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight, atol=1e-6)


def test_the_feedforward_is_swiglu():
    layer, x = SwiGLU(6, 10), torch.randn(3, 6)
    gate, up = layer.gate_up.weight[:10], layer.gate_up.weight[10:]
    wanted = (torch.nn.functional.silu(x @ gate.T) * (x @ up.T)) @ layer.down.weight.T
    assert torch.allclose(layer(x), wanted, atol=1e-6)


@pytest.mark.parametrize(("heads", "key_heads", "qk_norm"), [(4, 4, False), (4, 2, False), (4, 1, True)])
def test_attention_is_the_softmax_of_scaled_products_over_the_past(heads, key_heads, qk_norm):
    width, size, length = 24, 6, 7
    layer = Attention(width, Heads(heads, key_heads, size), RMSNorm if qk_norm else None)
    if qk_norm:
        torch.nn.init.normal_(layer.query_norm.weight)
        torch.nn.init.normal_(layer.key_norm.weight)
    x, position = torch.randn(1, length, width), torch.arange(length)
    found = layer(x, View(Rotary(size, 10_000.0).at(position.unsqueeze(0), length), None))
    q, k, v = layer.qkv(x)[0].split([heads * size, key_heads * size, key_heads * size], -1)
    mixed = []
    for head in range(heads):
        own, shared = slice(head * size, (head + 1) * size), head * key_heads // heads
        query, key, value = (
            q[:, own],
            k[:, shared * size : (shared + 1) * size],
            v[:, shared * size : (shared + 1) * size],
        )
        if qk_norm:
            query, key = layer.query_norm(query), layer.key_norm(key)
        scores = turned(query, position.float()) @ turned(key, position.float()).T / math.sqrt(size)
        scores = scores.masked_fill(~torch.ones(length, length, dtype=torch.bool).tril(), -torch.inf)
        mixed.append(torch.softmax(scores, -1) @ value)
    assert torch.allclose(found[0], layer.out(torch.cat(mixed, -1)), atol=1e-5)


def test_the_recurrence_is_its_recurrence():
    """Token by token: convolve, fade the state, add value times key, read with the query."""
    width, heads, length = 12, 3, 9
    size = width // heads
    layer = Recurrence(width, heads)
    torch.nn.init.normal_(layer.taps, std=0.5)
    x = torch.randn(1, length, width)
    visible = torch.ones(1, length, length, dtype=torch.bool).tril()
    past, state = torch.zeros(1, TAPS - 1, 3 * width), torch.zeros(1, heads, size, size)
    found, new_past, new_state = layer(x, past, state, torch.ones(1, length, dtype=torch.bool), visible)
    inputs = torch.cat([past[0], layer.qkv(x)[0]])
    states = torch.zeros(heads, size, size)
    for t in range(length):
        mixed = torch.nn.functional.silu(sum(layer.taps[tap] * inputs[t + TAPS - 1 - tap] for tap in range(TAPS)))
        query, key, value = mixed.view(3, heads, size)
        key = torch.nn.functional.normalize(key, dim=-1)
        fade = torch.sigmoid(layer.gate(x[0, t]))
        states = fade[:, None, None] * states + key[:, :, None] * value[:, None, :]
        out = layer.norm((query[:, None, :] @ states)[:, 0]).reshape(width)
        assert torch.allclose(found[0, t], layer.out(out), atol=1e-5)
    assert torch.allclose(new_state[0], states, atol=1e-5)
    assert torch.equal(new_past[0], inputs[-(TAPS - 1) :])
