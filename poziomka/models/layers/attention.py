"""Causal attention with grouped queries, rotary positions and optional QK-norm.

Shapes: `B` sequences, `T` new tokens, `S` cached and new tokens, `H` query heads, `K` key heads, `C` head width.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from poziomka.models.kernels import ops as kernels
from poziomka.models.layers.linear import Linear
from poziomka.models.layers.mixing import mix, mix_own
from poziomka.models.layers.rotary import rotate
from poziomka.models.layers.sharing import Sharing

Cache = tuple[Tensor, Tensor, tuple[Tensor, Tensor]]  # keys, values, and the indices (row, position) of the new ones


class View(NamedTuple):
    """Positions and attention mask of the tokens in one forward pass.

    `B` sequences, `T` new tokens, `S` cached and new tokens.

    Attributes:
        angles: rotary cos and sin of the tokens' positions; None for a layer without rotary positions.
        visible: [B or 1, 1, T, S] attention mask, True where a token attends to another; None for plain causal
            attention.
        window: maximum number of tokens to attend to, the token itself included; 0 for all. `visible` includes it.
        sharing: layout of shared prefixes, which replaces `visible` (None then); None without shared prefixes.
    """

    angles: tuple[Tensor, Tensor] | None
    visible: Tensor | None
    window: int = 0
    sharing: Sharing | None = None


class Heads(NamedTuple):
    """Number of query heads and of key heads, and the width of a head."""

    query: int
    key: int
    width: int


class Attention(nn.Module):
    """Multi-head attention with grouped queries (Ainslie et al. 2023, arXiv 2305.13245).

    Args:
        width: width of the residual stream.
        heads: number and width of heads.
        norm: creates the norms of queries and keys from the head width; None for no QK-norm.
        qkv_bias, out_bias: whether the projections have biases.
        scale: factor on the scores; None for 1 / sqrt(head width).
    """

    def __init__(
        self,
        width: int,
        heads: Heads,
        norm: Callable[[int], nn.Module] | None = None,
        *,
        qkv_bias: bool = False,
        out_bias: bool = False,
        scale: float | None = None,
    ) -> None:
        """Creates the fused projection of queries, keys and values, and the output projection."""
        super().__init__()
        self.heads, self.key_heads, self.head_width = heads
        self.scale = heads.width**-0.5 if scale is None else scale
        self.qkv = Linear(width, (heads.query + 2 * heads.key) * heads.width, bias=qkv_bias)
        self.out = Linear(heads.query * heads.width, width, bias=out_bias)
        self.query_norm = norm(heads.width) if norm is not None else None
        self.key_norm = norm(heads.width) if norm is not None else None

    def forward(self, x: Tensor, view: View, cache: Cache | None = None) -> Tensor:
        """Returns attention over the new tokens and, with a cache, the cached ones.

        `B` sequences, `T` new tokens, `D` width of the residual stream, `K` key heads, `C` head width.

        Args:
            x: [B, T, D].
            view: positions and attention mask of the tokens.
            cache: decode cache, updated in place: keys [B, K, room, C], values [B, K, room, C], and the indices (row,
                position) of the new tokens as two tensors that broadcast to [B, T]. The tokens attend to as many cached
                positions as `view.visible` has columns. None without a cache.

        Returns:
            [B, T, D].
        """
        batch, length = x.shape[:2]
        both = self.heads + self.key_heads
        qkv = self.qkv(x).view(batch, length, both + self.key_heads, self.head_width)
        query, key, value = qkv.split([self.heads, self.key_heads, self.key_heads], 2)
        turned = qkv[:, :, :both]
        if self.query_norm is not None and self.key_norm is not None:
            turned = torch.cat([self.query_norm(query), self.key_norm(key)], 2)
        if cache is not None and length == 1 and not torch.is_grad_enabled() and _served(turned, view, cache):
            keys, values, (_, place) = cache
            stores = (keys, values, place.flatten())
            mixed = kernels.attend(turned, value, view.angles, stores, (self.scale, view.window))
        else:
            if view.angles is not None:
                turned = rotate(turned, *view.angles)
            mixed = self._mixed(turned[:, :, : self.heads], turned[:, :, self.heads :], value, view, cache)
        out: Tensor = self.out(mixed.reshape(batch, length, -1))
        return out

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor, view: View, cache: Cache | None) -> Tensor:
        """Returns the values, mixed by attention: [B, T, H, C], or [B * T, H, C] with shared prefixes.

        Queries are [B, T, H, C]; keys and values are [B, T, K, C].
        """
        if view.sharing is not None:
            query, key, value = (each.flatten(0, 1) for each in (query, key, value))
            found = []
            for asking, part in zip(view.sharing.queries(query), view.sharing.parts, strict=True):
                keys, values = (part.take(each).transpose(1, 2) for each in (key, value))
                mixed = mix_own(asking.transpose(1, 2), keys, values, part.start, self.scale, view.window)
                found.append(mixed.transpose(1, 2))
            return view.sharing.back(found)
        if cache is None:
            key, value = key.transpose(1, 2), value.transpose(1, 2)
        else:
            keys, values, (row, place) = cache
            keys[row, :, place] = key
            values[row, :, place] = value
            seen = view.visible.shape[-1] if view.visible is not None else key.shape[1]
            key, value = keys[:, :, :seen], values[:, :, :seen]
        return mix(query.transpose(1, 2), key, value, view.visible, self.scale).transpose(1, 2)


def _served(heads: Tensor, view: View, cache: Cache) -> bool:
    """Whether the C++ kernel for one new token supports these tensors: bfloat16, on a CPU."""
    angles = view.angles or ()
    return kernels.on(heads) and all(each.dtype is heads.dtype for each in (*angles, *cache[:2]))
