"""Environment interface: sessions that reply to a model during a rollout (tools, games), and how they are opened."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from poziomka.core.errors import EnvironmentFailure
from poziomka.core.problem import Problem
from poziomka.core.safety.failures import failures_of
from poziomka.core.transcript import Author, Span, Tools, Transcript


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply of a session to one turn of the model.

    Attributes:
        span: text of the reply; its author is ENVIRONMENT.
        reward: reward of this turn, -1 to 1; None if only the scorer assigns rewards.
        done: whether the conversation ends with this reply.
        feedback: textual feedback, for methods that learn from it; None if there is none.
        more: further ENVIRONMENT spans, each a separate message if the chat format has tool messages: the remaining
            results of a turn with several tool calls.

    Raises:
        EnvironmentFailure: a span has another author, or is no Span with a text.
    """

    span: Span
    reward: float | None = None
    done: bool = False
    feedback: str | None = None
    more: tuple[Span, ...] = ()

    @property
    def spans(self) -> tuple[Span, ...]:
        """All spans of the reply, in order; the first one has the reward and the feedback of the turn."""
        return (replace(self.span, reward=self.reward, feedback=self.feedback), *self.more)

    def __post_init__(self) -> None:
        """Checks that all spans have a text and the author ENVIRONMENT.

        Raises:
            EnvironmentFailure: a span has another author, or is no Span with a text.
        """
        spans: tuple[object, ...] = (self.span, *self.more)
        for span in spans:
            if not isinstance(span, Span) or not isinstance(span.text, str):
                message = f"a session answers with spans of text: received {span!r:.80}"
                raise EnvironmentFailure(message)
            if span.author is not Author.ENVIRONMENT:
                message = f"a session speaks as 'environment': received a span by {span.author.value!r}"
                raise EnvironmentFailure(message)


@dataclass(frozen=True, slots=True)
class Handover:
    """How a conversation is summarised, and goes on from the summary (see `poziomka.thinking.Compaction`).

    Attributes:
        ask: text of the user's message that asks for a summary; "" if the model's next turn is the summary.
        restart: called as restart(prompt, summary, turns); returns the prompt from which the conversation goes on.
            `prompt` is the one that the conversation began with, and `turns` the text of the last turns, which may be
            repeated word for word ("" for none).
    """

    ask: str
    restart: Callable[[Transcript, str, str], Transcript]


@runtime_checkable
class Session(Protocol):
    """Interface of a session: one conversation with a model about one problem.

    `reply` is called when the model has written one of the environment's stop strings. If the session has a true
    attribute `after_end`, `reply` is also called when the model ended its turn with its end token, as models trained on
    native tool calls do; it then returns None if that turn is the final answer.

    A session may define `unfinished(transcript) -> bool`: whether the last stop string is part of unfinished output,
    for example of a string literal inside a tool call. The model then continues without a reply.

    A session may have an attribute `handover` of type Handover: how a conversation with it is summarised.
    """

    async def reply(self, transcript: Transcript) -> Reply | None:
        """Returns the reply to the model's last turn; None ends the conversation."""

    def fork(self) -> "Session":
        """Returns an independent copy of the session in its present state.

        Raises:
            EnvironmentFailure: the session cannot be copied.
        """

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
        """Returns the transcript that a player's next move continues: its own moves and everything that it may see."""

    async def move(self, role: str, transcript: Transcript) -> None:
        """Applies a player's move, which is the model's last turn in `transcript`.

        An illegal move changes the outcome, for example the player loses; it raises no exception.
        """

    def outcome(self) -> Mapping[str, float] | None:
        """Returns the reward of each player, -1 to 1, by the name of its role; None until the game is over."""

    def close(self) -> None:
        """Frees the resources of the game; may be called twice."""


@runtime_checkable
class Environment(Protocol):
    """Interface of an environment, which opens a session for each attempt at a problem.

    An environment with tools also has an attribute `described` of type Tools, which the chat format renders into the
    prompt (see `opening`).
    """

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings after which generation pauses and the session replies; () if it replies only at a turn's end."""

    def open(self, problem: Problem) -> Session:
        """Returns a new session for `problem`."""


def goes_on(session: Session, transcript: Transcript) -> bool:
    """Returns whether the model continues its turn without a reply: its stop string is in unfinished output.

    Calls `session.unfinished(transcript)`; False if the session does not define it.

    Raises:
        EnvironmentFailure: the session raised.
    """
    with failures_of("the session"):
        unfinished = getattr(session, "unfinished", None)
        return unfinished is not None and bool(unfinished(transcript))


async def reply_of(session: Session, transcript: Transcript) -> Reply | None:
    """Returns the session's reply to the model's last turn; None ends the conversation.

    Raises:
        EnvironmentFailure: the session raised, or returned neither a Reply nor None.
    """
    with failures_of("the session"):
        reply = await session.reply(transcript)
    if reply is not None and not isinstance(reply, Reply):
        message = f"a session answers with a Reply or None: received a {type(reply).__name__}"
        raise EnvironmentFailure(message)
    return reply


def opening(problem: Problem, environment: Environment | None) -> Transcript:
    """Returns the initial transcript of a rollout: the problem's prompt and the environment's tools.

    Raises:
        EnvironmentFailure: the environment's `described` is no Tools.
    """
    tools = getattr(environment, "described", None)
    if not isinstance(tools, Tools | None):
        message = f"an environment's `described` is of type Tools: received a {type(tools).__name__}"
        raise EnvironmentFailure(message)
    return Transcript.of(problem.prompt, tools)


def stops_of(environment: Environment) -> tuple[str, ...]:
    """Returns the environment's stop strings, after which its session replies.

    Raises:
        EnvironmentFailure: the environment has no `stop`, or it is no tuple of texts that are not empty.
    """
    with failures_of("the environment"):
        stop: object = environment.stop
        if not isinstance(stop, tuple | list) or not all(isinstance(phrase, str) and phrase for phrase in stop):
            message = f"an environment's `stop` is a tuple of texts that are not empty: received {stop!r:.80}"
            raise EnvironmentFailure(message)
        return tuple(stop)


def session_of(environment: Environment, problem: Problem) -> tuple[Session, tuple[str, ...]]:
    """Returns (new session for a problem, the environment's stop strings).

    Raises:
        EnvironmentFailure: the session cannot be opened, or the environment's stop strings are no tuple of texts.
    """
    stop = stops_of(environment)
    with failures_of("opening a session"):
        return environment.open(problem), stop


def close(session: Session) -> None:
    """Closes a session.

    Raises:
        EnvironmentFailure: the session raised.
    """
    with failures_of("closing the session"):
        session.close()


@contextmanager
def opened(open_session: Callable[[], Session]) -> Iterator[Session]:
    """Context manager that opens a session for its body and closes it afterwards.

    Raises:
        EnvironmentFailure: opening or closing the session raised.
    """
    with failures_of("opening a session"):
        session = open_session()
    try:
        yield session
    except BaseException:
        with suppress(EnvironmentFailure):  # the first failure is recorded
            close(session)
        raise
    close(session)
