"""Inputs of the loss (the trained tokens of a pass) and its three terms, computed from log-probabilities."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from poziomka.learning.objectives.kl import k3
from poziomka.learning.objectives.losses import (
    CorrectionSettings,
    SurrogateSettings,
    correction,
    next_token,
    policy_gradient,
)


@dataclass(frozen=True)
class LossInputs:
    """The `M` trained tokens of one forward and backward pass; every field is a tensor [M].

    Attributes:
        target: the token's id.
        temperature: sampling temperature at which the log-probability is computed.
        policy: weight of the policy gradient.
        imitate: weight of the next-token loss.
        match: weight of the divergence.
        logq: the sampler's log-probability.
        sequence: number of the token's sequence; -1 for none.
        old: the learner's log-probability with the weights that the batch started from; None if those are the
            present weights.
        level: mean, over the token's sequence, of the learner's present log-probability minus `old`; None if the
            surrogate does not use it.
        apart: sum of `old` minus `logq` over the token's sequence; None if the correction does not use it.
        reference: the reference's log-probability; None if the divergence does not use it.
    """

    target: Tensor
    temperature: Tensor
    policy: Tensor
    imitate: Tensor
    match: Tensor
    logq: Tensor
    sequence: Tensor
    old: Tensor | None = None
    level: Tensor | None = None
    apart: Tensor | None = None
    reference: Tensor | None = None

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.target)

    def __getitem__(self, rows: slice) -> "LossInputs":
        """Returns a slice of the tokens."""
        fields = {name: tensor[rows] for name, tensor in vars(self).items() if tensor is not None}
        return replace(self, **fields)

    def before(self, logp: Tensor) -> Tensor:
        """Returns the log-probabilities [M] before the batch's first step: `old`, or else `logp` without gradient."""
        return logp.detach() if self.old is None else self.old


@dataclass
class Terms:
    """The three loss terms, summed over tokens, with statistics of clipping.

    Attributes:
        policy: policy-gradient loss.
        imitation: next-token loss.
        divergence: weighted KL divergence from the reference; None without a KL term.
        clipped: number of tokens clipped by the surrogate.
        correction: [M] truncated importance weights between sampler and learner.
        cut: [M] mask of the truncated importance weights.
    """

    policy: Tensor
    imitation: Tensor
    divergence: Tensor | None
    clipped: Tensor
    correction: Tensor
    cut: Tensor

    @property
    def total(self) -> Tensor:
        """The loss to minimise: the sum of the terms."""
        total = self.policy + self.imitation
        return total if self.divergence is None else total + self.divergence


TermsOf = Callable[[Tensor, LossInputs], Terms]


def terms_of(surrogate: SurrogateSettings, how: CorrectionSettings) -> TermsOf:
    """Returns the function that computes the loss terms from log-probabilities [M] and the trained tokens.

    Args:
        surrogate: surrogate of the policy gradient.
        how: importance weights that correct for the difference between sampler and learner.
    """

    def terms(logp: Tensor, tokens: LossInputs) -> Terms:
        old = tokens.before(logp)
        trust, cut = correction(old - tokens.logq if tokens.apart is None else tokens.apart, how)
        policy, clipped = policy_gradient(logp, old, tokens.policy * trust, surrogate, tokens.level)
        divergence = None if tokens.reference is None else k3(logp, tokens.reference, tokens.match)
        return Terms(policy, next_token(logp, tokens.imitate), divergence, clipped, trust, cut)

    return terms
