"""What work costs: floating-point operations of tokens really read, written and learned from."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from poziomka.core.rollout import Group
from poziomka.core.transcript import Transcript
from poziomka.models.base import Architecture

Stretch = tuple[int, int]  # of a text: the number of its first token, and of the one after its last


def training_flops(model: Architecture, stretches: Iterable[Stretch], learned: int) -> float:
    """Returns the operations of forward and backward: three forward passes (Kaplan et al. 2020, section 2.1).

    What several sequences share is computed once: it is a stretch of its own, and theirs begin after it. Logits are
    made only where a token is learned from. Three passes is the field's convention: a fourth by checkpointing and the
    reference's of a divergence are not counted, nor is padding, and frozen weights under adapters count as if they
    had gradients of their own.

    Args:
        model: that learns.
        stretches: of texts that are computed, from which token to which.
        learned: how many tokens are learned from.
    """
    body = sum(count * _body(model, *stretch) for stretch, count in Counter(stretches).items())
    return 3 * (body + learned * model.work(1).head)


def sampling_flops(model: Architecture, groups: Sequence[Group]) -> float:
    """Returns the operations that wrote some groups: each prompt read once, then each attempt token by token.

    A token is written by reading the one before it; logits are made there only, and the last token is never read.
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
    """Returns the operations of reading a text from token `start` to `end`, without logits."""
    before, after = model.work(start), model.work(end)
    return after.places - before.places + after.looks - before.looks


def _written(transcript: Transcript) -> tuple[int, int, int]:
    """Returns the places before which the first and last token stand that a policy wrote or had put in its mouth.

    And how many such tokens there are. The token just before one of them is read to write it.
    """
    ends = list(accumulate(map(len, transcript)))
    own = [(end - len(span), end) for span, end in zip(transcript, ends, strict=True) if span.policy is not None]
    if not own:
        return 0, 0, 0
    return max(own[0][0] - 1, 0), own[-1][1] - 1, sum(end - start for start, end in own)
