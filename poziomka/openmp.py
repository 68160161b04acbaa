"""Limits how long OpenMP threads spin before they sleep; must run before torch loads its OpenMP runtime.

PyTorch's threads synchronize after every operation, and a spinning thread keeps a core busy. On a machine with other
work, the thread that the others wait for may then get no core. By default GNU's runtime (libgomp, in PyTorch's Linux
wheels) spins 300,000 times, and LLVM's and Intel's (libomp, libiomp5) spin for 200 ms. A spin about as long as putting
a thread to sleep and waking it costs at most twice the optimum at any load (Karlin et al. 1991, "Empirical studies of
competitive spinning for a shared-memory multiprocessor"). Measured by benchmarks/busy_machine.py.
"""

import os
from collections.abc import MutableMapping

BOUNDS = {
    "GOMP_SPINCOUNT": "2000",  # iterations of libgomp's spin loop, about 50 microseconds
    "KMP_BLOCKTIME": "1",  # milliseconds, the minimum that every version of libomp accepts
}
CHOSEN_BY_USER = ("OMP_WAIT_POLICY", "KMP_LIBRARY", *BOUNDS)  # if any of these is set, it stays as it is


def bound_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets environment variables that limit the spin wait of OpenMP threads, unless one of CHOSEN_BY_USER is set.

    It affects only OpenMP runtimes loaded later: a program that imports torch first keeps its own setting.

    Args:
        environment: the environment variables to update.
    """
    if not any(name in environment for name in CHOSEN_BY_USER):
        environment.update(BOUNDS)
