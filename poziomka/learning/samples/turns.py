"""Turns of an exchange with tools: which were void, and how much the tools were used.

A turn is what the model (and what is forced into its mouth) writes until an environment speaks, or to the end. It is
void where it neither ends with a call that the environment answered nor answers the problem: it went on to its last
token, or ended in silence. A call that is answered with an error is a call. Attempts with a void turn are where
learning with tools becomes unstable, as tokens of very low probability gather in them; SimpleTIR leaves them out of the
policy's loss and keeps them in the group's baseline (Xue et al. 2025, arXiv 2509.02479, section 3.3).

Only the last turn can be void: one that was not answered ended the exchange.
"""

from collections.abc import Sequence
from statistics import fmean

from poziomka.core.rollout import Group, Rollout
from poziomka.core.rollouts.answers import split_thought
from poziomka.core.transcript import Author, Transcript
from poziomka.learning.samples.advantages import Advantages


def void(transcript: Transcript) -> bool:
    """Whether the last turn holds neither a call that was answered nor an answer."""
    spans = [span for span in transcript if span.author is not Author.TEMPLATE]
    if spans and spans[-1].author is Author.ENVIRONMENT:
        return False  # it spoke last: the exchange was over, or the tokens were
    return not split_thought(transcript.reply)[1]


def without_void(groups: Sequence[Group], advantages: Advantages) -> Advantages:
    """Returns the advantages, None for attempts with a void turn; those of the others stay what they were."""
    return [
        [None if void(rollout.transcript) else value for rollout, value in zip(group, values, strict=True)]
        for group, values in zip(groups, advantages, strict=True)
    ]


def describe_tools(groups: Sequence[Group]) -> dict[str, float]:
    """Returns how tools were used in attempts whose check did not fail; {} where there is none.

    tools/rate: share of attempts with a call · tools/calls: mean calls of an attempt · tools/seconds: time in which
    tools answered, all calls together · rollouts/void: share of attempts with a void turn.
    """
    rollouts = [rollout for group in groups for rollout in group if rollout.score.reward is not None]
    if not rollouts:
        return {}
    heard = [rollout.transcript.heard for rollout in rollouts]
    return {
        "tools/rate": fmean(bool(said) for said in heard),
        "tools/calls": fmean(map(len, heard)),
        "tools/seconds": sum(span.seconds for said in heard for span in said),
        "rollouts/void": fmean(void(rollout.transcript) for rollout in rollouts),
    }


def rate_by_level(rollouts: Sequence[Rollout]) -> dict[int, float]:
    """Returns the share of attempts with a call, by level of the problem."""
    levels: dict[int, list[bool]] = {}
    for rollout in rollouts:
        levels.setdefault(rollout.problem.level, []).append(bool(rollout.transcript.heard))
    return {level: fmean(called) for level, called in sorted(levels.items())}
