"""Muon: orthogonalised momentum, computed in the precision that the processor multiplies fastest."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from poziomka.models.layers.linear import multiplies_bfloat16

A, B, C = 3.4445, -4.7750, 2.0315  # coefficients of the quintic iteration (Jordan 2024)
STEPS = 5
EPSILON = 1e-7


class Muon(torch.optim.Muon):
    """PyTorch's Muon with the scale of Liu et al. 2025; it computes in fp32 on CPUs without bfloat16 instructions.

    Jordan 2024, kellerjordan.github.io/posts/muon, with the scale 0.2 √(longer side) of arXiv 2502.16982, section 2.2.
    PyTorch's own step multiplies in bfloat16 on every device. CPUs without instructions for it emulate them, which
    takes more time than fp32. Elsewhere the result is that of PyTorch, bit for bit.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # PyTorch's takes one, and has overloads
        """Updates every weight that has a gradient; the closure is ignored."""
        for group in self.param_groups:
            kept, momentum = 1 - group["lr"] * group["weight_decay"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight.grad)
                mean = state["momentum_buffer"].lerp_(weight.grad, 1 - momentum)
                update = orthogonal(weight.grad.lerp(mean, momentum), precision(weight))
                weight.mul_(kept).add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(weight.shape)))


def precision(weight: Tensor) -> torch.dtype:
    """Returns the dtype in which a weight's device multiplies matrices fastest: bfloat16, or fp32 on older CPUs."""
    return torch.float32 if weight.device.type == "cpu" and not multiplies_bfloat16() else torch.bfloat16


def orthogonal(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns U S Vᵀ for a matrix U Σ Vᵀ, with singular values S of about 0.7 to 1.2, by five Newton-Schulz steps.

    Args:
        matrix: [M, N], not all zero.
        dtype: precision of the products and of the result.
    """
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.to(dtype, copy=True)
    x = x.T if tall else x
    x.div_(x.norm().clamp(min=EPSILON))
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x.T if tall else x
