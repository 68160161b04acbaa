"""Free memory of a device, and a check that a model fits into it."""

import os
from pathlib import Path

import torch

from poziomka.core.errors import ModelError

CPU = torch.device("cpu")


def free_memory(device: torch.device = CPU) -> int:
    """Returns the bytes of memory that are free now, without swapping and within the limit of a container or job.

    On a CUDA device, free device memory; on a CPU without /proc/meminfo, the total memory.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    allowed = _allowed()
    free = _free()
    return free if allowed is None else min(free, allowed)


def demand_room(wanted: int, what: str) -> None:
    """Raises ModelError if a model's weights do not fit into the free CPU memory.

    Args:
        wanted: bytes of the weights.
        what: name of the model in the message.
    """
    room = free_memory()
    if wanted > room:
        message = (
            f"{what} needs {wanted / 2**30:.1f} GiB of memory for its weights and {room / 2**30:.1f} GiB are free: "
            "load it in bfloat16, take a smaller model, or end other programs"
        )
        raise ModelError(message)


def _free(path: Path = Path("/proc/meminfo")) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024
    except (OSError, StopIteration, ValueError):  # not Linux: the total instead of the free memory
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _allowed(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Returns the bytes that a control group (container, cluster job) still allows; None if it sets no limit."""
    try:
        most, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # "max": no limit
        return None
    return max(0, most - used)
