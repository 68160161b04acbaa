"""Conformance check of environments: sessions are independent and deterministic, and they fork and close."""

import asyncio
import time
from collections.abc import Sequence

from poziomka.core.environment import Environment, Reply, Session
from poziomka.core.errors import EnvironmentFailure
from poziomka.core.problem import Problem
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.testing.rule import rule


def check_environment(
    environment: Environment, problem: Problem, said: Sequence[str], *, seconds: float = 5.0
) -> list[str]:
    """Checks that an environment keeps its contract; returns a sentence for each rule that could not be checked.

    Its sessions must be independent and deterministic, fork and close safely, and reply in time to any text.

    Args:
        environment: the environment to check.
        problem: problem of its sessions.
        said: texts of the model's turns, each of which must get a reply. If the environment has no stop strings, the
            model ends each turn itself.
        seconds: time limit of a session's reply to any turn.

    Raises:
        AssertionError: the environment breaks a rule; the message names the rule and the observed values.
    """
    rule(said and not isinstance(said, str), f"a check needs the model's turns as a list: received {said!r}")
    rule(isinstance(environment, Environment), f"an environment has `stop` and `open`: received {environment!r}")
    stop: object = environment.stop
    written = isinstance(stop, tuple) and all(isinstance(phrase, str) and phrase for phrase in stop)
    rule(written, f"an environment names the strings after which the model waits: received {stop!r}")
    for turn in said:
        waits = not stop or any(phrase in turn for phrase in environment.stop)
        rule(waits, f"the model would not wait after {turn!r}: none of {stop} is in it")
    turns = [Span(Author.MODEL, turn, stop=Stop.PHRASE if stop else Stop.END) for turn in said]
    return asyncio.run(_check(environment, problem, turns, seconds))


async def _check(environment: Environment, problem: Problem, said: Sequence[Span], seconds: float) -> list[str]:
    idle = _open(environment, problem)  # opened before the other sessions, used after them
    replies = (await _talk(_open(environment, problem), Transcript.of(problem.prompt), said))[1]
    again = (await _talk(_open(environment, problem), Transcript.of(problem.prompt), said))[1]
    rule(again == replies, f"the same words get the same answers: received {replies} and then {again}")
    late = (await _talk(idle, Transcript.of(problem.prompt), said))[1]
    rule(late == replies, f"sessions do not know of each other: received {replies}, and beside another one {late}")
    await _check_closing(environment, problem, said)
    await _check_hostile(environment, problem, seconds)
    untried = []
    for turn in range(len(said)):
        untried += await _check_fork(environment, problem, said, replies, turn)
    return list(dict.fromkeys(untried))


def _open(environment: Environment, problem: Problem) -> Session:
    session = environment.open(problem)
    rule(isinstance(session, Session), f"a session has `reply`, `fork` and `close`: received {session!r}")
    asked = bool(environment.stop) or getattr(session, "after_end", False)
    rule(
        asked,
        f"an environment names the strings after which the model waits, or its sessions have `after_end`: {session!r}",
    )
    return session


async def _talk(session: Session, talk: Transcript, said: Sequence[Span]) -> tuple[Transcript, list[Reply]]:
    """Sends all turns to a session; returns the transcript and the replies."""
    replies = []
    for turn in said:
        talk += turn
        reply = await session.reply(talk)
        rule(reply is not None, f"a session answers what it is asked: it had no answer to {turn.text!r}")
        _check_reply(reply)
        assert reply is not None
        replies.append(reply)
        talk += (reply.span, *reply.more)
    return talk, replies


def _check_reply(reply: object) -> None:
    rule(isinstance(reply, Reply), f"a session returns a Reply or None: received {reply!r}")
    assert isinstance(reply, Reply)
    for span in (reply.span, *reply.more):
        rule(span.author is Author.ENVIRONMENT, f"a session speaks as the environment: received {span.author.value!r}")
        bare = span.tokens is None and span.stop is None and span.policy is None
        rule(bare, f"only a sampler knows tokens, stops and policies: received {span!r}")
    reward = reply.reward
    rule(reward is None or -1 <= reward <= 1, f"a reward lies from -1 to 1, or is None: received {reward}")


async def _check_closing(environment: Environment, problem: Problem, said: Sequence[Span]) -> None:
    session = _open(environment, problem)
    await _talk(session, Transcript.of(problem.prompt), said[:1])
    for time_ in ("once", "twice"):
        try:
            session.close()
        except Exception as error:  # noqa: BLE001 any exception means that closing failed
            rule(holds=False, broken=f"a session can be closed {time_}: it raised {type(error).__name__}: {error}")


async def _check_hostile(environment: Environment, problem: Problem, seconds: float) -> None:
    """Checks that no text makes a session fail: a model that can make a session fail can avoid being scored."""
    for phrase in environment.stop or ("",):
        for words in ("", " nonsense ", "\0", "\ud800", phrase * 3, " 9" * 5000, "x" * 1_000_000):
            session = _open(environment, problem)
            started = time.perf_counter()
            what = f"{words[:20]!r} … {phrase!r}"
            try:
                said = Span(Author.MODEL, words + phrase, stop=Stop.PHRASE if phrase else Stop.END)
                reply = await session.reply(Transcript.of(problem.prompt) + said)
            except Exception as error:  # noqa: BLE001 any exception means that the session failed
                rule(holds=False, broken=f"a session answers in words: at {what} it raised {error!r}")
            else:
                if reply is not None:
                    _check_reply(reply)
            took = time.perf_counter() - started
            rule(took <= seconds, f"a session answers within {seconds:g} s: {what} took {took:.1f} s")
            session.close()


async def _check_fork(
    environment: Environment, problem: Problem, said: Sequence[Span], replies: Sequence[Reply], turn: int
) -> list[str]:
    """Forks a session before a turn and checks that the forks and the session then reply independently.

    Returns:
        A sentence if the session cannot fork; else [].
    """
    session = _open(environment, problem)
    talk = (await _talk(session, Transcript.of(problem.prompt), said[:turn]))[0]
    try:
        forks = [session.fork(), session.fork()]
    except EnvironmentFailure as error:
        return [f"forking was not tried: {error}"]
    except Exception as error:  # noqa: BLE001 only EnvironmentFailure means that forking is unsupported
        rule(holds=False, broken=f"a session that cannot fork raises EnvironmentFailure: it raised {error!r}")
        return []
    for name, side in {"a fork": forks[0], "the session": session}.items():
        rule(isinstance(side, Session), f"a fork is a session: received {side!r}")
        heard = (await _talk(side, talk, said[turn:]))[1]
        rule(heard == list(replies[turn:]), f"{name} knows the past and not the other's future: received {heard}")
        side.close()
    heard = (await _talk(forks[1], talk, said[turn:]))[1]
    rule(heard == list(replies[turn:]), f"a fork outlives the session that was closed: received {heard}")
    forks[1].close()
    return []
