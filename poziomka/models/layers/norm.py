"""Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv 1910.07467)."""

import torch
from torch import Tensor, nn

from poziomka.models.kernels import ops as kernels


class RMSNorm(nn.Module):
    """Scales vectors to unit root mean square, then by a learned weight.

    Args:
        size: size of the last axis.
        epsilon: added to the mean square.
        offset: whether to scale by 1 + weight, in fp32, as Gemma does.
    """

    def __init__(self, size: int, epsilon: float = 1e-5, *, offset: bool = False) -> None:
        """Initialises the weight to a scale of 1."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size) if offset else torch.ones(size))
        self.epsilon, self.offset = epsilon, offset

    def forward(self, x: Tensor) -> Tensor:
        """Returns x [..., size], normalised over its last axis."""
        if kernels.on(x) and self.weight.dtype is x.dtype:
            return kernels.norm(x, self.weight, float(self.offset), self.epsilon)
        if self.offset:
            weight = 1.0 + self.weight.float()
            return nn.functional.rms_norm(x.float(), weight.shape, weight, self.epsilon).type_as(x)
        return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)
