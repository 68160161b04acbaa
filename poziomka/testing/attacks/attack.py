"""Data classes of the attacks on interpreters: an attack, its result, and the report of many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from poziomka.environments.sandbox.interpreter import Surface


class Evidence(StrEnum):
    """How a successful attack is observed."""

    TOLD = "told"  # its output contains a secret
    PROVEN = "proven"  # its output contains the proof of success
    CHANGED = "changed"  # a file of the test changed
    CALLED = "called"  # a socket or descriptor of the test was reached
    HARMED = "harmed"  # a process of the test was affected
    LEFT = "left"  # processes or files remain after its console is closed
    LATE = "late"  # its call exceeded the time limit
    LONG = "long"  # its output exceeded the limit
    DISTURBED = "disturbed"  # the host, the interpreter or another console was affected


Seen = tuple[Evidence, str]  # evidence with a sentence for the report
ANY = frozenset(Evidence) - {Evidence.LATE, Evidence.LONG, Evidence.DISTURBED}


@dataclass(frozen=True, slots=True)
class Attack:
    """A program that tries to reach something outside its interpreter.

    It gets the locations of all targets (`ground.names`), but no secret. Success is observed from outside (a changed
    file, a called socket, a signalled process, a process that remains, a secret in its output), or the program proves
    it by calling `proof()`.

    Attributes:
        name: a sentence without its subject: "reads a file by its path".
        surface: the surface that it attacks: files, network, memory, ….
        code: the program. Processes that it forks must end with os._exit; else they go on as copies of its runner.
        other: code that runs first in a second console, with SECRET defined; "" for no second console.
        start: code that the console runs before the second console is forked from it; "" opens a new second console.
        later: code that the console runs shortly after `code`.
        needs: what the attack needs to succeed on a machine without a sandbox: names of `ground.NEEDS`.
        knock: whether the test tries to connect to the port LISTEN while the attack runs.
        quick: whether it belongs to the small selection that the doctor command runs.
        aim: kinds of evidence that show that the attack works as intended. Evidence of other kinds counts against an
            interpreter, too.
    """

    name: str
    surface: Surface
    code: str
    other: str = ""
    start: str = ""
    later: str = ""
    needs: tuple[str, ...] = ()
    knock: bool = False
    quick: bool = False
    aim: frozenset[Evidence] = ANY


class Outcome(StrEnum):
    """Result of an attack."""

    HELD = "held"
    REACHED = "reached"
    UNTRIED = "untried"  # a requirement is missing on this machine, so the result would mean nothing


@dataclass(frozen=True, slots=True)
class Tried:
    """Result of one attack, one line of a report.

    Attributes:
        attack: the attack.
        outcome: its result.
        seen: observations if the attack reached something, or the reason why it was not tried; otherwise "".
        evidence: kinds of the observations.
        met: the fault with which the program ended; "" if it ended normally.
        seconds: duration.
    """

    attack: Attack
    outcome: Outcome
    seen: str = ""
    evidence: frozenset[Evidence] = frozenset()
    met: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        """Returns the line of the report."""
        told = self.seen or self.met or "ended in good order, and nothing was seen"
        return f"{self.outcome:<8} {self.attack.surface:<10} {self.attack.name}: {' '.join(told.split())[:160]}"


@dataclass(frozen=True)
class Report:
    """Results of all attacks on an interpreter.

    Attributes:
        name: name of the interpreter.
        tried: results, one per attack.
    """

    name: str
    tried: tuple[Tried, ...]

    @property
    def held(self) -> tuple[Tried, ...]:
        """Results of the attacks that reached nothing."""
        return self._those(Outcome.HELD)

    @property
    def reached(self) -> tuple[Tried, ...]:
        """Results of the attacks that reached something."""
        return self._those(Outcome.REACHED)

    @property
    def untried(self) -> tuple[Tried, ...]:
        """Results of the attacks that were not tried on this machine."""
        return self._those(Outcome.UNTRIED)

    @property
    def passed(self) -> bool:
        """Whether at least one attack was tried and none reached anything."""
        return bool(self.held) and not self.reached

    def surfaces(self) -> Mapping[Surface, tuple[int, int]]:
        """Returns the number of attacks that reached nothing and of attacks tried, for each surface."""
        counts: dict[Surface, tuple[int, int]] = {}
        for one in self.tried:
            if one.outcome is not Outcome.UNTRIED:
                held, of = counts.get(one.attack.surface, (0, 0))
                counts[one.attack.surface] = held + (one.outcome is Outcome.HELD), of + 1
        return counts

    def figure(self) -> str:
        """Returns a summary such as "held 90 of 92, 2 not tried here"."""
        told = f"held {len(self.held)} of {len(self.held) + len(self.reached)}"
        return f"{told}, {len(self.untried)} not tried here" if self.untried else told

    def __str__(self) -> str:
        """Returns one line per attack, those that reached something first, and the summary."""
        lines = [str(one) for some in (self.reached, self.untried, self.held) for one in some]
        return "\n".join([*lines, f"{self.name}: {self.figure()}"])

    def _those(self, outcome: Outcome) -> tuple[Tried, ...]:
        return tuple(one for one in self.tried if one.outcome is outcome)


def unlike(attacks: Sequence[Attack]) -> tuple[Attack, ...]:
    """Returns the attacks as a tuple, after a check that their names are unique.

    Raises:
        ValueError: two attacks have the same name.
    """
    names = [attack.name for attack in attacks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = f"an attack has a name of its own: two are called {twice[0]!r}"
        raise ValueError(message)
    return tuple(attacks)
