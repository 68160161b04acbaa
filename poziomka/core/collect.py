"""From problems to judged groups: the one place where synchronous code meets the waist."""

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from poziomka.core.environment import Environment, Session, close, converse, environment_of, session_of
from poziomka.core.errors import EnvironmentFailure, PoziomkaError, ProblemError, TranscriptError
from poziomka.core.problem import Problem, Score, Task, Verdict
from poziomka.core.rollout import Branch, Group, Rollout, seed_of_rollout
from poziomka.core.sampler import Sampler, Sampling
from poziomka.core.scoring import Scoring
from poziomka.core.transcript import Author, Transcript

T = TypeVar("T")


def collect(
    sampler: Sampler,
    task: Task,
    problems: Sequence[Problem],
    sampling: Sampling,
    *,
    attempts: int = 1,
    name: str = "collect",
    scoring: Scoring | None = None,
) -> list[Group]:
    """Returns a judged group of `attempts` rollouts for each problem, in the order of `problems`.

    Args:
        sampler: writes the attempts.
        task: whose environment and scorer to use.
        problems: what to attempt.
        sampling: settings of every request; its seed is replaced by one named after problem, attempt and `name`.
        attempts: rollouts a problem.
        name: names the randomness and the rollouts' ids ("train/step-12"): the same name repeats exactly.
        scoring: keeps the scorer's workers alive between calls; None opens and closes its own.
    """
    if scoring is None:
        with Scoring(task) as own:
            return wait_for(_groups(sampler, task, problems, sampling, attempts, name, own))
    return wait_for(_groups(sampler, task, problems, sampling, attempts, name, scoring))


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Returns what `work` comes to; inside a running event loop (a notebook's), by way of a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def _groups(
    sampler: Sampler,
    task: Task,
    problems: Sequence[Problem],
    sampling: Sampling,
    attempts: int,
    name: str,
    scoring: Scoring,
) -> list[Group]:
    async def group(number: int, problem: Problem) -> Group:
        ids = [f"{name}/{number}/{problem.key}/{attempt}" for attempt in range(attempts)]
        samplings = [replace(sampling, seed=seed_of_rollout(problem, rollout)) for rollout in ids]
        outcomes = await _transcripts(sampler, task, problem, samplings)
        return await asyncio.gather(
            *(
                _judged(f"{name}/{number}/{problem.key}/{attempt}", problem, outcome, scoring)
                for attempt, outcome in enumerate(outcomes)
            )
        )

    return list(await asyncio.gather(*(group(number, problem) for number, problem in enumerate(problems))))


async def _transcripts(
    sampler: Sampler, task: Task, problem: Problem, samplings: Sequence[Sampling]
) -> "list[Transcript | tuple[Transcript, PoziomkaError]]":
    """Returns the attempts; one comes with its failure.

    An attempt fails where its problem cannot be drawn, its environment fails, or no sampler can continue its
    transcript.
    """
    if problem.fault:
        return [(Transcript.of(problem.prompt), ProblemError(problem.fault))] * len(samplings)
    try:
        environment, prompt = environment_of(task, problem)
    except EnvironmentFailure as failure:
        return [(Transcript.of(problem.prompt), failure)] * len(samplings)
    if environment is None:
        try:
            return list(await sampler.branch(prompt, samplings))
        except TranscriptError as error:
            return [(prompt, error)] * len(samplings)
    return list(await asyncio.gather(*(_exchange(sampler, environment, problem, prompt, how) for how in samplings)))


async def _exchange(
    sampler: Sampler, environment: Environment, problem: Problem, prompt: Transcript, sampling: Sampling
) -> "Transcript | tuple[Transcript, PoziomkaError]":
    try:
        session, stop = session_of(environment, problem)
    except EnvironmentFailure as error:
        return prompt, error
    outcome: Transcript | tuple[Transcript, PoziomkaError]
    try:
        outcome = await converse(sampler, session, prompt, replace(sampling, stop=(*sampling.stop, *stop)))
    except (EnvironmentFailure, TranscriptError) as error:
        outcome = prompt, error
    finally:
        failure = _close(session)
    return outcome if failure is None else (prompt, failure)


def _close(session: Session) -> EnvironmentFailure | None:
    """Closes a session; returns what went wrong, because one leak must not end a whole collection."""
    try:
        close(session)
    except EnvironmentFailure as error:
        return error
    return None


async def _judged(
    rollout: str,
    problem: Problem,
    outcome: "Transcript | tuple[Transcript, PoziomkaError]",
    scoring: Scoring,
) -> Rollout:
    if isinstance(outcome, tuple):
        transcript, failure = outcome
        score = Score.failed(Verdict.ERROR, str(failure))
    else:
        transcript = outcome
        score = await scoring.score(problem, transcript)
    policy = next((span.policy for span in transcript if span.author is Author.MODEL), None)
    return Rollout(rollout, problem, (Branch(transcript, score),), policy)
