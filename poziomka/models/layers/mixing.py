"""Scaled dot-product attention, with the fastest implementation for the device, dtype and gradient mode.

Shapes: `B` sequences, `T` new tokens, `S` tokens attended to, `H` query heads, `K` key heads, `C` head width.

On a CPU, PyTorch's fused attention repeats keys for grouped queries, and its backward pass in bfloat16 takes two to
ten times as long as plain products (benchmarks/primitives.py measures both). There, the queries that share a key head
are stacked as rows of one product.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from poziomka.models.kernels import ops as kernels

LONGEST = 1024  # tokens up to which plain products may store all attention weights for the backward pass


def mix(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, scale: float) -> Tensor:
    """Returns softmax(query · key * scale) · value, [B, H, T, C]: attention with grouped queries.

    `B` sequences, `T` new tokens, `S` tokens attended to, `H` query heads, `K` key heads, `C` head width.

    Args:
        query: [B, H, T, C].
        key: [B, K, S, C]; K divides H.
        value: [B, K, S, C].
        visible: [B or 1, 1, T, S] attention mask; None for plain causal attention, where T is S.
        scale: factor on the scores.
    """
    grouped = query.shape[1] != key.shape[1]
    if query.device.type != "cpu" or not (grouped or query.dtype == torch.bfloat16):
        return scaled_dot_product_attention(
            query, key, value, visible, is_causal=visible is None, scale=scale, enable_gqa=grouped
        )
    batch, heads, length, width = query.shape
    keys, seen = key.shape[1], key.shape[2]
    if torch.is_grad_enabled() and seen > LONGEST and visible is None:
        key, value = (each.repeat_interleave(heads // keys, 1) for each in (key, value))
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    if visible is None:
        visible = torch.ones(length, seen, dtype=torch.bool, device=query.device).tril_()[None, None]
    if length > 1 or torch.is_grad_enabled():
        visible = visible.repeat(1, 1, heads // keys, 1)
    rows = query.reshape(batch, keys, -1, width)
    if torch.is_grad_enabled():
        mixed = _products(rows, key, value, visible, scale)
    else:
        mixed = scaled_dot_product_attention(rows, key, value, visible, scale=scale)
    return mixed.view(batch, heads, length, width)


def mix_own(query: Tensor, key: Tensor, value: Tensor, start: Tensor, scale: float, window: int) -> Tensor:
    """Returns causal attention, [S, H, Q, C], of queries that begin in the middle of their texts.

    Query q of text s is at position start[s] + q and attends to positions up to that one. `S` texts, `L` tokens of the
    longest text, `Q` queries of each text, `H` query heads, `K` key heads, `C` head width.

    Args:
        query: [S, H, Q, C].
        key: [S, K, L, C]; K divides H.
        value: [S, K, L, C].
        start: [S] position of each text's first query.
        scale: factor on the scores.
        window: maximum number of positions that a query attends to, its own included; 0 for all.
    """
    texts, _, length, width = query.shape
    keys, seen = key.shape[1], key.shape[2]
    if not kernels.on(query):
        place = start[:, None, None] + torch.arange(length, device=start.device).unsqueeze(1)
        ahead = place - torch.arange(seen, device=start.device)
        visible = (ahead >= 0) & (ahead < window) if window else ahead >= 0
        return mix(query, key, value, visible.unsqueeze(1), scale)
    rows = query.reshape(texts * keys, -1, width)
    scores = torch.bmm(rows, key.reshape(texts * keys, seen, width).transpose(1, 2))
    weights = kernels.soften(scores, start.repeat_interleave(keys), length, scale, window)
    return torch.bmm(weights, value.reshape(texts * keys, seen, width)).view(query.shape)


def _products(rows: Tensor, key: Tensor, value: Tensor, visible: Tensor, scale: float) -> Tensor:
    """Returns attention [B, K, R, C], computed by plain batched products.

    Args:
        rows: [B, K, R, C] the R queries of each key head.
        key: [B, K, S, C].
        value: [B, K, S, C].
        visible: [B or 1, 1, R, S] attention mask.
        scale: factor on the scores.
    """
    batch, keys, many, width = rows.shape
    hidden = torch.zeros(visible.shape, dtype=rows.dtype, device=rows.device).masked_fill_(~visible, -torch.inf)
    if len(hidden) == 1:
        hidden = hidden[0].expand(batch * keys, -1, -1)
    else:
        hidden = hidden.expand(-1, keys, -1, -1).reshape(batch * keys, many, -1)
    folded = (rows * scale).reshape(batch * keys, many, width)
    scores = torch.baddbmm(hidden, folded, key.reshape(batch * keys, -1, width).transpose(1, 2))
    mixed = torch.bmm(scores.softmax(-1), value.reshape(batch * keys, -1, width))
    return mixed.view(batch, keys, many, width)
