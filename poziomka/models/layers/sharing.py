"""How attention finds texts whole where a prefix that several share stands in the batch once.

Shapes: `N` places of a batch, `S` texts (prefixes count as texts of their own), `L` tokens of the longest text, `Q`
tokens of the longest stretch that a text has for itself.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from poziomka.models.layers import kernels


class Sharing(NamedTuple):
    """Which places make up a text, and whose queries look at it.

    Attributes:
        reads: [S, L] the places of each text's tokens in order, its last one repeated at the end.
        asks: [S, Q] the places of the tokens that a text has for itself, its last one repeated at the end; a prefix's
            own tokens are its own.
        start: [S] how many tokens of a text come before these.
        home: [N] the entry of `asks` (row-major) that is the place itself.
        entries: numbers of the entries of `reads` (row-major) that are not repeated, ordered by their place.
        ends: [N] where in `entries` those of each place end.
    """

    reads: Tensor
    asks: Tensor
    start: Tensor
    home: Tensor
    entries: Tensor
    ends: Tensor

    def to(self, device: torch.device) -> "Sharing":
        """Returns it on a device."""
        return Sharing(*(each.to(device) for each in self))

    def queries(self, x: Tensor) -> Tensor:
        """[N, H, C] to [S, Q, H, C]: what looks."""
        out: Tensor = _Queries.apply(x, self.asks, self.home)
        return out

    def texts(self, x: Tensor) -> Tensor:
        """[N, K, C] to [S, L, K, C]: what is looked at."""
        return kernels.gather(x, self.reads, self.entries, self.ends) if kernels.on(x) else x[self.reads]

    def back(self, x: Tensor) -> Tensor:
        """[S, Q, H, C] to [N, H, C]: what was found, for each place by itself."""
        out: Tensor = _Back.apply(x, self.home)
        return out


class _Queries(torch.autograd.Function):
    """Reading entries, one of which is each place's own; the gradient of all others is zero."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, asks: Tensor, home: Tensor) -> Tensor:
        """See Sharing.queries."""
        ctx.save_for_backward(home)
        return x[asks]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """By x."""
        return grad.flatten(0, 1)[ctx.saved_tensors[0]], None, None


class _Back(torch.autograd.Function):
    """Reading each place's own entry; the others get no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, home: Tensor) -> Tensor:
        """See Sharing.back."""
        ctx.save_for_backward(home)
        ctx.shape = x.shape
        return x.flatten(0, 1)[home]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """By x."""
        out = grad.new_zeros(ctx.shape)
        out.flatten(0, 1)[ctx.saved_tensors[0]] = grad
        return out, None
