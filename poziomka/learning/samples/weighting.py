"""Training samples from rollouts and demonstrations: sequences with a weight for each token and loss term.

Aggregations of the policy gradient over a batch, over MODEL tokens:
    prompt    mean over prompts of the mean over the tokens of the prompt's group (ScaleRL, arXiv 2510.13786)
    token     mean over all tokens (DAPO, arXiv 2503.14476)
    sequence  mean over sequences of the mean over their tokens (GRPO, arXiv 2402.03300)
    constant  sum over tokens / (sequences × maximum reply length) (Dr.GRPO, arXiv 2503.20783)
Only attempts with an advantage count in a normaliser.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, TypeVar

from poziomka.core.rollout import Rollout
from poziomka.core.transcript import Author, Transcript
from poziomka.learning.samples.advantages import Advantages
from poziomka.learning.samples.branches import Credit, Line, credits_of, lines_of

Item = TypeVar("Item", Rollout, Line)
Attempts = Sequence[Sequence[Rollout | Line]]  # judged attempts, or lines of them, by group
Aggregation = Literal["prompt", "token", "sequence", "constant"]


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence with a weight for each token and loss term.

    Attributes:
        tokens: token ids.
        policy: weight of the policy-gradient term: advantage / normaliser.
        imitate: weight of the next-token term.
        logprobs: the sampler's log-probabilities; 0 for tokens that were not sampled.
        match: weight of the divergence term, without its coefficient (kl.weight); if empty, all 0.
    """

    tokens: "array[int]"
    policy: "array[float]"
    imitate: "array[float]"
    logprobs: "array[float]"
    match: "array[float]" = field(default_factory=lambda: array("f"))

    def __post_init__(self) -> None:
        """Replaces an empty `match` by zeros for all tokens."""
        if not self.match:
            object.__setattr__(self, "match", array("f", bytes(4 * len(self.tokens))))

    def cut(self, length: int | None) -> "Example":
        """Returns the example cut to its first `length` tokens; `length=None` cuts nothing."""
        if length is None or len(self.tokens) <= length:
            return self
        return Example(*(getattr(self, name)[:length] for name in ("tokens", "policy", "imitate", "logprobs", "match")))


def policy_examples(
    groups: Attempts, advantages: Advantages, aggregation: Aggregation = "prompt", longest: int = 1
) -> list[Example]:
    """Returns the samples of the policy gradient: MODEL tokens of trainable branches with an advantage.

    A forked branch contributes the tokens after its fork; the tokens before have the mean advantage of the branches
    that share them (learning/samples/branches.py).

    Args:
        groups: judged attempts, or lines of them (`by_role`).
        advantages: one for each attempt or line; None leaves it out. A rollout's advantage applies to all its branches.
        aggregation: normaliser of token weights, over the whole batch: "prompt" weights all groups equally, "sequence"
            all sequences, "token" all tokens; "constant" divides by the number of sequences × `longest`.
        longest: maximum reply length, in tokens, used by "constant" only.
    """
    chosen = [_credited(group, values) for group, values in zip(groups, advantages, strict=True)]
    chosen = [found for found in chosen if found]
    lengths = [[sum(_own(credit)) for credit in found] for found in chosen]
    everything, sequences = sum(map(sum, lengths)), sum(map(len, chosen))
    examples = []
    for found, own in zip(chosen, lengths, strict=True):
        for credit, length in zip(found, own, strict=True):
            count = {
                "prompt": len(chosen) * sum(own),
                "token": everything,
                "sequence": sequences * length,
                "constant": sequences * longest,
            }[aggregation]
            examples += _weighted(credit, max(count, 1))
    return examples


def _credited(group: Sequence[Rollout | Line], values: Sequence[float | None]) -> list[Credit]:
    """Returns the credit of every line of a group that has an advantage, in the order of the group."""
    pairs = [
        (line, value)
        for attempt, value in zip(group, values, strict=True)
        if value is not None
        for line in lines_of(attempt)
    ]
    families: dict[int, list[tuple[Line, float]]] = {}  # by the identity of the rollout: ids may repeat
    for line, value in pairs:
        families.setdefault(id(line.rollout), []).append((line, value))
    all_credits = [credit for family in families.values() for credit in credits_of(family)]
    found = {(id(credit.line.rollout), credit.line.index): credit for credit in all_credits}
    return [found[id(line.rollout), line.index] for line, _ in pairs]


def minibatches(
    groups: Sequence[Sequence[Item]], advantages: Advantages, count: int, seed: int
) -> list[tuple[list[Sequence[Item]], Advantages]]:
    """Splits the groups that have an advantage into at most `count` minibatches of (groups, advantages).

    Each minibatch is normalised by itself. Groups are not split; the minibatches differ by at most one group in size.

    Args:
        groups: judged attempts.
        advantages: advantages by group and attempt.
        count: maximum number of minibatches; 1 keeps all groups in their order.
        seed: seed of the shuffle.
    """
    if count == 1:
        return [(list(groups), advantages)]
    pairs = [(g, v) for g, v in zip(groups, advantages, strict=True) if any(value is not None for value in v)]
    Random(seed).shuffle(pairs)
    parts = [pairs[number::count] for number in range(min(count, len(pairs)))] or [[]]
    return [([group for group, _ in part], [values for _, values in part]) for part in parts]


def _own(credit: Credit) -> list[bool]:
    """Returns a mask of the tokens in the policy-gradient term: sampled tokens, except the first and shared ones.

    The first token of a sequence has no prediction.
    """
    mask: list[bool] = []
    for span in credit.line.transcript:
        mask.extend([span.author is Author.MODEL and span.logprobs is not None] * len(span))
    shared = min(max(credit.start, 1), len(mask))
    mask[:shared] = [False] * shared
    return mask


def _weighted(credit: Credit, count: int) -> list[Example]:
    """Returns the sample of a line; [] if none of its tokens is in the loss."""
    mask, transcript = _own(credit), credit.line.transcript
    if not any(mask):
        return []
    logprobs = array("f")
    for span in transcript:
        logprobs.extend(span.logprobs or bytes(len(span)))
    advantages = zip(mask, credit.advantages, strict=True)
    policy = array("f", [advantage / count if own else 0.0 for own, advantage in advantages])
    match = array("f", [1 / count if own else 0.0 for own in mask])
    nothing = array("f", bytes(4 * len(mask)))
    return [Example(transcript.tokens, policy, nothing, logprobs, match)]


def imitation_examples(transcripts: Sequence[Transcript], authors: Sequence[Author]) -> list[Example]:
    """Returns samples of the next-token loss: each token by `authors` has weight 1 / (their number in the batch).

    The first token of a transcript has no prediction and no weight.

    Args:
        transcripts: demonstrations; empty ones are left out.
        authors: authors whose tokens have a loss.
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


def match_examples(transcripts: Sequence[Transcript], authors: Sequence[Author]) -> list[Example]:
    """Returns training examples for the loss's divergence from a teacher: tokens by `authors` have weight 1 / N.

    N is the number of such tokens in the batch; all other tokens have weight 0. The first token of a transcript has no
    prediction and no weight.

    Args:
        transcripts: sampled replies with their prompts; empty ones are left out.
        authors: authors whose tokens are trained on.
    """
    examples = []
    for each in imitation_examples(transcripts, authors):
        nothing = array("f", bytes(4 * len(each.tokens)))
        examples.append(Example(each.tokens, nothing, nothing, nothing, each.imitate))
    return examples
