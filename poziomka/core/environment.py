"""Environment interface: sessions that reply to a model during a rollout (tools, games), and how they are opened."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from poziomka.core.errors import EnvironmentFailure
from poziomka.core.problem import Problem
from poziomka.core.transcript import Author, Span, Transcript


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply of a session to one turn of the model.

    Attributes:
        span: text of the reply; its author is ENVIRONMENT.
        reward: reward of this turn, -1 to 1; None if only the scorer assigns rewards.
        done: whether the conversation ends with this reply.
        feedback: textual feedback, for methods that learn from it.
        more: further ENVIRONMENT spans, each a separate message if the chat format has tool messages: the remaining
            results of a turn with several tool calls.

    Raises:
        EnvironmentFailure: a span has another author.
    """

    span: Span
    reward: float | None = None
    done: bool = False
    feedback: str | None = None
    more: tuple[Span, ...] = ()

    @property
    def spans(self) -> tuple[Span, ...]:
        """All spans in order; the first carries the reward and the feedback of the turn."""
        return (replace(self.span, reward=self.reward, feedback=self.feedback), *self.more)

    def __post_init__(self) -> None:
        """Raises EnvironmentFailure if a span has an author other than ENVIRONMENT."""
        for span in (self.span, *self.more):
            if span.author is not Author.ENVIRONMENT:
                message = f"a session speaks as 'environment': received a span by {span.author.value!r}"
                raise EnvironmentFailure(message)


@runtime_checkable
class Session(Protocol):
    """Interface of one conversation about one problem.

    `reply` is called when the model has written one of the environment's stop strings. If the session has a true
    attribute `after_end`, `reply` is also called when the model ended its turn with its end token, as models trained
    on native tool calls do; it then returns None if that turn is the final answer.

    A session may define `unfinished(transcript) -> bool`: whether the last stop string is part of unfinished output,
    for example of a string literal inside a tool call. The model then continues without a reply.
    """

    async def reply(self, transcript: Transcript) -> Reply | None:
        """Returns the reply to the model's last turn; None if there is none."""

    def fork(self) -> "Session":
        """Returns an independent copy of the session in its present state; raises EnvironmentFailure if unsupported."""

    def close(self) -> None:
        """Frees the resources of the session; may be called twice."""


@runtime_checkable
class Game(Protocol):
    """Interface of a game of several players, each with a transcript of its own.

    A strategy requests moves in the order of `roles`, in turn, until `outcome` returns the rewards.
    """

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the players, in the order of their moves."""

    def view(self, role: str) -> Transcript:
        """Returns the transcript that a player's next move continues: its own moves and all that it may see."""

    async def move(self, role: str, transcript: Transcript) -> None:
        """Applies a player's move, the end of `transcript`; an illegal move is an outcome of the game, not an error."""

    def outcome(self) -> Mapping[str, float] | None:
        """Returns the reward of each player by its name, -1 to 1; None until the game is over."""

    def close(self) -> None:
        """Frees the resources of the session; may be called twice."""


@runtime_checkable
class Environment(Protocol):
    """Interface of an environment: it opens sessions.

    An environment with tools also has an attribute `described` of type Tools, which the chat format renders into the
    prompt (see `opening`).
    """

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings after which the session replies; () if it replies only at the end of a turn."""

    def open(self, problem: Problem) -> Session:
        """Returns a new session for `problem`."""


def goes_on(session: Session, transcript: Transcript) -> bool:
    """Returns whether the model continues after its last stop string without a reply (see Session)."""
    unfinished = getattr(session, "unfinished", None)
    return unfinished is not None and bool(unfinished(transcript))


def opening(problem: Problem, environment: Environment | None) -> Transcript:
    """Returns the initial transcript of a rollout: the problem's prompt and the environment's tools."""
    return Transcript.of(problem.prompt, getattr(environment, "described", None))


@contextmanager
def opened(open_session: Callable[[], Session]) -> Iterator[Session]:
    """Opens a session for the body of a `with` statement and closes it afterwards.

    Raises:
        EnvironmentFailure: opening or closing the session raised.
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
