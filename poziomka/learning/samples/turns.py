"""Void turns of transcripts with tools, and metrics of tool use.

A turn is the text that the model writes (or that is forced into it) until the environment's next reply, or to the end.
A void turn neither ends with a call that the environment answered nor answers the problem: it ran to its last token, or
ended without text. A call that is answered with an error is a call. Attempts with a void turn make learning with tools
unstable, as tokens of very low probability accumulate in them; SimpleTIR leaves them out of the policy's loss and keeps
them in the group's baseline (Xue et al. 2025, arXiv 2509.02479, section 3.3).

Only the last turn can be void, since an unanswered turn ends the exchange.
"""

from collections.abc import Sequence
from statistics import fmean

from poziomka.core.rollout import Group, Rollout
from poziomka.core.transcript import Author, Transcript, split_thought
from poziomka.learning.samples.advantages import Advantages
from poziomka.learning.samples.branches import Line


def void(transcript: Transcript) -> bool:
    """Whether the last turn of a transcript is void: it contains neither an answered tool call nor an answer.

    A turn is the text that the model writes until the environment's next reply, or to the end.
    """
    spans = [span for span in transcript if span.author is not Author.TEMPLATE]
    if spans and spans[-1].author is Author.ENVIRONMENT:
        return False  # the environment replied last: it ended the exchange, or the token budget was spent
    return not split_thought(transcript.reply)[1]


def without_void(groups: Sequence[Sequence[Rollout | Line]], advantages: Advantages) -> Advantages:
    """Returns the advantages with None for attempts with a void turn; all other advantages are unchanged."""
    return [
        [None if void(_whole(attempt)) else value for attempt, value in zip(group, values, strict=True)]
        for group, values in zip(groups, advantages, strict=True)
    ]


def _whole(attempt: Rollout | Line) -> Transcript:
    """Returns the transcript of an attempt; for a part of a conversation, that of the whole conversation."""
    if isinstance(attempt, Line) and attempt.branch.judged_as is not None:
        return attempt.rollout.branches[attempt.branch.judged_as].transcript
    return attempt.transcript


def describe_tools(groups: Sequence[Group]) -> dict[str, float]:
    """Returns metrics of tool use over attempts whose check did not fail; {} if there are none.

    tools/rate: share of attempts with a call · tools/calls: mean number of calls of an attempt · tools/seconds: total
    time of all calls · rollouts/void: share of attempts with a void turn.
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
    """Returns the share of attempts with a tool call, 0 to 1, by level of the problem."""
    levels: dict[int, list[bool]] = {}
    for rollout in rollouts:
        levels.setdefault(rollout.problem.level, []).append(bool(rollout.transcript.heard))
    return {level: fmean(called) for level, called in sorted(levels.items())}
