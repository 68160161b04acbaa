"""Random numbers of PyTorch's global generators, drawn from a named seed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seeds the global generators inside, and restores their states at the end.

    Args:
        seed: see core/seeds.py.
        device: whose generator is meant besides the CPU's; None for the CPU's alone.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
