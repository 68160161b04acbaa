"""Tests a program by calling its functions from another process, where the program cannot reach the tests.

The tests run in a sandboxed process of their own. They call stand-ins that send plain arguments to the program's
process and receive plain values; a test compares those with `==` of Python's own types. So a program that tampers in
its process with `assert`, builtins, its exit status or its descriptors changes nothing but its answers to calls.
"""

import time
from dataclasses import dataclass, replace

from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.sandbox.landlock_runner import Sandlocked, request
from poziomka.environments.sandbox.limits import busy
from poziomka.environments.sandbox.worker.wire_format import Channel, NotPlainError, receive

GRACE = 1.0  # seconds beyond the time limit in which the tests must answer; their own alarm fires at the limit


@dataclass(frozen=True, slots=True)
class Exam:
    """Tests of a program.

    Attributes:
        names: names of the program's functions that the tests call; the first is also available as `candidate`.
        checks: source of the tests; they run in order in one module, and a test fails by raising.
        setup: source that runs before the tests.
        given: source from the prompt, which runs before the program and before the tests.
    """

    names: tuple[str, ...]
    checks: tuple[str, ...]
    setup: str = ""
    given: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a program's tests.

    Attributes:
        passed: whether every test passed.
        why: reason in one line why they did not pass; "" if they did.
        read: whether the program is valid Python.
        calls: number of calls that the tests made of the program's functions.
    """

    passed: bool
    why: str
    read: bool = True
    calls: int = 0


class Examiner:
    """Tests programs in sandboxed processes: one for the program, one for the tests that call its functions.

    Args:
        place: runner that starts the processes and has their limits.
        twice: whether every call is made twice and must return the same.
    """

    def __init__(self, place: Sandlocked, *, twice: bool = False) -> None:
        """Stores the arguments; starts no process."""
        self.place = place
        self.twice = twice

    def outcome(self, source: str, exam: Exam) -> Outcome:
        """Runs tests against a program and returns the result; all tests together have `place.limits.seconds`.

        Args:
            source: the program.
            exam: the tests.

        Raises:
            EnvironmentFailure: the tests could not be run, through no fault of the program.
        """
        seconds = self.place.limits.seconds
        seed = self.place.seed
        with self.place.lent() as nest:
            program, tests = nest.start("functions", "tests")
            asked = {"source": source, "names": list(exam.names), "given": exam.given, "seed": seed}
            request(program.channel, asked)
            program.close("reading", "writing")  # from now on only the tests use these pipes
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
        except TimeoutError:  # in one long C call of the tests, which delays Python's alarm
            return ["slow", f"the tests of what the program returned ran longer than {seconds:g} s", 0]
        except (EOFError, NotPlainError, OSError) as error:
            message = "the tests ended without a verdict"
            raise EnvironmentFailure(message) from error
