"""Attention over packed texts whose shared prefixes are stored once in the batch.

Shapes: `N` positions of a batch, `S` texts of a part, `L` tokens of the part's longest text, `Q` tokens of the longest
unshared part of one of its texts, `K` key heads, `H` query heads, `C` head width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from poziomka.models.kernels import ops as kernels


class Texts(NamedTuple):
    """Batch positions of the keys and queries of several texts.

    Attributes:
        reads: [S, L] batch position of each text's tokens in order, padded by repeating the last one.
        asks: [S, Q] batch position of the tokens that belong to one text alone, padded by repeating the last one.
        start: [S] number of a text's tokens before its own ones.
        entries: flat indices into `reads` (row-major) without the padding, sorted by batch position.
        ends: [N] end of each batch position's range in `entries`.
    """

    reads: Tensor
    asks: Tensor
    start: Tensor
    entries: Tensor
    ends: Tensor

    def take(self, x: Tensor) -> Tensor:
        """Gathers keys or values [N, K, C] for each text: [S, L, K, C]."""
        return kernels.gather(x, self.reads, self.entries, self.ends) if kernels.on(x) else x[self.reads]


class Sharing(NamedTuple):
    """Layout of texts with shared prefixes; a prefix is a text of its own, separate from its continuations.

    Attributes:
        parts: texts grouped into prefixes and continuations, so that neither is padded to the length of the other.
        home: [N] flat index into all parts' `asks` (concatenated, row-major) of each batch position's own query.
    """

    parts: tuple[Texts, ...]
    home: Tensor

    def to(self, device: torch.device) -> "Sharing":
        """Returns a copy on a device."""
        return Sharing(tuple(Texts(*(each.to(device) for each in part)) for part in self.parts), self.home.to(device))

    @property
    def longest(self) -> int:
        """Number of tokens of the longest text."""
        return max(part.reads.shape[1] for part in self.parts)

    def queries(self, x: Tensor) -> tuple[Tensor, ...]:
        """Gathers queries [N, H, C] for each part: [S, Q, H, C]."""
        out: tuple[Tensor, ...] = _Queries.apply(x, self.home, *(part.asks for part in self.parts))
        return out

    def back(self, found: Sequence[Tensor]) -> Tensor:
        """Scatters the parts' outputs [S, Q, H, C] back to the batch positions: [N, H, C]."""
        out: Tensor = _Back.apply(self.home, *found)
        return out


class _Queries(torch.autograd.Function):
    """Gather of queries; the backward pass reads each position's own entry, as gradients of padding are zero."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, home: Tensor, *asks: Tensor) -> tuple[Tensor, ...]:
        """See Sharing.queries."""
        ctx.save_for_backward(home)
        return tuple(x[places] for places in asks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradient of x."""
        everything = torch.cat([grad.flatten(0, 1) for grad in grads])
        return everything[ctx.saved_tensors[0]], None, *([None] * len(grads))


class _Back(torch.autograd.Function):
    """Selection of each position's own output; padding gets zero gradients."""

    @staticmethod
    def forward(ctx: Any, home: Tensor, *found: Tensor) -> Tensor:
        """See Sharing.back."""
        ctx.save_for_backward(home)
        ctx.shapes = [each.shape for each in found]
        return torch.cat([each.flatten(0, 1) for each in found])[home]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients of the parts' outputs."""
        counts = [shape[0] * shape[1] for shape in ctx.shapes]
        out = grad.new_zeros(sum(counts), *grad.shape[1:])
        out[ctx.saved_tensors[0]] = grad
        parts = zip(out.split(counts), ctx.shapes, strict=True)
        return None, *(part.view(shape) for part, shape in parts)
