"""What work costs: floating-point operations of tokens really read, written and learned from."""

from collections.abc import Iterable, Sequence
from itertools import takewhile

from poziomka.core.rollout import Group
from poziomka.core.transcript import Transcript
from poziomka.models.architecture import Architecture


def reading_flops(model: Architecture, lengths: Iterable[int], start: int = 0) -> float:
    """Returns the operations of one forward pass over sequences, from token `start` of each on."""
    return sum((length - start) * model.flops((length + start - 1) / 2) for length in lengths if length > start)


def training_flops(model: Architecture, lengths: Iterable[int]) -> float:
    """Returns the operations of forward and backward: three forward passes (Kaplan et al. 2020, section 2.1)."""
    return 3 * reading_flops(model, lengths)


def sampling_flops(model: Architecture, groups: Sequence[Group]) -> float:
    """Returns the operations that wrote some groups: each prompt once, then each attempt's own tokens."""
    total = 0.0
    for group in groups:
        for number, rollout in enumerate(group):
            shared = 0 if number == 0 else _prompt_tokens(rollout.transcript)
            total += reading_flops(model, [len(rollout.transcript)], shared)
    return total


def _prompt_tokens(transcript: Transcript) -> int:
    """Returns how many tokens come before the first that a policy wrote, or had put in its mouth."""
    return sum(map(len, takewhile(lambda span: span.policy is None, transcript)))
