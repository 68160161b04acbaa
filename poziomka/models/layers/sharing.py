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

    `S` texts, `L` tokens of the longest text, `Q` tokens of the longest unshared part of a text, `N` positions of the
    batch.

    Attributes:
        reads: [S, L] batch position of each text's tokens in order, padded by repeating the last one.
        asks: [S, Q] batch position of each text's unshared tokens (those of this text alone), padded by repeating the
            last one.
        start: [S] number of shared tokens at the beginning of each text, before its unshared ones.
        entries: flat indices into `reads` (row-major) without the padding, sorted by batch position.
        ends: [N] for each batch position, the end (exclusive) of its range in `entries`.
    """

    reads: Tensor
    asks: Tensor
    start: Tensor
    entries: Tensor
    ends: Tensor

    def take(self, x: Tensor) -> Tensor:
        """Returns keys or values x [N, K, C] of all batch positions, gathered for each text: [S, L, K, C]."""
        return kernels.gather(x, self.reads, self.entries, self.ends) if x.is_cpu else x[self.reads]


class Sharing(NamedTuple):
    """Layout of texts with shared prefixes; a prefix is a text of its own, separate from its continuations.

    Attributes:
        parts: texts grouped into prefixes and continuations, so that neither is padded to the length of the other.
        home: [N] for each batch position, the index of its query among the `asks` of all parts (flattened row-major and
            concatenated).
    """

    parts: tuple[Texts, ...]
    home: Tensor

    def to(self, device: torch.device) -> "Sharing":
        """Returns a copy of this layout with its tensors on a device."""
        return Sharing(tuple(Texts(*(each.to(device) for each in part)) for part in self.parts), self.home.to(device))

    @property
    def longest(self) -> int:
        """Number of tokens of the longest text."""
        return max(part.reads.shape[1] for part in self.parts)

    def queries(self, x: Tensor) -> tuple[Tensor, ...]:
        """Returns queries x [N, H, C] of all batch positions, gathered for each of `parts`: [S, Q, H, C]."""
        out: tuple[Tensor, ...] = _Queries.apply(x, self.home, *(part.asks for part in self.parts))
        return out

    def back(self, found: Sequence[Tensor]) -> Tensor:
        """Returns the outputs of `parts`, [S, Q, H, C] each, scattered back to the batch positions: [N, H, C]."""
        out: Tensor = _Back.apply(self.home, *found)
        return out


class _Queries(torch.autograd.Function):
    """Autograd function of `Sharing.queries`.

    The backward pass reads each position's own entry only: padding, which repeats positions, has zero gradients.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, home: Tensor, *asks: Tensor) -> tuple[Tensor, ...]:
        """Returns the queries of each part, as `Sharing.queries`.

        Args:
            ctx: context of the autograd function.
            x: [N, H, C] queries.
            home: as in `Sharing`.
            asks: `Texts.asks` of each part.
        """
        ctx.save_for_backward(home)
        return tuple(x[places] for places in asks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradient of x, and None for the indices."""
        everything = torch.cat([grad.flatten(0, 1) for grad in grads])
        return everything[ctx.saved_tensors[0]], None, *([None] * len(grads))


class _Back(torch.autograd.Function):
    """Autograd function of `Sharing.back`: selects each position's own output; padding gets zero gradients."""

    @staticmethod
    def forward(ctx: Any, home: Tensor, *found: Tensor) -> Tensor:
        """Returns the outputs at the batch positions, as `Sharing.back`.

        Args:
            ctx: context of the autograd function.
            home: as in `Sharing`.
            found: the output of each part.
        """
        ctx.save_for_backward(home)
        ctx.shapes = [each.shape for each in found]
        return torch.cat([each.flatten(0, 1) for each in found])[home]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients of the parts' outputs, after None for `home`."""
        counts = [shape[0] * shape[1] for shape in ctx.shapes]
        out = grad.new_zeros(sum(counts), *grad.shape[1:])
        out[ctx.saved_tensors[0]] = grad
        parts = zip(out.split(counts), ctx.shapes, strict=True)
        return None, *(part.view(shape) for part, shape in parts)
