"""What a model talks to while it answers: tools, games, worlds. A session forks, or says that it cannot."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from poziomka.core.errors import EnvironmentFailure
from poziomka.core.problem import Problem
from poziomka.core.transcript import Author, Span, Transcript


@dataclass(frozen=True, slots=True)
class Reply:
    """What a session says back.

    Attributes:
        span: its words; the author is ENVIRONMENT.
        reward: what this turn earned, 0 to 1; None where the scorer alone judges.
        done: nothing more will be said.
        feedback: advice in words, for methods that learn from it.
        more: further spans of the environment, each a message of its own where the chat format has such: the other
            results of a turn in which the model called several tools.

    Raises:
        EnvironmentFailure: a span claims another author.
    """

    span: Span
    reward: float | None = None
    done: bool = False
    feedback: str | None = None
    more: tuple[Span, ...] = ()

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans in order; the first has the reward and the feedback of the turn."""
        return (replace(self.span, reward=self.reward, feedback=self.feedback), *self.more)

    def __post_init__(self) -> None:
        """Checks the authors of the spans."""
        for span in (self.span, *self.more):
            if span.author is not Author.ENVIRONMENT:
                message = f"a session speaks as 'environment': received a span by {span.author.value!r}"
                raise EnvironmentFailure(message)


@runtime_checkable
class Session(Protocol):
    """One exchange about one problem.

    A session is asked for an answer when the model wrote one of the environment's stop strings. One that has an
    attribute `after_end` which is true is asked too when the model ended its turn itself, as models do that were
    trained to call tools so; it returns None where that turn was the last word.

    A session may have a method `unfinished(transcript)`: whether the stop string that the model wrote last is part of
    something that goes on, a string inside a call for one. Then the model goes on, and is not answered yet.
    """

    async def reply(self, transcript: Transcript) -> Reply | None:
        """Answers the model's last words; None where there is nothing to answer."""

    def fork(self) -> "Session":
        """Returns a session that shares the past and none of the future, or raises EnvironmentFailure."""

    def close(self) -> None:
        """Frees what the session holds; may be called twice."""


@runtime_checkable
class Game(Protocol):
    """A session of several players, each of whom sees a transcript of its own.

    A strategy lets the players move in the order of `roles`, again and again, until there is an outcome.
    """

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the players, in the order in which they move."""

    def view(self, role: str) -> Transcript:
        """Returns the transcript that a player continues with its next move: its own moves, and all that it may see."""

    async def move(self, role: str, transcript: Transcript) -> None:
        """Takes a player's move, which ends `transcript`; a move against the rules is an outcome, not an error."""

    def outcome(self) -> Mapping[str, float] | None:
        """Returns the reward of each player, -1 to 1; None while the game goes on."""

    def close(self) -> None:
        """Frees the resources of the session; may be called twice."""


@runtime_checkable
class Environment(Protocol):
    """Opens sessions.

    An environment of tools also has an attribute `described` of type Tools: chat formats describe these tools to the
    model before the first message (see `opening`).
    """

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings after which the model waits for an answer; () where only its turn's end is one."""

    def open(self, problem: Problem) -> Session:
        """Returns a fresh session about `problem`."""


def goes_on(session: Session, transcript: Transcript) -> bool:
    """Whether the model must go on after the stop string that it wrote last (see Session)."""
    unfinished = getattr(session, "unfinished", None)
    return unfinished is not None and bool(unfinished(transcript))


def opening(problem: Problem, environment: Environment | None) -> Transcript:
    """Returns the transcript that an exchange about a problem begins with: its prompt, and the environment's tools."""
    return Transcript.of(problem.prompt, getattr(environment, "described", None))


@contextmanager
def opened(open_session: Callable[[], Session]) -> Iterator[Session]:
    """Opens a session for the body of a `with` statement and closes it afterwards.

    Raises:
        EnvironmentFailure: the session could not be opened or closed.
    """
    try:
        session = open_session()
    except Exception as error:
        message = f"the environment could not open: {error}"
        raise EnvironmentFailure(message) from error
    try:
        yield session
    except BaseException:
        with suppress(Exception):
            session.close()
        raise
    try:
        session.close()
    except Exception as error:
        message = f"the session could not close: {error}"
        raise EnvironmentFailure(message) from error
