"""Several rewards with weights as one scorer."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.scoring import judge
from poziomka.core.task import AskingScorer, Scorer, ask
from poziomka.core.transcript import AnswerReader, Transcript

ROUNDING = 1e-9  # by which a sum of weighted rewards may exceed 1 before it is limited to 1
RESERVED = ("mean", "pass_rate", "audit_pass_rate", "unearned")  # names of metrics reward/NAME


def weighted(**parts: tuple[Scorer, float]) -> "Weighted":
    """Returns a scorer whose reward is the weighted sum of several rewards.

        task = pz.Task("sums", generator, pz.weighted(correct=(pz.exact(pz.number), 1.0), long=(length_penalty, 0.2)))

    The first part decides whether an answer is correct: the verdict and the parsed answer are its own. The rewards of
    all parts, before their weights, are in `Score.parts`, in the journal, and in the metrics `reward/NAME`. If a part
    raises, or its check fails, the whole check fails: the score has no reward.

    A part with positive rewards also rewards wrong answers, which `poziomka tasks check` reports. A part from -1 to 0,
    a penalty, does not.

    Args:
        parts: (scorer, weight) by name. A scorer takes (problem, transcript) and returns a Score or a number from -1 to
            1. The first weight must be above 0. A part of weight 0 is recorded and does not change the reward.

    Raises:
        TaskError: there is no part, a part is no (scorer, weight), a weight is not finite, the first weight is not
            above 0, or a name is that of another metric.
    """
    return Weighted(parts)


@dataclass(frozen=True)
class Weighted:
    """A scorer whose reward is the weighted sum of several rewards; made by `weighted`.

    Attributes:
        parts: (scorer, weight) by name; the first scorer determines the verdict and the parsed answer.
    """

    parts: Mapping[str, tuple[Scorer, float]]

    def __post_init__(self) -> None:
        """Checks the parts and their weights.

        Raises:
            TaskError: as for `weighted`.
        """
        if not self.parts:
            message = "a weighted reward needs a part: give weighted(correct=(scorer, 1.0), …)"
            raise TaskError(message)
        for number, (name, part) in enumerate(self.parts.items()):
            if not _is_part(part):
                message = f"a part of a reward is (scorer, weight): received {part!r:.80} for {name!r}"
                raise TaskError(message)
            _demand_weight(name, part[1], first=number == 0)
            if name in RESERVED:
                message = f"the metric reward/{name} exists already: give the part {name!r} another name"
                raise TaskError(message)

    @property
    def reader(self) -> AnswerReader | None:
        """Reader of answers for votes: that of the first part, which decides what is correct; None if it has none."""
        found: AnswerReader | None = getattr(next(iter(self.parts.values()))[0], "reader", None)
        return found

    async def ask(self, problem: Problem, transcript: Transcript) -> object:
        """Calls `ask` of every part that asks a model, concurrently, and returns the results by the part's name.

        Returns None if no part asks a model.
        """
        asking = {name: scorer for name, (scorer, _) in self.parts.items() if isinstance(scorer, AskingScorer)}
        found = await asyncio.gather(*(ask(scorer, problem, transcript) for scorer in asking.values()))
        return dict(zip(asking, found, strict=True)) or None

    def settle(self, problem: Problem, transcript: Transcript, asked: object) -> Score:
        """Returns the weighted sum of the parts' rewards as a Score; `asked` is the result of `ask`.

        If a part fails, or the sum is below -1 or above 1, the score is a failed check without a reward. The parts are
        scored in order, and none after one that fails.
        """
        replies = asked if isinstance(asked, Mapping) else {}
        scores: dict[str, Score] = {}
        for name, (scorer, _) in self.parts.items():
            score = judge(scorer, problem, transcript, replies.get(name))
            if score.reward is None:
                verdict = score.verdict if score.verdict is Verdict.TIMEOUT else Verdict.ERROR
                return Score.failed(verdict, f"the part {name!r} of the reward has none: {score.why or score.verdict}")
            scores[name] = score
        return self._sum(scores)

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Scores an attempt with all parts and returns the weighted sum of their rewards as a Score.

        If a part fails, or the sum is below -1 or above 1, the score is a failed check without a reward.
        """
        return self.settle(problem, transcript, None)

    def _sum(self, scores: Mapping[str, Score]) -> Score:
        first = next(iter(scores.values()))
        total = math.fsum(self.parts[name][1] * (score.reward or 0.0) for name, score in scores.items())
        if abs(total) > 1 + ROUNDING:
            terms = " + ".join(f"{name} {score.reward:g} × {self.parts[name][1]:g}" for name, score in scores.items())
            message = f"a weighted reward lies from -1 to 1: received {total:g} = {terms}; lower the weights"
            return Score.failed(Verdict.ERROR, message)
        parts: dict[str, float] = {}
        for name, score in scores.items():
            parts[name] = score.reward or 0.0
            parts |= {f"{name}.{inner}": value for inner, value in score.parts.items()}
        others = [f"{name}: {score.why}" for name, score in scores.items() if score is not first and score.why]
        why = "; ".join(filter(None, (first.why, *others)))
        return Score(max(-1.0, min(1.0, total)), first.verdict, first.answer, why, parts)


def _is_part(part: object) -> bool:
    return isinstance(part, tuple) and len(part) == 2 and callable(part[0])


def _demand_weight(name: str, weight: object, *, first: bool) -> None:
    number = isinstance(weight, int | float) and not isinstance(weight, bool) and math.isfinite(weight)
    if not number or (first and weight <= 0):  # type: ignore[operator]  # it is a number
        wanted = "above 0, since the first part tells right from wrong" if first else "a finite number"
        message = f"the weight of a part must be {wanted}: received {weight!r:.80} for {name!r}"
        raise TaskError(message)
