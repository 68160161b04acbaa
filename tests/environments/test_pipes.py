"""A call that the machine gives no processor gets more time; one that has had its time does not."""

import os

import pytest

from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.sandbox import console_ipc as pipes
from poziomka.environments.sandbox.console_ipc import ask
from poziomka.environments.sandbox.limits import Limits
from poziomka.environments.sandbox.worker.worker import MARK

LIMITS = Limits(seconds=0.01)


class Starved:
    """A process (a Held) that gets a processor once it was asked so many times whether it had one; 0: never."""

    def __init__(self, times=0):
        self.times = times
        self.has_ended = False
        (self.asked, self.asking), (self.answering, self.answers), (self.writing, self.writes) = (
            os.pipe() for _ in range(3)
        )

    def starved(self, seconds):
        self.times -= 1
        if not self.times:
            os.write(self.writes, os.read(self.asked, 65536)[4 : 4 + MARK])
            os.write(self.answers, b"\0\0\0\1k")
        return "the machine is too busy"

    def resume(self):
        pass

    def pause(self):
        pass

    def excess(self):
        return ""

    def end(self, patience=0.0):
        self.has_ended = True
        return "the process was killed"


@pytest.fixture
def starved():
    made = []

    def make(times=0):
        made.append(Starved(times))
        return made[-1]

    yield make
    for held in made:
        for name in ("asked", "asking", "answering", "answers", "writing", "writes"):
            os.close(getattr(held, name))


@pytest.mark.fault("A15")
def test_a_call_without_a_processor_has_more_time_than_its_limit(starved):
    output = ask(starved(3), "1", LIMITS)
    assert (output.fault, output.lost) == ("", False)


def test_a_call_that_never_has_a_processor_is_our_failure(starved, monkeypatch):
    monkeypatch.setattr(pipes, "BUSY", 0.0)
    held = starved()
    with pytest.raises(EnvironmentFailure, match="too busy"):
        ask(held, "1", LIMITS)
    assert held.has_ended


def test_a_call_that_had_a_processor_is_late_at_its_limit(starved):
    held = starved()
    held.starved = lambda seconds: ""
    output = ask(held, "1", LIMITS)
    assert (output.fault, output.lost) == ("ran longer than 0.01 s", True)
