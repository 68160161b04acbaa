"""Causal attention with grouped queries, rotary positions and optional QK-norm.

Shapes: `B` sequences, `T` new tokens, `S` remembered tokens, `H` query heads, `K` key heads, `C` width of a head.
"""

import torch
from torch import Tensor, nn

from poziomka.models.layers.norm import RMSNorm
from poziomka.models.layers.rotary import rotate

Cache = tuple[Tensor, Tensor, tuple[Tensor, Tensor]]  # keys, values, and the places of the new ones in them


class Attention(nn.Module):
    """Multi-head attention; key heads may be fewer than query heads (Ainslie et al. 2023, arXiv 2305.13245)."""

    def __init__(self, width: int, heads: int, key_heads: int, head_width: int, *, qk_norm: bool) -> None:
        """Makes the three projections as one product."""
        super().__init__()
        self.heads, self.key_heads, self.head_width = heads, key_heads, head_width
        self.qkv = nn.Linear(width, (heads + 2 * key_heads) * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width, bias=False)
        self.query_norm = RMSNorm(head_width) if qk_norm else None
        self.key_norm = RMSNorm(head_width) if qk_norm else None

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        visible: Tensor | None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Mixes tokens.

        Args:
            x: [B, T, D].
            angles: rotary cos and sin of the tokens' positions.
            visible: [B, 1, T, S] which remembered tokens each new one may look at; None for plain causal.
            cache: keys and values [B, K, room, C] to write the new ones into, and where: index tensors (row, place),
                each broadcastable to [B, T]; S is then the columns of `visible`.

        Returns:
            [B, T, D].
        """
        batch, length = x.shape[:2]
        both = self.heads + self.key_heads
        qkv = self.qkv(x).view(batch, length, both + self.key_heads, self.head_width)
        query, key, value = qkv.split([self.heads, self.key_heads, self.key_heads], 2)
        if self.query_norm is not None and self.key_norm is not None:
            turned = rotate(torch.cat([self.query_norm(query), self.key_norm(key)], 2), *angles)
        else:
            turned = rotate(qkv[:, :, :both], *angles)
        query, key = turned[:, :, : self.heads].transpose(1, 2), turned[:, :, self.heads :]
        if cache is None:
            key, value = key.transpose(1, 2), value.transpose(1, 2)
        else:
            keys, values, (row, place) = cache
            keys[row, :, place] = key
            values[row, :, place] = value
            seen = visible.shape[-1] if visible is not None else length
            key, value = keys[:, :, :seen], values[:, :, :seen]
        mixed = nn.functional.scaled_dot_product_attention(
            query, key, value, visible, is_causal=visible is None, enable_gqa=self.heads != self.key_heads
        )
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, -1))
        return out

    def exported(self, prefix: str) -> dict[str, Tensor]:
        """Returns the weights under the Llama family's names."""
        sizes = [self.heads * self.head_width, self.key_heads * self.head_width, self.key_heads * self.head_width]
        query, key, value = self.qkv.weight.detach().split(sizes)
        weights = {
            f"{prefix}.q_proj.weight": query.contiguous(),
            f"{prefix}.k_proj.weight": key.contiguous(),
            f"{prefix}.v_proj.weight": value.contiguous(),
            f"{prefix}.o_proj.weight": self.out.weight.detach(),
        }
        if self.query_norm is not None and self.key_norm is not None:
            weights[f"{prefix}.q_norm.weight"] = self.query_norm.weight.detach()
            weights[f"{prefix}.k_norm.weight"] = self.key_norm.weight.detach()
        return weights

    def imported(self, prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns this layer's own state from weights under the Llama family's names."""
        parts = [weights[f"{prefix}.{name}_proj.weight"] for name in "qkv"]
        state = {"qkv.weight": torch.cat(parts), "out.weight": weights[f"{prefix}.o_proj.weight"]}
        if self.query_norm is not None:
            state["query_norm.weight"] = weights[f"{prefix}.q_norm.weight"]
            state["key_norm.weight"] = weights[f"{prefix}.k_norm.weight"]
        return state
