"""Judges: estimates of whether a reply, or the beginning of one, is or will be correct.

A judge is asked by strategies that choose among replies (best-of-n, weighted votes) or among beginnings of replies
(searches). Judges differ in what they may know: an exact checker reads the problem's gold answer and belongs to upper
bounds and to training; a learned judge or the policy's own confidence works where there is no gold answer.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from poziomka.core.errors import SettingsError, reason_of
from poziomka.core.problem import Problem
from poziomka.core.rollout import Cost
from poziomka.core.sampler import Sampler
from poziomka.core.transcript import Transcript

FREE = Cost()


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's estimate for one transcript.

    Attributes:
        value: estimated probability that the reply is or will be correct, 0 to 1; None if the judge failed.
        cost: tokens that the judge read and sampled, in `judged`, as tokens of its own model; its `latency` is the
            number of tokens that it sampled.
        why: reason of a failure, or of the estimate.
    """

    value: float | None
    cost: Cost = FREE
    why: str = ""

    @classmethod
    def failed(cls, why: str) -> "Judgement":
        """Returns the judgement of a judge that failed, for the reason `why`."""
        return cls(None, why=why)


class Judge(ABC):
    """Interface of a judge, which estimates the value of complete or partial replies."""

    @property
    def parameters(self) -> int | None:
        """Number of parameters of the judge's model, which weights its tokens; None if unknown or without a model."""
        return None

    @abstractmethod
    async def judge(
        self, transcripts: Sequence[Transcript], *, problem: Problem | None = None, seed: int = 0
    ) -> list[Judgement]:
        """Returns one judgement per transcript, in order.

        Args:
            transcripts: prompts with complete replies, or with their first steps.
            problem: problem that is attempted, which only exact checkers read; None in a chat.
            seed: seed of a judge that samples.

        Raises:
            SettingsError: the judge cannot judge such transcripts at all: it needs a problem, or log-probabilities.
        """


async def judgements(
    judge: Judge, sampler: Sampler, transcripts: Sequence[Transcript], problem: Problem | None, seed: int
) -> tuple[list[Judgement], Cost]:
    """Returns the judgements of transcripts, and their cost in tokens of the policy.

    A value that is not a number from 0 to 1 becomes a failed judgement, and so does every transcript of a judge that
    raised: the branch is then recorded as failed, and the other branches continue.

    Args:
        judge: judges the transcripts.
        sampler: sampler of the policy, whose parameters weight the judge's tokens; the weight is 1 if either number is
            unknown.
        transcripts: prompts with complete replies, or with their first steps.
        problem: problem that is attempted; None in a chat.
        seed: seed of the judge.

    Raises:
        SettingsError: the judge cannot judge such transcripts, or returned another number of judgements.
    """
    try:
        found = await judge.judge(transcripts, problem=problem, seed=seed)
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001 a judge may raise anything; all of it becomes failed judgements
        found = [Judgement.failed(reason_of(error))] * len(transcripts)
    if len(found) != len(transcripts):
        message = f"{type(judge).__name__} returned {len(found)} judgements of {len(transcripts)} transcripts"
        raise SettingsError(message)
    own = judge.parameters
    policy = sampler.capabilities.parameters if own else None
    weight = own / policy if own and policy else 1.0
    cost = Cost.together(each.cost for each in found)
    return [_checked(each) for each in found], replace(cost, judged=cost.judged * weight)


def _checked(judgement: Judgement) -> Judgement:
    """Returns a judgement, or a failed one if its value is not a number from 0 to 1."""
    value = judgement.value
    with suppress(TypeError, ValueError, OverflowError):  # a text, an array or an integer of many digits
        if value is None or (math.isfinite(value) and 0.0 <= value <= 1.0):
            return judgement
    return Judgement(None, judgement.cost, f"the judge's value is {value!r:.80}, not a number from 0 to 1")
