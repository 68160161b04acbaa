"""Progress message of a command on stderr."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from poziomka.core.safety.terminal import behind, visible

EVERY = 1.0  # seconds between two updates


@contextmanager
def doing(what: str, *, always: bool = True) -> Iterator[None]:
    """Shows a message on stderr within the context: on a terminal with the elapsed seconds, elsewhere as one line.

    Args:
        what: the activity, such as "reading 3 journals".
        always: print the message also if stderr is not a terminal.
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
