"""Conversations between a sampler and a session, and SingleReply, the default strategy."""

import time
from collections.abc import Sequence
from dataclasses import replace

from poziomka.core.environment import Session, goes_on, opened, reply_of
from poziomka.core.problem import Problem
from poziomka.core.rollout import Branch
from poziomka.core.safety.failures import failures_of
from poziomka.core.sampler import OnToken, Sampler, SamplingParams
from poziomka.core.strategy import Attempt, OpenSession, Strategy
from poziomka.core.transcript import Stop, Transcript


async def converse(
    sampler: Sampler,
    session: Session,
    transcript: Transcript,
    sampling: SamplingParams,
    on_token: OnToken | None = None,
) -> Transcript:
    """Alternates turns of a sampler with replies of a session, until one of them ends the conversation.

    Args:
        sampler: samples the model's turns.
        session: replies to them; the caller closes it.
        transcript: the conversation so far.
        sampling: parameters of each turn; `sampling.max_tokens` bounds the model's tokens over all turns. A turn
            without token ids (from a remote endpoint) counts as one token, so that the conversation terminates.
        on_token: called for each token of the model's turns, as by `Sampler.extend`; None for no calls.

    Returns:
        The transcript with the model's turns and the session's replies; the first span of a reply has its wall-clock
        seconds, reward and feedback.

    Raises:
        EnvironmentFailure: the session raised, or returned neither a Reply nor None.
        SamplerError: the sampler cannot continue the transcript.
    """
    left = sampling.max_tokens
    while left > 0:
        how = replace(sampling, max_tokens=left)
        transcript, left, due = await speak(sampler, session, transcript, how, on_token)
        if not due:
            break
        transcript, over = await answered(session, transcript)
        if over:
            break
    return transcript


async def speak(
    sampler: Sampler,
    session: Session,
    transcript: Transcript,
    sampling: SamplingParams,
    on_token: OnToken | None = None,
) -> tuple[Transcript, int, bool]:
    """Samples one turn of the model, to which the session may reply; the arguments are those of `converse`.

    Returns:
        (the transcript with the turn, the number of tokens left, whether the session replies to the turn).

    Raises:
        EnvironmentFailure: the session raised.
        SamplerError: the sampler cannot continue the transcript.
    """
    left = sampling.max_tokens
    with failures_of("the session"):
        waits = (Stop.PHRASE, Stop.END) if getattr(session, "after_end", False) else (Stop.PHRASE,)
    while left > 0:
        before = transcript.cost
        transcript = await sampler.extend(transcript, replace(sampling, max_tokens=left), on_token)
        left -= max(transcript.cost - before, 1)
        if transcript.stop not in waits:
            return transcript, left, False
        if transcript.stop is not Stop.PHRASE or not goes_on(session, transcript):
            return transcript, left, True
    return transcript, left, False


async def answered(session: Session, transcript: Transcript) -> tuple[Transcript, bool]:
    """Returns (the transcript with the session's reply to the model's turn, whether the conversation is over).

    Raises:
        EnvironmentFailure: the session raised, or returned neither a Reply nor None.
    """
    began = time.perf_counter()
    reply = await reply_of(session, transcript)
    if reply is None:
        return transcript, True
    first, *more = reply.spans
    spans = (replace(first, seconds=time.perf_counter() - began), *more)
    return transcript + spans, reply.done


class SingleReply(Strategy):
    """The default strategy: one reply to the prompt, or one conversation if the task has an environment."""

    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns an attempt with one branch: one reply to the prompt, or one conversation if `open_session` is given.

        The arguments and exceptions are those of `Strategy.attempt`.
        """
        if open_session is None:
            return Attempt((Branch(await sampler.extend(prompt, params)),))
        with opened(open_session) as session:
            transcript = await converse(sampler, session, prompt, params)
        return Attempt((Branch(transcript),))

    async def attempts(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: Sequence[SamplingParams],
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> list[Attempt]:
        """Returns one attempt for each of `params`; failed attempts have `failure` set.

        Without `open_session`, one call of `Sampler.try_branch` samples all replies, so that the prompt is read once. A
        request that fails alone fails its attempt alone.
        """
        if open_session is not None:
            return await super().attempts(sampler, prompt, params, open_session=open_session, problem=problem)
        found = await sampler.try_branch(prompt, params)
        return [
            Attempt((Branch(each),)) if isinstance(each, Transcript) else Attempt.failed(prompt, str(each))
            for each in found
        ]


SINGLE_REPLY = SingleReply()
