"""AdamW whose moments are kept in bfloat16: half the memory.

DeepSeek-V3 was trained so (arXiv 2412.19437, section 3.3.2), with weights and gradients in fp32.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from poziomka.models.kernels import ops as kernels

MOMENTS = ("exp_avg", "exp_avg_sq")  # as PyTorch's own AdamW names them
STRIPE = 2**18  # weights that the plain expression works on at once: what it needs besides stays in the cache


class RoundedAdamW(torch.optim.Optimizer):
    """Loshchilov & Hutter 2019, arXiv 1711.05101; computed in fp32, moments rounded to the nearest after a step.

    Args:
        groups: weights in fp32, and their settings.
        lr: learning rate.
        betas: decays of the moments.
        eps: added to the root of the second.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float = 1e-8
    ) -> None:
        """Starts with moments of zero: made later, they would lie in the holes that a step leaves in memory."""
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
        for group in self.param_groups:
            for weight in group["params"]:
                moments = {name: torch.zeros_like(weight, dtype=torch.bfloat16) for name in MOMENTS}
                self.state[weight] = {"step": torch.zeros(()), **moments}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # PyTorch's takes one, and has overloads
        """Takes a step with every weight that has a gradient; a closure is not called."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)

    def _move(self, weight: nn.Parameter, group: Mapping[str, Any]) -> None:
        state = self.state[weight]
        state["step"] += 1
        (beta1, beta2), taken = group["betas"], float(state["step"])
        how = (
            1 - group["lr"] * group["weight_decay"],
            beta1,
            beta2,
            group["lr"] / (1 - beta1**taken),
            (1 - beta2**taken) ** 0.5,
            group["eps"],
        )
        tensors = [each.view(-1) for each in (weight, weight.grad, *(state[name] for name in MOMENTS))]
        if kernels.on(tensors[2]):
            kernels.adamw(*tensors, *how)
        else:
            for parts in zip(*(each.split(STRIPE) for each in tensors), strict=True):
                _adamw(*parts, *how)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes a state; the moments stay what they are, though PyTorch gives them the weights' type."""
        super().load_state_dict(dict(state_dict))
        for state in self.state.values():
            state |= {name: state[name].to(torch.bfloat16) for name in MOMENTS}


def _adamw(weight: Tensor, grad: Tensor, mean: Tensor, square: Tensor, *how: float) -> None:
    """Moves weights [N] in place by their gradient; moments are in bfloat16, all else in fp32."""
    kept, beta1, beta2, rate, correction, epsilon = how
    first = mean.float().lerp_(grad, 1 - beta1)
    second = square.float().mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    weight.mul_(kept).addcdiv_(first, second.sqrt().div_(correction).add_(epsilon), value=-rate)
    mean.copy_(first)
    square.copy_(second)
