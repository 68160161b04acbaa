"""Judging a program by tests that call its functions, where the program never meets the tests.

The tests run in a process of our own. What they call are stand-ins that send plain arguments to the program's process
and receive plain values; a test compares those with `==` of Python's own types. So nothing that a program does in its
process, to `assert`, to builtins, to its exit status or to its descriptors, is anything but an answer to a call.
"""

import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.limited import Limits, Place, busy
from poziomka.environments.plain import NotPlainError, receive, send
from poziomka.environments.zygote import Zygotes

GRACE = 1.0  # seconds beyond the limit in which the tests, whose own alarm rings at the limit, must tell
TESTS = Limits(memory=2**30, files=64)  # of the tests' process


@dataclass(frozen=True, slots=True)
class Exam:
    """Tests of a program.

    Attributes:
        names: of the functions that they call; the first is also called `candidate`.
        checks: code; each runs after the one before, in one module, and fails by raising.
        setup: code that runs before them.
        given: code that runs before the program and before the tests: what a prompt shows.
    """

    names: tuple[str, ...]
    checks: tuple[str, ...]
    setup: str = ""
    given: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of tests.

    Attributes:
        passed: every test passed.
        why: a line; "" where they passed.
        read: whether the program is Python at all.
        calls: how often the program was called.
    """

    passed: bool
    why: str
    read: bool = True
    calls: int = 0


class Examiner:
    """Runs tests against programs.

    Args:
        place: where programs run.
        seed: of Python's random numbers in the tests.
        twice: every call is made twice, and must be answered alike.
    """

    def __init__(self, place: Place, *, seed: int = 0, twice: bool = False) -> None:
        """Starts nothing until the first program."""
        self.place = place
        self.seed = seed
        self.twice = twice
        self._zygotes = Zygotes(separate=False, seed=seed)

    def outcome(self, source: str, exam: Exam) -> Outcome:
        """Returns what came of a program's tests.

        Raises:
            EnvironmentFailure: the tests could not be run; that says nothing of the program.
        """
        seconds = self.place.limits.seconds
        ours, theirs = socket.socketpair()
        with ours, self._zygotes.lent() as zygote:
            with theirs, self.place.functions(source, exam.names, exam.given) as program:
                descriptors = dict(enumerate((theirs.fileno(), *program.descriptors), 3))
                zygote.start("tests", TESTS.of_process(), descriptors)
                theirs.close()
                verdict = _verdict(ours, exam, seconds, seed=self.seed, twice=self.twice)
            ended = zygote.end()
        match verdict:
            case ["passed", str(), int(calls)]:
                return Outcome(passed=True, why="", calls=calls)
            case ["failed" | "slow" | "unread" as how, str(why), int(calls)]:
                if how == "slow":
                    both = program.ended
                    busy(replace(both, used=both.used + ended.used, waited=both.waited + ended.waited), seconds)
                return Outcome(passed=False, why=why, read=how != "unread", calls=calls)
        message = f"the tests themselves do not run: {verdict}; mend the data set"
        raise EnvironmentFailure(message)

    def close(self) -> None:
        """Ends the interpreters that nobody uses."""
        self._zygotes.close()


def _verdict(channel: socket.socket, exam: Exam, seconds: float, *, seed: int, twice: bool) -> object:
    request = {
        "names": list(exam.names),
        "checks": list(exam.checks),
        "setup": exam.setup,
        "given": exam.given,
        "seconds": seconds,
        "seed": seed,
        "twice": twice,
    }
    until = time.monotonic() + seconds + GRACE
    with suppress(OSError):
        send(channel, request)
    try:
        return receive(channel, until)
    except (EOFError, NotPlainError, OSError) as error:
        late = isinstance(error, TimeoutError)
        message = "the tests " + (f"told nothing within {seconds + GRACE:g} s" if late else "ended without a verdict")
        raise EnvironmentFailure(message) from error
