"""How long OpenMP's threads wait in a loop before they sleep; set before torch loads its OpenMP runtime.

PyTorch's threads meet after every operation. A thread that waits in a loop keeps a core busy: on a machine with other
work, the thread that is waited for then gets no core. GNU's runtime (libgomp, in PyTorch's Linux wheels) turns 300,000
times by default, LLVM's and Intel's (libomp, libiomp5) wait 200 ms. A wait about as long as putting a thread to sleep
and waking it costs at most twice the best choice at any load (Karlin et al. 1991, "Empirical studies of competitive
spinning for a shared-memory multiprocessor"). Measured by benchmarks/busy_machine.py.
"""

import os
from collections.abc import MutableMapping

BOUNDS = {
    "GOMP_SPINCOUNT": "2000",  # turns of libgomp's loop, some 50 microseconds
    "KMP_BLOCKTIME": "1",  # milliseconds, the least that every version of libomp takes
}
CHOSEN_BY_USER = ("OMP_WAIT_POLICY", "KMP_LIBRARY", *BOUNDS)  # any of these is the user's own choice


def bound_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Bounds the wait of OpenMP's threads, unless the environment says how they wait.

    It has an effect on runtimes that are loaded later, so a program that imports torch first keeps its own setting.
    """
    if not any(name in environment for name in CHOSEN_BY_USER):
        environment.update(BOUNDS)
