"""Stall watchdog: names the busy component when no metrics arrive for a while."""

import time
from collections.abc import Callable, Sequence
from threading import Event, Thread
from types import TracebackType
from typing import Self

from poziomka.core.rollouts.scoring import under_way
from poziomka.inference.local import LocalSampler
from poziomka.learning.learner import Learner
from poziomka.reports.words import counted, duration, shortened

LOOKS = 8  # polls per interval `seconds`, so that a line is at most an eighth of it late
IDLE = "no sampling, scoring or learning is in progress"


class Watchdog:
    """Background thread that reports a stall after 1, 2, 4, … times `seconds` without a logged line.

    The thread only reads the state of the run.

    Args:
        seconds: silence before the first report, seconds; None disables the watchdog.
        heard: returns the time of the last logged line, seconds of `time.monotonic`.
        tell: called with the text of a report.
        asked: functions that return a component's activity, or None if it is idle, in the order of the report.
        stage: returns what the run does at present, for the report if all components are idle.
    """

    def __init__(
        self,
        seconds: float | None,
        heard: Callable[[], float],
        tell: Callable[[str], None],
        asked: Sequence[Callable[[], str | None]],
        stage: Callable[[], str] = lambda: "",
    ) -> None:
        """Stores the arguments; entering the context starts the thread."""
        self.seconds, self.heard, self.tell, self.asked, self.stage = seconds, heard, tell, asked, stage
        self._over = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        """Starts the thread."""
        if self.seconds is not None:
            self._thread = Thread(target=self._watch, args=(self.seconds,), name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the thread and waits for it."""
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
        """Returns the report after `silent` seconds without a logged line."""
        doing = [said for ask in self.asked if (said := ask()) is not None]
        if not doing:
            doing = [each for each in (self.stage(), IDLE) if each]
        return f"nothing logged for {duration(silent)}: {'; '.join(doing)}"


def sampling(sampler: LocalSampler) -> str | None:
    """Returns a sentence about the engine's load: running and waiting sequences, tokens; None if it is idle."""
    load = sampler.engine.load
    if not load.rows and not load.waiting:
        return None
    waiting = f", {load.waiting} waiting" if load.waiting else ""
    rows, tokens = counted(load.rows, "row"), counted(load.tokens, "token")
    return f"sampling, {rows} in the engine{waiting}, {tokens} of them so far"


def scoring() -> str | None:
    """Returns a sentence about the check of an answer that has run longest; None if no check is running."""
    checks = under_way()
    if not checks:
        return None
    key, seconds = max(checks, key=lambda check: check[1])
    more = f", {len(checks) - 1} more beside it" if len(checks) > 1 else ""
    return f"scoring, the check of problem {shortened(key, 60)!r} has run for {duration(seconds)}{more}"


def learning(learner: Learner) -> str | None:
    """Returns a sentence about the microbatch that the learner is working on; None if it is idle."""
    part = learner.part
    return None if part is None else f"learning, part {part[0]} of {part[1]} of the batch"
