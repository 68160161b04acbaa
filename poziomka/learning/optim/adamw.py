"""AdamW with moments in bfloat16, which take half the memory of fp32.

DeepSeek-V3 was trained this way (arXiv 2412.19437, section 3.3.2), with weights and gradients in fp32.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from poziomka.models.kernels import ops as kernels

MOMENTS = ("exp_avg", "exp_avg_sq")  # as PyTorch's own AdamW names them
STRIPE = 2**18  # weights per call of the PyTorch expression, so that its temporaries stay in the cache


class RoundedAdamW(torch.optim.Optimizer):
    """AdamW that computes in fp32 and rounds the moments to the nearest bfloat16 after a step.

    Loshchilov & Hutter 2019, arXiv 1711.05101.

    Args:
        groups: parameter groups as for PyTorch's optimizers; weights must be fp32.
        lr: learning rate.
        betas: decay rates of the first and the second moment.
        eps: added to the square root of the second moment.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float = 1e-8
    ) -> None:
        """Allocates zero moments now: allocated later, they would fragment the memory that a step frees."""
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
        for group in self.param_groups:
            for weight in group["params"]:
                moments = {name: torch.zeros_like(weight, dtype=torch.bfloat16) for name in MOMENTS}
                self.state[weight] = {"step": torch.zeros(()), **moments}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # PyTorch's takes one, and has overloads
        """Updates every weight that has a gradient; the closure is ignored."""
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
        """Loads a state; converts the moments back to bfloat16, since PyTorch casts them to the weights' dtype."""
        super().load_state_dict(dict(state_dict))
        for state in self.state.values():
            state |= {name: state[name].to(torch.bfloat16) for name in MOMENTS}


def _adamw(weight: Tensor, grad: Tensor, mean: Tensor, square: Tensor, *how: float) -> None:
    """Updates weights [N] and their moments in place; moments are in bfloat16, all else in fp32.

    Args:
        weight: [N] weights.
        grad: [N] gradient.
        mean: [N] first moment.
        square: [N] second moment.
        *how: 1 - rate × decay, beta1, beta2, rate / (1 - beta1^t), √(1 - beta2^t) and eps, at step t.
    """
    kept, beta1, beta2, rate, correction, epsilon = how
    first = mean.float().lerp_(grad, 1 - beta1)
    second = square.float().mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    weight.mul_(kept).addcdiv_(first, second.sqrt().div_(correction).add_(epsilon), value=-rate)
    mean.copy_(first)
    square.copy_(second)
