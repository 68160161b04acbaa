"""AdamW and the learning rate's course."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from poziomka.core.settings import setting

LARGE = 2**24  # weights from which on the temporaries of a step on all of them at once would matter


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) and its schedule."""

    rate: float = setting(2e-4, "highest learning rate", low=0.0)
    warmup: int = setting(5, "steps over which the rate rises linearly", low=0)
    decay: float = setting(0.5, "last share of the steps, over which the rate falls linearly", low=0.0, high=1.0)
    floor: float = setting(0.05, "share of the highest rate that is left at the end", low=0.0, high=1.0)
    beta1: float = setting(0.9, "decay of the mean gradient", low=0.0, high=1.0)
    beta2: float = setting(0.95, "decay of the mean squared gradient", low=0.0, high=1.0)
    weight_decay: float = setting(0.0, "decay of matrices; norms and biases never decay", low=0.0)
    clip: float = setting(1.0, "largest norm of the gradient", low=0.0)

    def rate_at(self, step: int, share: float) -> float:
        """Returns the rate of step 1, 2, …: up over the warm-up, level, then down to the floor.

        Args:
            step: which step it is.
            share: how much of the stage was done before it, 0 to 1.
        """
        rise = min(1.0, step / self.warmup) if self.warmup else 1.0
        left = (1.0 - share) / self.decay if self.decay else 1.0
        return self.rate * rise * max(self.floor, min(1.0, left))


def optimizer_of(parameters: Mapping[str, nn.Parameter], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Returns the optimizer of weights by name."""
    groups = [
        {"params": [p for p in parameters.values() if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters.values() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    large = sum(parameter.numel() for parameter in parameters.values()) > LARGE
    how = {"fused": True} if large else {"foreach": True}
    return torch.optim.AdamW(groups, lr=settings.rate, betas=(settings.beta1, settings.beta2), **how)
