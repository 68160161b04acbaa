"""A method is how weights are put on tokens: from rollouts and demonstrations to weighted examples.

Aggregations of the policy gradient over a batch, as the field names them (`n` tokens the model wrote):
    prompt    mean over prompts of the mean over the tokens of the prompt's group (ScaleRL, arXiv 2510.13786)
    token     mean over all tokens (DAPO, arXiv 2503.14476)
    sequence  mean over sequences of the mean over their tokens (GRPO, arXiv 2402.03300)
    constant  sum over tokens / (sequences × most tokens a reply may have) (Dr.GRPO, arXiv 2503.20783)
Only attempts that carry an advantage count in a normaliser.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from poziomka.core.rollout import Branch, Group, Rollout
from poziomka.core.transcript import Author, Transcript
from poziomka.learning.samples.advantages import Advantages

Aggregation = Literal["prompt", "token", "sequence", "constant"]


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence with a weight for each token and loss term.

    Attributes:
        tokens: ids.
        policy: weight of the policy gradient, advantage and normaliser multiplied.
        imitate: weight of the next-token loss.
        logprobs: the sampler's log-probabilities; 0 where the model did not write.
        match: weight of the divergence, its price (learner.divergence.weight) aside; empty becomes 0 throughout.
    """

    tokens: "array[int]"
    policy: "array[float]"
    imitate: "array[float]"
    logprobs: "array[float]"
    match: "array[float]" = field(default_factory=lambda: array("f"))

    def __post_init__(self) -> None:
        """Fills in what was left out."""
        if not self.match:
            object.__setattr__(self, "match", array("f", bytes(4 * len(self.tokens))))

    def cut(self, length: int | None) -> "Example":
        """Returns its first `length` tokens; all of them for None."""
        if length is None or len(self.tokens) <= length:
            return self
        return Example(*(getattr(self, name)[:length] for name in ("tokens", "policy", "imitate", "logprobs", "match")))


def policy_examples(
    groups: Sequence[Group], advantages: Advantages, aggregation: Aggregation = "prompt", longest: int = 1
) -> list[Example]:
    """Returns what the policy gradient learns from: MODEL tokens of trainable branches with an advantage.

    Args:
        groups: judged attempts.
        advantages: by group and attempt.
        aggregation: how tokens are averaged, over the whole batch.
        longest: most tokens that a reply may have, for "constant".
    """
    chosen = [
        [(rollout, value) for rollout, value in zip(group, values, strict=True) if value is not None]
        for group, values in zip(groups, advantages, strict=True)
    ]
    chosen = [pairs for pairs in chosen if pairs]
    everything = sum(_length(rollout) for pairs in chosen for rollout, _ in pairs)
    sequences = sum(len(pairs) for pairs in chosen)
    examples = []
    for pairs in chosen:
        together = sum(_length(rollout) for rollout, _ in pairs)
        for rollout, value in pairs:
            count = {
                "prompt": len(chosen) * together,
                "token": everything,
                "sequence": sequences * _length(rollout),
                "constant": sequences * longest,
            }[aggregation]
            examples += _weighted(rollout, value, max(count, 1))
    return examples


def minibatches(
    groups: Sequence[Group], advantages: Advantages, count: int, seed: int
) -> list[tuple[list[Group], Advantages]]:
    """Returns the groups with an advantage and their advantages, dealt into at most `count` minibatches.

    Each minibatch becomes a batch with a normaliser of its own. Groups stay whole and differ by at most one in number.

    Args:
        groups: judged attempts.
        advantages: by group and attempt.
        count: 1 leaves all groups in their order.
        seed: of the order in which groups are dealt.
    """
    if count == 1:
        return [(list(groups), advantages)]
    pairs = [(g, v) for g, v in zip(groups, advantages, strict=True) if any(value is not None for value in v)]
    Random(seed).shuffle(pairs)
    parts = [pairs[number::count] for number in range(min(count, len(pairs)))] or [[]]
    return [([group for group, _ in part], [values for _, values in part]) for part in parts]


def _own(branch: Branch) -> list[bool]:
    """Returns which tokens of a branch the policy gradient learns from; a shared prefix is its parent's.

    A text's first token is never predicted, so it is never learned from.
    """
    if not branch.trainable:
        return [False] * len(branch.transcript)
    mask: list[bool] = []
    for span in branch.transcript:
        mask.extend([span.author is Author.MODEL and span.logprobs is not None] * len(span))
    shared = min(max(branch.fork_at, 1), len(mask))
    mask[:shared] = [False] * shared
    return mask


def _length(rollout: Rollout) -> int:
    return sum(sum(_own(branch)) for branch in rollout.branches)


def _weighted(rollout: Rollout, advantage: float, count: int) -> list[Example]:
    examples = []
    for branch in rollout.branches:
        mask = _own(branch)
        if any(mask):
            logprobs = array("f")
            for span in branch.transcript:
                logprobs.extend(span.logprobs or bytes(len(span)))
            policy = array("f", [advantage / count if own else 0.0 for own in mask])
            match = array("f", [1 / count if own else 0.0 for own in mask])
            nothing = array("f", bytes(4 * len(mask)))
            examples.append(Example(branch.transcript.tokens, policy, nothing, logprobs, match))
    return examples


def imitation_examples(transcripts: Sequence[Transcript], authors: Sequence[Author]) -> list[Example]:
    """Returns what the next-token loss learns from: tokens by `authors`, averaged over the batch.

    A text's first token is never predicted, so it is never learned from.
    """
    masks = [[False, *transcript.by(*authors)[1:]] for transcript in transcripts if len(transcript)]
    transcripts = [transcript for transcript in transcripts if len(transcript)]
    weight = 1 / max(sum(map(sum, masks)), 1)
    examples = []
    for transcript, mask in zip(transcripts, masks, strict=True):
        nothing = array("f", bytes(4 * len(mask)))
        imitate = array("f", [weight if chosen else 0.0 for chosen in mask])
        examples.append(Example(transcript.tokens, nothing, imitate, nothing))
    return examples
