"""Mixed-precision training: fp32 master weights for a model in bfloat16.

A step of 1e-5 would vanish in a weight of bfloat16, whose spacing is 1/128 of its size. The optimizer therefore
updates an fp32 copy of each weight (Micikevicius et al. 2018, arXiv 1710.03740, section 3.1), forward and backward run
on the rounded weights, and gradients of the microbatches are accumulated in fp32.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from poziomka.models.kernels import ops as kernels

STRIPE = 4096  # rows added at once: PyTorch converts them to an fp32 copy first


class Masters:
    """Master weights that the optimizer updates: fp32 copies, or the model's own weights if these are fp32.

    Args:
        parameters: the model's weights by name; frozen ones are ignored.

    Attributes:
        names: names of the trained weights.
        learned: the trained weights of the model.
        masters: the master of each trained weight, in the same order.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Copies the trained weights that are not fp32."""
        learning = {name: parameter for name, parameter in parameters if parameter.requires_grad}
        self.names, self.learned = list(learning), list(learning.values())
        self.masters = [
            weight if weight.dtype == torch.float32 else nn.Parameter(weight.detach().float())
            for weight in self.learned
        ]

    @property
    def named(self) -> dict[str, nn.Parameter]:
        """The master weights, by the names of the weights they are masters of."""
        return dict(zip(self.names, self.masters, strict=True))

    @property
    def apart(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Pairs (weight, master) of the weights that have an fp32 copy as their master."""
        pairs = zip(self.learned, self.masters, strict=True)
        return [(weight, master) for weight, master in pairs if weight is not master]

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Context manager: moves each weight's gradient to its fp32 master when a backward pass has computed it."""
        masters = {id(weight): master for weight, master in self.apart}

        def move(weight: Tensor) -> None:
            master, made = masters[id(weight)], weight.grad
            assert made is not None
            if master.grad is None:
                master.grad = made.float()
            else:
                add(master.grad, made)
            weight.grad = None

        handles = [weight.register_post_accumulate_grad_hook(move) for weight, _ in self.apart]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def gradient_of(self, weight: Tensor) -> Tensor | None:
        """Returns the fp32 gradient of a weight, allocated as zeros if absent; None if the weight is frozen."""
        for own, master in zip(self.learned, self.masters, strict=True):
            if own is weight:
                if master.grad is None:
                    master.grad = torch.zeros_like(master)
                return master.grad
        return None

    def clear(self) -> None:
        """Frees the gradients of the weights and of their masters."""
        for tensor in (*self.learned, *self.masters):
            tensor.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Copies each fp32 master to its weight, rounded to the weight's dtype."""
        for weight, master in self.apart:
            weight.copy_(master)

    @torch.no_grad()
    def reset(self) -> None:
        """Copies the current weights to their fp32 masters."""
        for weight, master in self.apart:
            master.copy_(weight)

    def kept(self, groups: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, nn.Parameter]]:
        """Yields (index in the optimizer, master) of the masters that a checkpoint saves beside the model's weights.

        These are the fp32 copies and the adapters' weights, which the plain model's file does not contain.

        Args:
            groups: the optimizer's parameter groups, which number the masters.
        """
        copies = {id(master) for _, master in self.apart}
        copies |= {id(master) for name, master in self.named.items() if ".adapters." in name}
        ordered = (parameter for group in groups for parameter in group["params"])
        yield from ((number, each) for number, each in enumerate(ordered) if id(each) in copies)


def add(total: Tensor, more: Tensor) -> None:
    """Adds a gradient to an fp32 total in place."""
    if kernels.on(more):
        kernels.add(total, more)
        return
    for here, part in zip(total.split(STRIPE), more.split(STRIPE), strict=True):
        here.add_(part)
