"""How attention finds texts whole where a prefix that several share stands in the batch once.

Shapes: `N` places of a batch, `S` texts of a part, `L` tokens of its longest text, `Q` tokens of the longest stretch
that one of its texts has for itself.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from poziomka.models.kernels import ops as kernels


class Texts(NamedTuple):
    """Which places make up some texts, and whose queries look at them.

    Attributes:
        reads: [S, L] the places of each text's tokens in order, its last one repeated at the end.
        asks: [S, Q] the places of the tokens that a text has for itself, its last one repeated at the end.
        start: [S] how many tokens of a text come before these.
        entries: numbers of the entries of `reads` (row-major) that are not repeated, ordered by their place.
        ends: [N] where in `entries` those of each place end.
    """

    reads: Tensor
    asks: Tensor
    start: Tensor
    entries: Tensor
    ends: Tensor

    def take(self, x: Tensor) -> Tensor:
        """[N, K, C] to [S, L, K, C]: what is looked at."""
        return kernels.gather(x, self.reads, self.entries, self.ends) if kernels.on(x) else x[self.reads]


class Sharing(NamedTuple):
    """Texts that share prefixes. The prefixes are texts of their own, apart from those that go on from them.

    Attributes:
        parts: those of one kind together, so that neither is padded to the other's length.
        home: [N] the entry of all parts' `asks` (one part after the other, row-major) that is the place itself.
    """

    parts: tuple[Texts, ...]
    home: Tensor

    def to(self, device: torch.device) -> "Sharing":
        """Returns it on a device."""
        return Sharing(tuple(Texts(*(each.to(device) for each in part)) for part in self.parts), self.home.to(device))

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return max(part.reads.shape[1] for part in self.parts)

    def queries(self, x: Tensor) -> tuple[Tensor, ...]:
        """[N, H, C] to [S, Q, H, C] for each part: what looks."""
        out: tuple[Tensor, ...] = _Queries.apply(x, self.home, *(part.asks for part in self.parts))
        return out

    def back(self, found: Sequence[Tensor]) -> Tensor:
        """[S, Q, H, C] of each part to [N, H, C]: what was found, for each place by itself."""
        out: Tensor = _Back.apply(self.home, *found)
        return out


class _Queries(torch.autograd.Function):
    """Reading entries, one of which is each place's own; the gradient of all others is zero."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, home: Tensor, *asks: Tensor) -> tuple[Tensor, ...]:
        """See Sharing.queries."""
        ctx.save_for_backward(home)
        return tuple(x[places] for places in asks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """By x."""
        everything = torch.cat([grad.flatten(0, 1) for grad in grads])
        return everything[ctx.saved_tensors[0]], None, *([None] * len(grads))


class _Back(torch.autograd.Function):
    """Reading each place's own entry; the others get no gradient."""

    @staticmethod
    def forward(ctx: Any, home: Tensor, *found: Tensor) -> Tensor:
        """See Sharing.back."""
        ctx.save_for_backward(home)
        ctx.shapes = [each.shape for each in found]
        return torch.cat([each.flatten(0, 1) for each in found])[home]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """By what was found."""
        counts = [shape[0] * shape[1] for shape in ctx.shapes]
        out = grad.new_zeros(sum(counts), *grad.shape[1:])
        out[ctx.saved_tensors[0]] = grad
        parts = zip(out.split(counts), ctx.shapes, strict=True)
        return None, *(part.view(shape) for part, shape in parts)
