"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), in the half-split order of the Llama family."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from poziomka.core.settings import setting
from poziomka.models.kernels import ops as kernels


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """RoPE scaling: reduces rotary frequencies for texts longer than those of the first training.

    linear: all frequencies are divided by the factor (Chen et al. 2023, arXiv 2306.15595). llama3: low frequencies are
    divided by the factor, high ones are unchanged, and those between are interpolated (Llama 3.1, arXiv 2407.21783).
    yarn: interpolation over a ramp, and larger queries and keys (Peng et al. 2023, arXiv 2309.00071).
    """

    kind: Literal["linear", "llama3", "yarn"] = setting("linear", "linear, llama3 or yarn")
    factor: float = setting(1.0, "factor by which the context is extended", low=1)
    original: int = setting(4096, "original context, tokens (llama3, yarn)", low=1)
    slow: float = setting(1.0, "rotations within `original` tokens below which a frequency is scaled fully", low=0)
    fast: float = setting(32.0, "rotations above which a frequency is not scaled; llama3 uses 4", low=0)
    loudness: float | None = setting(None, "attention factor, on cos and sin (yarn); none: 1 + 0.1 ln(factor)", low=0)
    truncate: bool = setting(True, "round the ends of the ramp to whole dimensions (yarn)")


class Rotary(nn.Module):
    """Table of the cosines and sines of rotary position embedding, for queries and keys.

    Args:
        size: head width, even.
        base: base of the frequencies (`rope_theta`); 10,000 in the paper.
        scaling: scaling of the frequencies for longer texts; None for the paper's frequencies.
    """

    def __init__(self, size: int, base: float, scaling: RopeScaling | None = None) -> None:
        """Stores the settings; `at` computes the table when needed, in fp32 for weights of any dtype."""
        super().__init__()
        self.size, self.base, self.scaling = size, base, scaling
        self.table: Tensor | None = None  # no buffer: `model.to(torch.bfloat16)` must not round it

    def _angles(self, positions: int, device: torch.device) -> Tensor:
        turns = self.base ** -(torch.arange(0, self.size, 2, dtype=torch.float64) / self.size)
        loudness = 1.0
        if self.scaling is not None:
            turns, loudness = scaled(turns, self.base, self.scaling)
        angles = torch.outer(torch.arange(positions, dtype=torch.float64), turns)
        cos, sin = (angles.cos() * loudness).float(), (angles.sin() * loudness).float()
        return torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)]).to(device)

    def at(self, position: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        """Returns (cos, sin) of positions, each [B, T, 1, size].

        The signs of the rotation are in sin, whose first half is negative. A larger table is computed if needed.

        Args:
            position: [B, T] positions.
            longest: a number above all positions.
        """
        if self.table is None or longest > self.table.shape[1] or self.table.device != position.device:
            room = 512 if self.table is None else self.table.shape[1]
            with torch.inference_mode(mode=False):  # the table may be part of a gradient computation later
                self.table = self._angles(room if longest <= room else max(longest, 2 * room), position.device)
        cos, sin = self.table[0][position], self.table[1][position]
        return cos.unsqueeze(2), sin.unsqueeze(2)


def scaled(turns: Tensor, base: float, scaling: RopeScaling) -> tuple[Tensor, float]:
    """Applies RoPE scaling to frequencies; see `RopeScaling` for the sources.

    Args:
        turns: [size / 2] frequencies in radians for each token, highest first.
        base: base of the frequencies.
        scaling: the scaling to apply.

    Returns:
        The scaled frequencies [size / 2], and the factor on cos and sin.
    """
    slowed = turns / scaling.factor
    if scaling.kind == "linear":
        return slowed, 1.0
    if scaling.kind == "llama3":
        rounds = scaling.original * turns / (2 * math.pi)  # within the original length
        kept = ((rounds - scaling.slow) / (scaling.fast - scaling.slow)).clamp(0, 1)
        return slowed * (1 - kept) + turns * kept, 1.0
    pairs = len(turns)

    def pair(rounds: float) -> float:  # index, from the highest frequency, of the pair that makes `rounds` rotations
        return pairs * math.log(scaling.original / (rounds * 2 * math.pi)) / math.log(base)

    low, high = pair(scaling.fast), pair(scaling.slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * pairs - 1)
    ramp = (torch.arange(pairs, dtype=turns.dtype) - low) / (high - low or 0.001)
    kept = 1 - ramp.clamp(0, 1)
    loudness = 0.1 * math.log(scaling.factor) + 1 if scaling.loudness is None else scaling.loudness
    return slowed * (1 - kept) + turns * kept, loudness


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Returns heads with rotary embeddings applied.

    Args:
        x: [B, T, H, size].
        cos: [B or 1, T, 1, size] cosines of the angles, as `Rotary.at` returns them.
        sin: [B or 1, T, 1, size] sines of the angles, negative in the first half.
    """
    if kernels.on(x) and cos.dtype == x.dtype:
        return kernels.rotate(x, cos, sin)
    return (x * cos + x.roll(x.shape[-1] // 2, -1) * sin).to(x.dtype)
