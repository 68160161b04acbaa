"""Floating-point operations of training and sampling, counted from the tokens that were really processed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from poziomka.core.rollout import Branch, Cost, Group
from poziomka.models.base import Architecture

Stretch = tuple[int, int]  # token range of a text: first index, and one past the last


def training_flops(model: Architecture, stretches: Iterable[Stretch], learned: int) -> float:
    """Returns the floating-point operations of training: three forward passes (Kaplan et al. 2020, section 2.1).

    Three forward passes stand for one forward and one backward pass, as usual. The additional pass of gradient
    checkpointing, the reference model's pass for a KL term, and padding are not counted. Frozen weights under adapters
    count as if they had gradients. Logits are counted only for trained tokens.

    Args:
        model: the model being trained.
        stretches: token ranges (first, end) that are computed, one for each text. A shared prefix is computed once: it
            is a range of its own, and the ranges of its sequences begin after it.
        learned: number of trained tokens.
    """
    body = sum(count * _body(model, *stretch) for stretch, count in Counter(stretches).items())
    return 3 * (body + learned * model.work(1).head)


def sampling_flops(model: Architecture, groups: Sequence[Group]) -> float:
    """Returns the floating-point operations of sampling groups of rollouts, in all branches, and of judging them.

    The prompt of a group is computed once, and so are the tokens that a forked branch shares with its parent, and the
    parts of a conversation that is also a branch as a whole. Sampling a token takes a forward pass over the token
    before it, with logits; the last token is never read. Tokens that are in no branch, such as thoughts put aside, and
    those of judges, which `Cost.judged` weights by parameters, count as tokens without attention to others.
    """
    stretches: Counter[Stretch] = Counter()
    logits = elsewhere = 0.0
    for group in groups:
        heads: set[bytes] = set()
        for rollout in group:
            wholes = {branch.judged_as for branch in rollout.branches}  # sampled in parts, which are branches too
            for branch in (each for index, each in enumerate(rollout.branches) if index not in wholes):
                first, last, written = _written(branch)
                head = branch.transcript.tokens[: first + 1].tobytes()
                new = branch.parent is None and head not in heads
                stretches[0 if new else first, last] += 1
                logits += written
                heads.add(head)
            if rollout.spent is not None:
                inside = Cost.of(rollout.branches).sampled
                elsewhere += rollout.spent.judged + max(rollout.spent.sampled - inside, 0)
    body = sum(count * _body(model, *stretch) for stretch, count in stretches.items())
    token = model.work(1)
    return body + logits * token.head + elsewhere * (token.places + token.head)


def _body(model: Architecture, start: int, end: int) -> float:
    """Returns the operations of a forward pass over tokens `start` to `end` (exclusive) of a text, without logits."""
    before, after = model.work(start), model.work(end)
    return after.places - before.places + after.looks - before.looks


def _written(branch: Branch) -> tuple[int, int, int]:
    """Returns (first, end, count): the range of tokens that sampling reads, and the number of tokens that it writes.

    Written tokens are those of spans with a `policy`, after the fork of a forked branch: sampled, or forced into the
    policy's reply. Sampling or forcing a token reads the token before it, so the range begins before the first written
    token, or before what a forked branch reads first, and ends before the last. Returns (0, 0, 0) if there is none.
    """
    shared = 0 if branch.parent is None else branch.fork_at
    spans = branch.transcript.spans
    ends = list(accumulate(map(len, spans)))
    placed = [(max(end - len(span), shared), end, span) for span, end in zip(spans, ends, strict=True)]
    own = [(start, end) for start, end, span in placed if span.policy is not None and end > shared]
    if not own:
        return 0, 0, 0
    begun = own[0][0] if branch.parent is None else shared
    return max(begun - 1, 0), own[-1][1] - 1, sum(end - start for start, end in own)
