"""Runs attacks on an interpreter, one after another, and reports what each reached."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.sandbox.interpreter import Console, Interpreter
from poziomka.testing.attacks.attack import Attack, Evidence, Outcome, Report, Seen, Tried
from poziomka.testing.attacks.catalogue import ATTACKS
from poziomka.testing.attacks.ground import Ground, lacks
from poziomka.testing.attacks.targets.listeners import knocking

GRACE = 1.5  # seconds beyond the time limit within which a call must return
AGAIN = 2
STARTS = 10  # attempts to open the bystander console
BUSY = frozenset({Evidence.LATE, Evidence.DISTURBED})  # a busy machine can cause these, too
PAUSE = 0.15  # seconds before the code `later` of an attack runs
# runs in another console before and after every attack, and must give the same output
BYSTANDER = """
import json, math
print(json.dumps([sum([1, 2]), max(3, 4), len("abc"), sorted([2, 1]), math.floor(2.5)]), repr("a"), kept)
"""


def check_interpreter(interpreter: Interpreter, attacks: Sequence[Attack] = ATTACKS, grace: float = GRACE) -> Report:
    """Runs attacks on an interpreter and returns a report of those that it held and those that reached something.

    Attacks exceed the interpreter's limits of memory, time, disk and output a little, so give it small limits. There is
    no timeout for a call that never returns. The interpreter is not closed.

    Args:
        interpreter: any interpreter; environments/sandbox/interpreter.py has the protocol.
        attacks: the attacks; by default all.
        grace: seconds beyond the time limit within which a call must return.

    Raises:
        EnvironmentFailure: the interpreter cannot run anything at all.
    """
    with Battery(interpreter, grace) as battery:
        return Report(interpreter.name, tuple(battery.attempt(attack) for attack in attacks))


class Battery:
    """Runs attacks on one interpreter; a context manager.

    Args:
        interpreter: any interpreter.
        grace: seconds beyond the interpreter's time limit within which a call must return.
        again: number of retries of an attack whose only evidence is of a kind that a busy machine can cause, too.

    Raises:
        EnvironmentFailure: the interpreter cannot run anything at all.
    """

    def __init__(self, interpreter: Interpreter, grace: float = GRACE, again: int = AGAIN) -> None:
        """Stores the arguments; nothing is started."""
        self.again = again
        self.interpreter = interpreter
        self.grace = grace
        self._ground = Ground(interpreter.limits)
        self._bystander: Console | None = None
        self._expected = ""

    def __enter__(self) -> Self:
        """Sets up the targets, and opens the bystander, a console that no attack may affect."""
        self._ground.__enter__()
        try:
            self._expected = self._open_bystander()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """Removes the targets and closes the bystander."""
        self._close_bystander()
        self._ground.__exit__()

    def attempt(self, attack: Attack) -> Tried:
        """Runs one attack and returns its result; retries it if the only evidence is lateness or a disturbance.

        A busy machine can make an interpreter late or fail once; an attack that causes it does so again.
        """
        lacking = lacks(attack.needs)
        if lacking:
            return Tried(attack, Outcome.UNTRIED, lacking)
        tried = self._attempt(attack)
        for _ in range(self.again):
            if tried.evidence <= BUSY and tried.outcome is Outcome.REACHED:
                tried = self._attempt(attack)
        return tried

    def _attempt(self, attack: Attack) -> Tried:
        self._ground.begin()
        went = _Went()
        began = time.perf_counter()
        if attack.knock:
            with knocking(self._ground.port) as opened:
                self._run(attack, went)
            went.seen += [(Evidence.CALLED, sentence) for sentence in opened]
        else:
            self._run(attack, went)
        took = time.perf_counter() - began
        went.seen += self._ground.seen("\n".join(went.said))
        for sentence in self._disturbed():
            went.disturbed(sentence)
        outcome = Outcome.REACHED if went.seen else Outcome.HELD
        told = "; ".join(dict.fromkeys(sentence for _, sentence in went.seen))
        return Tried(attack, outcome, told, frozenset(evidence for evidence, _ in went.seen), went.fault, took)

    def renew(self) -> None:
        """Closes and reopens the bystander, the console whose output shows whether an attack affected others."""
        self._close_bystander()
        self._open_bystander()

    def _run(self, attack: Attack, went: "_Went") -> None:
        consoles: list[Console] = []
        try:
            own = self.interpreter.open()
            consoles.append(own)
            if attack.start:
                self._call(own, attack.start, went)
            if attack.other:
                other = own.fork() if attack.start else self.interpreter.open()
                consoles.append(other)
                self._call(other, attack.other, _Went(), secret=True)
            self._call(own, attack.code, went)
            if attack.later:
                time.sleep(PAUSE)
                self._call(own, attack.later, went)
        except EnvironmentFailure as failure:
            went.disturbed(f"it made the interpreter itself fail: {failure}")
        except Exception as error:  # noqa: BLE001 any exception here was caused by the attack's code
            went.disturbed(f"it made the interpreter raise {type(error).__name__}: {error}")
        for console in consoles:
            try:
                console.close()
            except Exception as error:  # noqa: BLE001 as above
                went.disturbed(f"it kept its console from closing: {type(error).__name__}: {error}")

    def _call(self, console: Console, code: str, went: "_Went", *, secret: bool = False) -> None:
        limits, began = self.interpreter.limits, time.perf_counter()
        output = console.run(self._ground.names(code, secret=secret) + code)
        took = time.perf_counter() - began
        went.said += [output.text, output.fault]
        went.fault = output.fault or went.fault
        if took > limits.seconds + self.grace:
            went.seen.append((Evidence.LATE, f"it took {took:.1f} s where {limits.seconds:g} s are allowed"))
        if max(len(output.text), len(output.fault)) > limits.output:
            letters = max(len(output.text), len(output.fault))
            told = f"it wrote {letters:,} characters where {limits.output:,} are allowed"
            went.seen.append((Evidence.LONG, told))

    def _disturbed(self) -> list[str]:
        """Returns a sentence if the output of the bystander console has changed; otherwise an empty list."""
        try:
            now = self._aside()
        except Exception as error:  # noqa: BLE001 as above
            now = f"{type(error).__name__}: {error}"
        if now == self._expected:
            return []
        self.renew()
        return [f"another console noticed it: {' '.join(now.split())[:80]!r}"]

    def _open_bystander(self) -> str:
        """Opens the bystander and returns its output.

        Retries, because an attack or a busy machine may keep it from running.

        Raises:
            EnvironmentFailure: it does not run after 10 attempts (STARTS).
        """
        left = STARTS
        while True:
            left -= 1
            try:
                self._bystander = self.interpreter.open()
                self._asked("kept = 'kept'")
                return self._aside()
            except Exception as error:
                self._close_bystander()
                if not left:
                    message = f"{self.interpreter.name} runs nothing any more: {type(error).__name__}: {error}"
                    raise EnvironmentFailure(message) from error

    def _close_bystander(self) -> None:
        if self._bystander is not None:
            with suppress(Exception):
                self._bystander.close()
        self._bystander = None

    def _aside(self) -> str:
        return self._asked(BYSTANDER)

    def _asked(self, code: str) -> str:
        """Returns the output of code in the bystander console.

        Raises:
            EnvironmentFailure: the console has lost its state.
        """
        assert self._bystander is not None
        output = self._bystander.run(code)
        if output.lost:
            raise EnvironmentFailure(output.fault)
        return f"{output.text}{output.fault}"


class _Went:
    """Outputs of an attack in progress, and observations of what it reached."""

    def __init__(self) -> None:
        """Starts with no output and no observation."""
        self.said: list[str] = []
        self.seen: list[Seen] = []
        self.fault = ""

    def disturbed(self, sentence: str) -> None:
        """Records that the attack disturbed the host, the interpreter or another console."""
        self.seen.append((Evidence.DISTURBED, sentence))
