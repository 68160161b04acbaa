"""An attack, what came of it, and the report of many: plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from poziomka.environments.sandbox.interpreter import Surface


class Evidence(StrEnum):
    """By what it is seen that an attack reached something."""

    TOLD = "told"  # a secret stands in its output
    PROVEN = "proven"  # the program itself shows that it succeeded
    CHANGED = "changed"  # a file of ours
    CALLED = "called"  # a socket or a descriptor of ours
    HARMED = "harmed"  # a process of ours
    LEFT = "left"  # something lives on, or lies about, once its console is closed
    LATE = "late"  # its call was not over in time
    LONG = "long"  # its output was longer than it may be
    DISTURBED = "disturbed"  # the host, the interpreter or another console noticed


Seen = tuple[Evidence, str]  # with a sentence
ANY = frozenset(Evidence) - {Evidence.LATE, Evidence.LONG, Evidence.DISTURBED}


@dataclass(frozen=True, slots=True)
class Attack:
    """A program that reaches for something it should not.

    It knows where everything lies that it could reach for (`ground.names`) and no secret. What it reached is observed
    from outside (a file that changed, a socket that was called, a victim that was signalled, a process that lives on,
    a secret in its output), or is proven by the program itself, which then calls `proof()`.

    Attributes:
        name: a sentence without its subject: "reads a file by its path".
        surface: what it reaches for.
        code: the program. A process that it starts ends by os._exit, so that it never goes on as its runner.
        other: what another console runs before, which knows SECRET; "" where there is no other.
        start: what the console runs before the other is forked from it; "": the other is not a fork.
        later: what the console runs after `code`, a moment later.
        needs: what this machine must have for it to succeed anywhere: names of `ground.NEEDS`.
        knock: whether somebody knocks at the port LISTEN while it runs.
        quick: whether it belongs to the few by which the doctor looks at an interpreter.
        aim: how it is seen where it succeeds. Whatever else is seen counts against an interpreter too, and does not
            show that the attack works.
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
    """What came of an attack."""

    HELD = "held"
    REACHED = "reached"
    UNTRIED = "untried"  # this machine lacks what it needs, so that it would tell nothing


@dataclass(frozen=True, slots=True)
class Tried:
    """One line of a report.

    Attributes:
        attack: what was tried.
        outcome: what came of it.
        seen: what was observed where it reached something, or why it was not tried; else "".
        evidence: by what it was observed.
        met: the fault that the program ended with; "" where it ended in good order.
        seconds: how long it took.
    """

    attack: Attack
    outcome: Outcome
    seen: str = ""
    evidence: frozenset[Evidence] = frozenset()
    met: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        """Returns the line."""
        told = self.seen or self.met or "ended in good order, and nothing was seen"
        return f"{self.outcome:<8} {self.attack.surface:<10} {self.attack.name}: {' '.join(told.split())[:160]}"


@dataclass(frozen=True)
class Report:
    """What an interpreter held and what it did not.

    Attributes:
        name: of the interpreter.
        tried: a line an attack.
    """

    name: str
    tried: tuple[Tried, ...]

    @property
    def held(self) -> tuple[Tried, ...]:
        """The attacks that reached nothing."""
        return self._those(Outcome.HELD)

    @property
    def reached(self) -> tuple[Tried, ...]:
        """The attacks that reached something."""
        return self._those(Outcome.REACHED)

    @property
    def untried(self) -> tuple[Tried, ...]:
        """The attacks that tell nothing on this machine."""
        return self._those(Outcome.UNTRIED)

    @property
    def passed(self) -> bool:
        """Whether all were held that could be tried, and there were any."""
        return bool(self.held) and not self.reached

    def surfaces(self) -> Mapping[Surface, tuple[int, int]]:
        """Returns for each surface that was tried how many attacks it held, and of how many."""
        counts: dict[Surface, tuple[int, int]] = {}
        for one in self.tried:
            if one.outcome is not Outcome.UNTRIED:
                held, of = counts.get(one.attack.surface, (0, 0))
                counts[one.attack.surface] = held + (one.outcome is Outcome.HELD), of + 1
        return counts

    def figure(self) -> str:
        """Returns "held 90 of 92, 2 not tried here"."""
        told = f"held {len(self.held)} of {len(self.held) + len(self.reached)}"
        return f"{told}, {len(self.untried)} not tried here" if self.untried else told

    def __str__(self) -> str:
        """Returns a line an attack, those that reached something first, and the figure."""
        lines = [str(one) for some in (self.reached, self.untried, self.held) for one in some]
        return "\n".join([*lines, f"{self.name}: {self.figure()}"])

    def _those(self, outcome: Outcome) -> tuple[Tried, ...]:
        return tuple(one for one in self.tried if one.outcome is outcome)


def unlike(attacks: Sequence[Attack]) -> tuple[Attack, ...]:
    """Returns the attacks, whose names must differ.

    Raises:
        ValueError: two have one name.
    """
    names = [attack.name for attack in attacks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = f"an attack has a name of its own: two are called {twice[0]!r}"
        raise ValueError(message)
    return tuple(attacks)
