"""The tokens that a pass learns from, and the loss terms that stand on their log-probabilities."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from poziomka.learning.divergence import k3
from poziomka.learning.losses import SurrogateSettings, next_token, policy_gradient


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
        level: mean log-ratio of its sequence, where the surrogate asks for it.
        reference: the reference's log-probability, where the divergence asks for it.
    """

    target: Tensor
    temperature: Tensor
    policy: Tensor
    imitate: Tensor
    match: Tensor
    logq: Tensor
    sequence: Tensor
    level: Tensor | None = None
    reference: Tensor | None = None

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.target)

    def __getitem__(self, rows: slice) -> "Learned":
        """Returns a stretch of the tokens."""
        fields = {name: tensor[rows] for name, tensor in vars(self).items() if tensor is not None}
        return replace(self, **fields)


@dataclass
class Terms:
    """The three loss terms, summed over tokens, and how many tokens were clipped."""

    policy: Tensor
    imitation: Tensor
    divergence: Tensor | None
    clipped: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        total = self.policy + self.imitation
        return total if self.divergence is None else total + self.divergence


TermsOf = Callable[[Tensor, Learned], Terms]


def terms_of(settings: SurrogateSettings) -> TermsOf:
    """Returns the function from log-probabilities [M] of learned tokens to their loss terms."""

    def terms(logp: Tensor, tokens: Learned) -> Terms:
        policy, clipped = policy_gradient(logp, tokens.logq, tokens.policy, settings, tokens.level)
        divergence = None if tokens.reference is None else k3(logp, tokens.reference, tokens.match)
        return Terms(policy, next_token(logp, tokens.imitate), divergence, clipped)

    return terms
