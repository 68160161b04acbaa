"""What a model talks to while it answers: tools, games, worlds. A session forks, or says that it cannot."""

import time
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from poziomka.core.errors import EnvironmentFailure
from poziomka.core.failures import failures_of
from poziomka.core.problem import Problem, Task
from poziomka.core.sampler import Sampler, Sampling
from poziomka.core.transcript import Author, Span, Stop, Tools, Transcript


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
        EnvironmentFailure: a span claims another author, or is no span with a text.
    """

    span: Span
    reward: float | None = None
    done: bool = False
    feedback: str | None = None
    more: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        """An environment may not put words in another's mouth."""
        spans: tuple[object, ...] = (self.span, *self.more)
        for span in spans:
            if not isinstance(span, Span) or not isinstance(span.text, str):
                message = f"a session answers with spans of text: received {span!r:.80}"
                raise EnvironmentFailure(message)
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
    """Whether the model must go on after the stop string that it wrote last (see Session).

    Raises:
        EnvironmentFailure: the session raised.
    """
    with failures_of("the session"):
        unfinished = getattr(session, "unfinished", None)
        return unfinished is not None and bool(unfinished(transcript))


def opening(problem: Problem, environment: Environment | None) -> Transcript:
    """Returns the transcript that an exchange about a problem begins with: its prompt, and the environment's tools.

    Raises:
        EnvironmentFailure: the environment's `described` is no Tools.
    """
    tools = getattr(environment, "described", None)
    if not isinstance(tools, Tools | None):
        message = f"an environment's `described` is of type Tools: received a {type(tools).__name__}"
        raise EnvironmentFailure(message)
    return Transcript.of(problem.prompt, tools)


def environment_of(task: Task, problem: Problem) -> tuple[Environment | None, Transcript]:
    """Returns the environment of a problem, and the transcript that the exchange begins with.

    Raises:
        EnvironmentFailure: the task cannot make the environment.
    """
    with failures_of("the environment of the task"):
        environment = task.environment(problem) if task.environment else None
        return environment, opening(problem, environment)


def stops_of(environment: Environment) -> tuple[str, ...]:
    """Returns the strings after which the model waits for an answer.

    Raises:
        EnvironmentFailure: the environment has none, or they are no tuple of texts.
    """
    with failures_of("the environment"):
        stop: object = environment.stop
        if not isinstance(stop, tuple | list) or not all(isinstance(phrase, str) and phrase for phrase in stop):
            message = f"an environment's `stop` is a tuple of texts that are not empty: received {stop!r:.80}"
            raise EnvironmentFailure(message)
        return tuple(stop)


def session_of(environment: Environment, problem: Problem) -> tuple[Session, tuple[str, ...]]:
    """Returns a session about a problem, and the strings after which the model waits for an answer.

    Raises:
        EnvironmentFailure: the session cannot be opened, or as `stops_of`.
    """
    stop = stops_of(environment)
    with failures_of("opening a session"):
        return environment.open(problem), stop


def close(session: Session) -> None:
    """Closes a session.

    Raises:
        EnvironmentFailure: the session cannot be closed.
    """
    with failures_of("closing the session"):
        session.close()


def asked(task: Task, problem: Problem) -> Transcript:
    """Returns the transcript that an exchange about a task's problem begins with.

    Where the environment cannot be made it is the prompt alone, with which `collect` records the failure.
    """
    try:
        return environment_of(task, problem)[1]
    except EnvironmentFailure:
        return Transcript.of(problem.prompt)


async def converse(sampler: Sampler, session: Session, transcript: Transcript, sampling: Sampling) -> Transcript:
    """Lets a sampler and a session speak in turn until neither has more to say.

    `sampling.tokens` bounds the model's words over all turns together; a turn whose tokens nobody counted
    (a remote endpoint's) takes one, so that the exchange ends. A span
    of the environment's has the seconds that its answer took. The caller closes the session.

    Raises:
        EnvironmentFailure: the session raised.
    """
    left = sampling.tokens
    with failures_of("the session"):
        waits = (Stop.PHRASE, Stop.END) if getattr(session, "after_end", False) else (Stop.PHRASE,)
    while left > 0:
        before = transcript.cost
        transcript = await sampler.extend(transcript, replace(sampling, tokens=left))
        left -= max(transcript.cost - before, 1)
        if transcript.stop not in waits:
            break
        if transcript.stop is Stop.PHRASE and goes_on(session, transcript):
            continue
        began = time.perf_counter()
        reply = await reply_of(session, transcript)
        if reply is None:
            break
        transcript += (replace(reply.span, seconds=time.perf_counter() - began), *reply.more)
        if reply.done:
            break
    return transcript


async def reply_of(session: Session, transcript: Transcript) -> Reply | None:
    """Returns the session's answer.

    Raises:
        EnvironmentFailure: the session raised, or its answer is neither a Reply nor None.
    """
    with failures_of("the session"):
        reply = await session.reply(transcript)
    if reply is not None and not isinstance(reply, Reply):
        message = f"a session answers with a Reply or None: received a {type(reply).__name__}"
        raise EnvironmentFailure(message)
    return reply
