"""Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv 1910.07467)."""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Scales vectors to unit root mean square, then by a learned weight."""

    def __init__(self, size: int, epsilon: float = 1e-5) -> None:
        """Starts as the plain normalisation."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last axis."""
        return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)
