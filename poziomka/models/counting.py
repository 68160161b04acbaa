"""What work costs: floating-point operations of tokens really read, written and learned from."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate

from poziomka.core.rollout import Group
from poziomka.core.transcript import Transcript
from poziomka.models.architecture import Architecture


def training_flops(model: Architecture, lengths: Iterable[int], places: int, learned: int) -> float:
    """Returns the operations of forward and backward: three forward passes (Kaplan et al. 2020, section 2.1).

    A token that several sequences share stands in one place: its products are computed once. The core of attention is
    computed for each sequence anew, from its beginning on, and so it is counted. Logits are made only where a token
    is learned from. Three passes is the field's convention: a fourth by checkpointing and the reference's of a
    divergence are not counted, and frozen weights under adapters count as if they had gradients of their own.

    Args:
        model: that learns.
        lengths: tokens of each sequence, from its beginning.
        places: that hold a token.
        learned: tokens that are learned from.
    """
    one = model.work(1)
    looks = sum(count * model.work(length).looks for length, count in Counter(lengths).items())
    return 3 * (places * one.places + looks + learned * one.head)


def sampling_flops(model: Architecture, groups: Sequence[Group]) -> float:
    """Returns the operations that wrote some groups: each prompt read once, then each attempt token by token.

    A token is written by reading the one before it; logits are made there only, and the last token is never read.
    """

    @cache
    def body(tokens: int) -> float:
        work = model.work(tokens)
        return work.places + work.looks

    head, total = model.work(1).head, 0.0
    for group in groups:
        for number, rollout in enumerate(group):
            first, last, written = _written(rollout.transcript)
            total += body(last) - (body(first) if number else 0.0) + written * head
    return total


def _written(transcript: Transcript) -> tuple[int, int, int]:
    """Returns the places before which the first and last token stand that a policy wrote or had put in its mouth.

    And how many such tokens there are. The token just before one of them is read to write it.
    """
    ends = list(accumulate(map(len, transcript)))
    own = [(end - len(span), end) for span, end in zip(transcript, ends, strict=True) if span.policy is not None]
    if not own:
        return 0, 0, 0
    return max(own[0][0] - 1, 0), own[-1][1] - 1, sum(end - start for start, end in own)
