"""When nothing has been logged for a while: which part waits for what."""

import time
from collections.abc import Callable, Sequence
from threading import Event, Thread
from types import TracebackType
from typing import Self

from poziomka.core.rollouts.scoring import under_way
from poziomka.inference.local import LocalSampler
from poziomka.learning.learner import Learner
from poziomka.reports.words import counted, duration, shortened

LOOKS = 8  # times a wait is looked at before its line is due, so that the line comes about when it should
NOBODY = "no row is sampled, no answer checked, nothing learned from: packing, the optimizer or the disk"


class Watchdog:
    """A thread that only reads, and says a line when nothing has been heard for `seconds`, then for twice as long, ….

    Args:
        seconds: of silence before the first line; None never says any.
        heard: when something was last heard, by the monotonic clock.
        tell: takes the line.
        asked: what to ask what it is doing, in the order in which it is told; None where it does nothing.
    """

    def __init__(
        self,
        seconds: float | None,
        heard: Callable[[], float],
        tell: Callable[[str], None],
        asked: Sequence[Callable[[], str | None]],
    ) -> None:
        """Starts nothing yet."""
        self.seconds, self.heard, self.tell, self.asked = seconds, heard, tell, asked
        self._over = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        """Begins to watch."""
        if self.seconds is not None:
            self._thread = Thread(target=self._watch, args=(self.seconds,), name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends with what it watches."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, seconds: float) -> None:
        since, due = self.heard(), seconds
        while not self._over.wait(seconds / LOOKS):
            if self.heard() != since:
                since, due = self.heard(), seconds
            silent = time.monotonic() - since
            if silent >= due:
                due *= 2
                self.tell(self.line(silent))

    def line(self, silent: float) -> str:
        """Returns what is said after `silent` seconds."""
        doing = [said for ask in self.asked if (said := ask()) is not None]
        return f"nothing logged for {duration(silent)}: {'; '.join(doing) or NOBODY}"


def sampling(sampler: LocalSampler) -> str | None:
    """Returns how much the engine holds; None where it holds nothing."""
    load = sampler.engine.load
    if not load.rows and not load.waiting:
        return None
    waiting = f", {load.waiting} waiting" if load.waiting else ""
    rows, tokens = counted(load.rows, "row"), counted(load.tokens, "token")
    return f"sampling, {rows} in the engine{waiting}, {tokens} of them so far"


def scoring() -> str | None:
    """Returns whose answer has been checked longest; None where none is."""
    checks = under_way()
    if not checks:
        return None
    key, seconds = max(checks, key=lambda check: check[1])
    more = f", {len(checks) - 1} more beside it" if len(checks) > 1 else ""
    return f"scoring, the check of problem {shortened(key, 60)!r} has run for {duration(seconds)}{more}"


def learning(learner: Learner) -> str | None:
    """Returns which part of a batch is being learned from; None where none is."""
    part = learner.part
    return None if part is None else f"learning, part {part[0]} of {part[1]} of the batch"
