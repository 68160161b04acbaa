"""Seeding of PyTorch's global random number generators for the length of a block."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Context manager that seeds PyTorch's global generators inside and restores their states at the end.

    Args:
        seed: seed of the generators.
        device: a CUDA device, whose generator is seeded too. With a CPU device or None, only the CPU's generator is
            seeded.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
