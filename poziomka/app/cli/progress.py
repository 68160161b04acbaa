"""What a command is doing, on standard error, from its first second on."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from poziomka.core.safety.terminal import behind, visible

EVERY = 1.0  # seconds between two looks at the clock


@contextmanager
def doing(what: str, *, always: bool = True) -> Iterator[None]:
    """Shows what is done while its body runs: on a terminal with the seconds so far, elsewhere as one line.

    Args:
        what: is done, "reading 3 journals".
        always: say it where nobody sits before a terminal, too.
    """
    stream, words = behind(sys.stderr), visible(" ".join(what.split()))
    if not stream.isatty():
        if always:
            print(f"{words} …", file=stream, flush=True)
        yield
        return
    ended, began = threading.Event(), time.monotonic()

    def tick() -> None:
        while True:
            print(f"\r\x1b[K{words} … {time.monotonic() - began:.0f} s", end="", file=stream, flush=True)
            if ended.wait(EVERY):
                return

    clock = threading.Thread(target=tick, daemon=True)
    clock.start()
    try:
        yield
    finally:
        ended.set()
        clock.join()
        print("\r\x1b[K", end="", file=stream, flush=True)
