"""How a model answers, beside how often it is right: what a study writes about each control, before and after."""

from collections import defaultdict
from statistics import fmean
from typing import Any

from poziomka.core.problem import Verdict
from poziomka.core.rollout import Rollout
from poziomka.core.rollouts.evaluation import Evaluation
from poziomka.learning.monitoring.text_features import signs_of
from poziomka.runs import Run

COURSE = ("reward/mean", "policy/entropy", "length/mean", "length/thinking", "thinking/empty_share")


def behaviour(evaluation: Evaluation) -> dict[str, Any]:
    """Returns shares of attempts (0 to 1), mean thinking tokens, and accuracy by thought and by level of the problem.

    `thinks` is the share with a thought of more than a stub (learning/monitoring/text_features.py), and `accuracy`
    splits the attempts by it: `with_thought`, `at_once`; each is None where no attempt was of that kind.
    """
    attempts = [rollout for group in evaluation.groups for rollout in group]
    thinkers = [rollout for rollout in attempts if not signs_of(rollout).empty]
    levels: dict[int, list[Rollout]] = defaultdict(list)
    for rollout in attempts:
        levels[rollout.problem.level].append(rollout)
    return {
        "thinks": len(thinkers) / len(attempts),
        "unparsed": _share(attempts, Verdict.UNPARSED),
        "truncated": _share(attempts, Verdict.TRUNCATED),
        "thinking_tokens": evaluation.thinking,
        "thinking_tokens_of_thoughts": fmean(rollout.thinking for rollout in thinkers) if thinkers else None,
        "accuracy": {
            "with_thought": _accuracy(thinkers),
            "at_once": _accuracy([rollout for rollout in attempts if signs_of(rollout).empty]),
        },
        "levels": {str(level): _accuracy(levels[level]) for level in sorted(levels)},
    }


def course(run: Run) -> dict[str, list[float | None]]:
    """Returns a control's metrics of `COURSE`, a value a step of reinforcement; None where a step has none."""
    lines = [line for line in run.metrics() if line.get("stage") == "rl"]
    return {name: [line.get(name) for line in lines] for name in COURSE}


def _share(attempts: list[Rollout], verdict: Verdict) -> float:
    """Returns the share of attempts with a verdict."""
    return sum(rollout.score.verdict is verdict for rollout in attempts) / len(attempts)


def _accuracy(attempts: list[Rollout]) -> float | None:
    """Returns the share of right attempts; None where there is none."""
    return fmean(rollout.score.correct for rollout in attempts) if attempts else None
