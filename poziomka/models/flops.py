"""Floating-point operations of training and sampling, counted from the tokens that were really processed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from poziomka.core.rollout import Group
from poziomka.core.transcript import Transcript
from poziomka.models.base import Architecture

Stretch = tuple[int, int]  # token range of a text: first index, and one past the last


def training_flops(model: Architecture, stretches: Iterable[Stretch], learned: int) -> float:
    """Returns the operations of forward and backward passes: three forward passes (Kaplan et al. 2020, section 2.1).

    A shared prefix is computed once: it is a range of its own, and the ranges of its sequences begin after it. Logits
    are counted only for trained tokens. Three passes is the usual convention: the additional pass of gradient
    checkpointing, the reference model's pass for a KL term, and padding are not counted, and frozen weights under
    adapters count as if they had gradients.

    Args:
        model: the model being trained.
        stretches: token ranges that are computed, one for each text.
        learned: number of trained tokens.
    """
    body = sum(count * _body(model, *stretch) for stretch, count in Counter(stretches).items())
    return 3 * (body + learned * model.work(1).head)


def sampling_flops(model: Architecture, groups: Sequence[Group]) -> float:
    """Returns the operations of sampling groups of rollouts: each prompt once, then every rollout token by token.

    Sampling a token takes a forward pass over the token before it, with logits; the last token is never read.
    """
    stretches: Counter[Stretch] = Counter()
    logits = 0
    for group in groups:
        for number, rollout in enumerate(group):
            first, last, written = _written(rollout.transcript)
            stretches[first if number else 0, last] += 1
            logits += written
    body = sum(count * _body(model, *stretch) for stretch, count in stretches.items())
    return body + logits * model.work(1).head


def _body(model: Architecture, start: int, end: int) -> float:
    """Returns the operations of a forward pass over tokens `start` to `end` of a text, without logits."""
    before, after = model.work(start), model.work(end)
    return after.places - before.places + after.looks - before.looks


def _written(transcript: Transcript) -> tuple[int, int, int]:
    """Returns the index before a policy's first token, the index of its last one, and the number of its tokens.

    Tokens of a policy are those of spans with a `policy`: sampled, or forced into its reply. Sampling or forcing one
    reads the token before it, so the computed range begins there and ends before the last token.
    """
    ends = list(accumulate(map(len, transcript)))
    own = [(end - len(span), end) for span, end in zip(transcript, ends, strict=True) if span.policy is not None]
    if not own:
        return 0, 0, 0
    return max(own[0][0] - 1, 0), own[-1][1] - 1, sum(end - start for start, end in own)
