"""KL divergence of the policy from a reference model or a teacher: the third loss term.

Notation: `M` trained tokens, `V` vocabulary; p the learner's distribution, q the reference's; w [M] the weight of each
token: kl.weight (TRL's `beta`) times the normaliser of the policy gradient.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from poziomka.core.settings import setting

Divergence = Literal["none", "k3", "reverse", "forward"]


@dataclass(frozen=True, kw_only=True)
class DivergenceSettings:
    """Kind and weight of the loss's KL term, between the policy p and a reference or teacher q.

    k3       estimate of KL(p ‖ q) from the sampled tokens
    reverse  KL(p ‖ q) over the whole vocabulary
    forward  KL(q ‖ p) over the whole vocabulary
    """

    kind: Divergence = setting("none", "none, k3, reverse or forward")
    weight: float = setting(1e-3, "weight of the KL term in the loss, per nat", low=0.0)

    @property
    def whole(self) -> bool:
        """Whether the divergence is computed over the whole vocabulary, not estimated from the sampled token."""
        return self.kind in ("reverse", "forward")

    @property
    def wanted(self) -> bool:
        """Whether the loss has a divergence term."""
        return self.kind != "none" and self.weight > 0


def k3(logp: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
    """Returns the weighted sum of the k3 estimate of KL(p ‖ q): Σ w (exp(x) - x - 1) with x = log q - log p.

    p is the learner's distribution, q the reference's. The estimate is never negative (Schulman 2020, "Approximating KL
    divergence"); GRPO uses it (arXiv 2402.03300, eq. 4).

    Args:
        logp: [M] log p of each sampled token.
        reference: [M] log q of each sampled token.
        weight: [M] weight w of each token.
    """
    gap = reference - logp
    return (weight * (gap.exp() - gap - 1)).sum()


def whole_divergence(kind: Divergence, logprobs: Tensor, reference: Tensor) -> Tensor:
    """Returns the exact KL divergence, in nats, over the vocabulary at each token: [M], without weights.

    p is the learner's distribution, q the reference's.

    Args:
        kind: "reverse" is KL(p ‖ q), which seeks one mode of the reference; "forward" is KL(q ‖ p), which covers all.
        logprobs: [M, V] log p.
        reference: [M, V] log q.
    """
    if kind == "reverse":
        return (logprobs.exp() * (logprobs - reference)).sum(-1)
    return (reference.exp() * (reference - logprobs)).sum(-1)
