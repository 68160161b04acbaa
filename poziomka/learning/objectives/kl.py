"""How far the policy may go from a reference or a teacher: the third loss term.

Notation: `M` tokens learned from, `V` vocabulary; p the learner's distribution, q the reference's; w [M] the weight
of each token (divergence.weight times the normaliser that the policy gradient has, TRL's `beta` that is).
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from poziomka.core.settings import setting

Divergence = Literal["none", "k3", "reverse", "forward"]


@dataclass(frozen=True, kw_only=True)
class DivergenceSettings:
    """Which divergence from the reference is paid for, and how dearly."""

    kind: Divergence = setting("none", "none, k3, reverse or forward")
    weight: float = setting(1e-3, "what a nat of divergence costs, beside an advantage", low=0.0)

    @property
    def whole(self) -> bool:
        """Whether it looks at the whole vocabulary, not at the sampled token alone."""
        return self.kind in ("reverse", "forward")

    @property
    def wanted(self) -> bool:
        """Whether there is such a term."""
        return self.kind != "none" and self.weight > 0


def k3(logp: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
    """Returns Σ w (exp(x) - x - 1) with x = log q - log p of the sampled token, [M] each.

    An estimate of KL(p ‖ q) that is never negative (Schulman 2020, "Approximating KL divergence"), as GRPO uses it
    (arXiv 2402.03300, eq. 4).
    """
    gap = reference - logp
    return (weight * (gap.exp() - gap - 1)).sum()


def whole_divergence(kind: Divergence, logprobs: Tensor, reference: Tensor) -> Tensor:
    """Returns [M]: KL(p ‖ q) where `kind` is "reverse", KL(q ‖ p) where it is "forward", over the vocabulary.

    Args:
        kind: "reverse" seeks one mode of the reference, "forward" covers all of them.
        logprobs: [M, V] log p.
        reference: [M, V] log q.
    """
    if kind == "reverse":
        return (logprobs.exp() * (logprobs - reference)).sum(-1)
    return (reference.exp() * (reference - logprobs)).sum(-1)
