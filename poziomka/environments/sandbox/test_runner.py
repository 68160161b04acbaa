"""Judging a program by tests that call its functions, where the program never meets the tests.

The tests run in a sandboxed process of their own. What they call are stand-ins that send plain arguments to the
program's process and receive plain values; a test compares those with `==` of Python's own types. So nothing that a
program does in its process, to `assert`, to builtins, to its exit status or to its descriptors, is anything but an
answer to a call.
"""

import time
from dataclasses import dataclass, replace

from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.sandbox.landlock_runner import Sandlocked, request
from poziomka.environments.sandbox.limits import busy
from poziomka.environments.sandbox.worker.wire_format import Channel, NotPlainError, receive

GRACE = 1.0  # seconds beyond the limit in which the tests, whose own alarm rings at the limit, must answer


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
        place: where programs and tests run.
        twice: every call is made twice, and must be answered alike.
    """

    def __init__(self, place: Sandlocked, *, twice: bool = False) -> None:
        """Starts nothing until the first program."""
        self.place = place
        self.twice = twice

    def outcome(self, source: str, exam: Exam) -> Outcome:
        """Returns the outcome of a program's tests.

        Raises:
            EnvironmentFailure: the tests could not be run; that says nothing of the program.
        """
        seconds = self.place.limits.seconds
        seed = self.place.seed
        with self.place.lent() as nest:
            program, tests = nest.start("functions", "tests")
            asked = {"source": source, "names": list(exam.names), "given": exam.given, "seed": seed}
            request(program.channel, asked)
            program.close("reading", "writing")  # from now on its pipes are the tests' alone
            verdict = self._verdict(tests.channel, exam, seconds)
            both, other = nest.end()
        match verdict:
            case ["passed", str(), int(calls)]:
                return Outcome(passed=True, why="", calls=calls)
            case ["failed" | "slow" | "unread" as how, str(why), int(calls)]:
                if how == "slow":
                    busy(replace(both, used=both.used + other.used, waited=both.waited + other.waited), seconds)
                return Outcome(passed=False, why=why, read=how != "unread", calls=calls)
        message = f"the tests themselves do not run: {verdict}; mend the data set"
        raise EnvironmentFailure(message)

    def _verdict(self, channel: Channel, exam: Exam, seconds: float) -> object:
        asked = {
            "names": list(exam.names),
            "checks": list(exam.checks),
            "setup": exam.setup,
            "given": exam.given,
            "seconds": seconds,
            "seed": self.place.seed,
            "twice": self.twice,
        }
        until = time.monotonic() + seconds + GRACE
        request(channel, asked)
        try:
            return receive(channel, until)
        except TimeoutError:  # in one long call of the tests, during which no alarm of Python's rings
            return ["slow", f"the tests of what the program returned ran longer than {seconds:g} s", 0]
        except (EOFError, NotPlainError, OSError) as error:
            message = "the tests ended without a verdict"
            raise EnvironmentFailure(message) from error
