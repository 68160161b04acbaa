"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), in the half-split order of the Llama family."""

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Turns queries and keys by an angle that grows with their position.

    Args:
        size: width of a head, even.
        base: how slowly the slowest pair turns; 10,000 in the paper.
    """

    table: Tensor

    def __init__(self, size: int, base: float) -> None:
        """Makes the angles of the first positions; more follow when they are needed."""
        super().__init__()
        self.size, self.base = size, base
        self.register_buffer("table", self._angles(512), persistent=False)

    def _angles(self, positions: int) -> Tensor:
        turns = self.base ** -(torch.arange(0, self.size, 2, dtype=torch.float64) / self.size)
        angles = torch.outer(torch.arange(positions, dtype=torch.float64), turns)
        cos, sin = angles.cos().float(), angles.sin().float()
        return torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)])

    def at(self, position: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        """Returns (cos, sin) of `position` [B, T], each [B, T, 1, size]; no position reaches `longest`."""
        if longest > self.table.shape[1]:
            with torch.inference_mode(mode=False):  # the table may be learned through later
                self.table = self._angles(max(longest, 2 * self.table.shape[1])).to(self.table.device)
        cos, sin = self.table[0][position], self.table[1][position]
        return cos.unsqueeze(2), sin.unsqueeze(2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Returns heads [B, T, H, size] turned by the angles of their positions."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin
