"""The tokens that a pass learns from, and the loss terms that stand on their log-probabilities."""

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
class Learned:
    """`M` tokens that something is learned from, each field [M].

    Attributes:
        target: the token's id.
        temperature: at which its log-probability is taken.
        policy: weight of the policy gradient.
        imitate: weight of the next-token loss.
        match: weight of the divergence.
        logq: the sampler's log-probability.
        sequence: number of its sequence; -1 for none.
        old: the learner's log-probability with the weights that the batch started from; None where those are the
            weights as they stand.
        level: mean of log p - log old over its sequence, where the surrogate asks for it.
        apart: sum of log old - log q over its sequence, where the correction asks for it.
        reference: the reference's log-probability, where the divergence asks for it.
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

    def __getitem__(self, rows: slice) -> "Learned":
        """Returns a stretch of the tokens."""
        fields = {name: tensor[rows] for name, tensor in vars(self).items() if tensor is not None}
        return replace(self, **fields)

    def before(self, logp: Tensor) -> Tensor:
        """Returns [M] the log-probabilities before the batch's first step; `logp` is what they are now."""
        return logp.detach() if self.old is None else self.old


@dataclass
class Terms:
    """The three loss terms, summed over tokens, and how many tokens were clipped.

    Attributes:
        correction: [M] importance weights between sampler and learner, and in `cut` which were truncated.
    """

    policy: Tensor
    imitation: Tensor
    divergence: Tensor | None
    clipped: Tensor
    correction: Tensor
    cut: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        total = self.policy + self.imitation
        return total if self.divergence is None else total + self.divergence


TermsOf = Callable[[Tensor, Learned], Terms]


def terms_of(surrogate: SurrogateSettings, how: CorrectionSettings) -> TermsOf:
    """Returns the function from log-probabilities [M] of learned tokens to their loss terms."""

    def terms(logp: Tensor, tokens: Learned) -> Terms:
        old = tokens.before(logp)
        trust, cut = correction(old - tokens.logq if tokens.apart is None else tokens.apart, how)
        policy, clipped = policy_gradient(logp, old, tokens.policy * trust, surrogate, tokens.level)
        divergence = None if tokens.reference is None else k3(logp, tokens.reference, tokens.match)
        return Terms(policy, next_token(logp, tokens.imitate), divergence, clipped, trust, cut)

    return terms
