"""Progress message of a command on stderr."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from poziomka.core.safety.terminal import behind, visible

EVERY = 1.0  # seconds between two updates on a terminal
PLAIN_EVERY = 15.0  # seconds between two lines elsewhere


@contextmanager
def doing(what: str, *, always: bool = True) -> Iterator[Callable[[str], None]]:
    """Shows a message on stderr within the context: on a terminal with the elapsed seconds, elsewhere as one line.

    Yields a function to call with the progress of the work, such as "3 of 10 problems". A terminal shows it beside the
    message; elsewhere it is printed as a line, at most every 15 seconds.

    Args:
        what: the activity, such as "reading 3 journals".
        always: print the message also if stderr is not a terminal.
    """
    stream, words = behind(sys.stderr), visible(" ".join(what.split()))
    began = time.monotonic()
    if not stream.isatty():
        spoke = [began]

        def line(state: str) -> None:
            now = time.monotonic()
            if now - spoke[0] >= PLAIN_EVERY:
                spoke[0] = now
                print(f"[{now - began:4.0f} s] {visible(state)}", file=stream, flush=True)

        if always:
            print(f"{words} …", file=stream, flush=True)
        yield line
        return
    ended, states = threading.Event(), [""]

    def tick() -> None:
        while True:
            state = f"{states[0]} · " if states[0] else ""
            print(f"\r\x1b[K{words} … {state}{time.monotonic() - began:.0f} s", end="", file=stream, flush=True)
            if ended.wait(EVERY):
                return

    def update(state: str) -> None:
        states[0] = visible(state)

    clock = threading.Thread(target=tick, daemon=True)
    clock.start()
    try:
        yield update
    finally:
        ended.set()
        clock.join()
        print("\r\x1b[K", end="", file=stream, flush=True)
