"""What a model talks to while it answers: tools, games, worlds. A session forks, or says that it cannot."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from poziomka.core.errors import EnvironmentFailure
from poziomka.core.problem import Problem
from poziomka.core.sampler import Sampler, Sampling
from poziomka.core.transcript import Author, Span, Stop, Transcript


@dataclass(frozen=True, slots=True)
class Reply:
    """What a session says back.

    Attributes:
        span: its words; the author is ENVIRONMENT.
        reward: what this turn earned, 0 to 1; None where the scorer alone judges.
        done: nothing more will be said.
        feedback: advice in words, for methods that learn from it.

    Raises:
        EnvironmentFailure: the span claims another author.
    """

    span: Span
    reward: float | None = None
    done: bool = False
    feedback: str | None = None

    def __post_init__(self) -> None:
        """An environment may not put words in another's mouth."""
        if self.span.author is not Author.ENVIRONMENT:
            message = f"a session speaks as 'environment': received a span by {self.span.author.value!r}"
            raise EnvironmentFailure(message)


@runtime_checkable
class Session(Protocol):
    """One exchange about one problem."""

    async def reply(self, transcript: Transcript) -> Reply | None:
        """Answers the model's last words; None where there is nothing to answer."""

    def fork(self) -> "Session":
        """Returns a session that shares the past and none of the future, or raises EnvironmentFailure."""

    def close(self) -> None:
        """Frees what the session holds; may be called twice."""


@runtime_checkable
class Environment(Protocol):
    """Opens sessions."""

    stop: tuple[str, ...]  # strings after which the model waits for an answer

    def open(self, problem: Problem) -> Session:
        """Returns a fresh session about `problem`."""


async def converse(sampler: Sampler, session: Session, transcript: Transcript, sampling: Sampling) -> Transcript:
    """Lets a sampler and a session speak in turn until neither has more to say.

    `sampling.tokens` bounds the model's words over all turns together; a turn whose tokens nobody counted
    (a remote endpoint's) takes one, so that the exchange ends. The caller closes the session.

    Raises:
        EnvironmentFailure: the session raised.
    """
    left = sampling.tokens
    while left > 0:
        before = transcript.cost
        transcript = await sampler.extend(transcript, replace(sampling, tokens=left))
        left -= max(transcript.cost - before, 1)
        if transcript.stop is not Stop.PHRASE:
            break
        try:
            reply = await session.reply(transcript)
        except EnvironmentFailure:
            raise
        except Exception as error:
            message = f"the session raised {type(error).__name__}: {error}"
            raise EnvironmentFailure(message) from error
        if reply is None:
            break
        transcript = transcript + reply.span
        if reply.done:
            break
    return transcript
