"""Weights in bfloat16 that learn in fp32.

A step of 1e-5 would vanish in a weight of bfloat16, whose spacing is 1/128 of its size. So the optimizer works on a
copy of each weight in fp32 (Micikevicius et al. 2018, arXiv 1710.03740, section 3.1), forward and backward run on the
rounded ones, and gradients of the parts of a batch are added up in fp32.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from poziomka.models.kernels import ops as kernels

STRIPE = 4096  # rows that PyTorch adds at once, since it makes a copy of them in fp32 first


class Masters:
    """The weights that the optimizer moves: fp32 copies, and the model's own where these are fp32 already.

    Args:
        parameters: the model's weights by name; those that do not learn are left out.

    Attributes:
        names: of the weights that learn.
        learned: these weights.
        masters: for each its master, in the same order.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Copies what is not fp32."""
        learning = {name: parameter for name, parameter in parameters if parameter.requires_grad}
        self.names, self.learned = list(learning), list(learning.values())
        self.masters = [
            weight if weight.dtype == torch.float32 else nn.Parameter(weight.detach().float())
            for weight in self.learned
        ]

    @property
    def named(self) -> dict[str, nn.Parameter]:
        """The masters by their weights' names."""
        return dict(zip(self.names, self.masters, strict=True))

    @property
    def apart(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Weights that are not their own masters, with these."""
        pairs = zip(self.learned, self.masters, strict=True)
        return [(weight, master) for weight, master in pairs if weight is not master]

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Moves each weight's gradient to its master, and adds it up there, as soon as a backward pass has made it."""
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
        """Returns the fp32 gradient of one of the weights, zeros at first; None where that does not learn."""
        for own, master in zip(self.learned, self.masters, strict=True):
            if own is weight:
                if master.grad is None:
                    master.grad = torch.zeros_like(master)
                return master.grad
        return None

    def clear(self) -> None:
        """Frees all gradients."""
        for tensor in (*self.learned, *self.masters):
            tensor.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Rounds the masters into the weights, in place."""
        for weight, master in self.apart:
            weight.copy_(master)

    @torch.no_grad()
    def reset(self) -> None:
        """Takes the weights as they stand for masters."""
        for weight, master in self.apart:
            master.copy_(weight)

    def kept(self, groups: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, nn.Parameter]]:
        """Yields the masters that the plain model's file does not hold, by their numbers in the optimizer's state."""
        copies = {id(master) for _, master in self.apart}
        copies |= {id(master) for name, master in self.named.items() if ".adapters." in name}
        ordered = (parameter for group in groups for parameter in group["params"])
        yield from ((number, each) for number, each in enumerate(ordered) if id(each) in copies)


def add(total: Tensor, more: Tensor) -> None:
    """Adds a gradient to a total in fp32, in place."""
    if kernels.on(more):
        kernels.add(total, more)
        return
    for here, part in zip(total.split(STRIPE), more.split(STRIPE), strict=True):
        here.add_(part)
