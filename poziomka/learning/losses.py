"""The loss terms: pure functions on tensors. Every one is minimised, and summed over tokens with weights.

Notation: `M` tokens learned from; logp and logq [M] the learner's and the sampler's log-probability of each;
w [M] advantage times normaliser (its sign is the advantage's); ρ = exp(logp - logq).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from poziomka.core.settings import setting

Surrogate = Literal["cispo", "ppo", "dapo", "reinforce"]


@dataclass(frozen=True, kw_only=True)
class SurrogateSettings:
    """Which surrogate stands for the policy gradient, and where it clips."""

    kind: Surrogate = setting("cispo", "cispo, ppo, dapo or reinforce")
    cap: float = setting(5.0, "cispo: most that the importance weight may be", low=1.0)
    clip_low: float = setting(0.2, "ppo, dapo: how far below 1 the ratio may count", low=0.0, high=1.0)
    clip_high: float = setting(0.28, "dapo: how far above 1 the ratio may count (ppo uses clip_low)", low=0.0)


def policy_gradient(logp: Tensor, logq: Tensor, weight: Tensor, settings: SurrogateSettings) -> tuple[Tensor, Tensor]:
    """Returns the summed loss and how many tokens were clipped.

    cispo      -sg(min(ρ, cap)) w logp: a truncated importance weight, every token keeps its gradient
               (MiniMax 2025, arXiv 2506.13585, eq. 4); the ratio is to the sampler's own probabilities,
               so the cap also bounds the sampler-learner mismatch
    ppo, dapo  -min(ρ w, clip(ρ, 1 - clip_low, 1 + clip_high) w) (Schulman et al. 2017, arXiv 1707.06347, eq. 7;
               with clip_high above clip_low it is DAPO's clip-higher, arXiv 2503.14476)
    reinforce  -w logp: no importance weight; right only for tokens that these weights sampled
               (Williams 1992)
    """
    ratio = (logp - logq).exp()
    if settings.kind == "reinforce":
        return -(weight * logp).sum(), torch.zeros((), device=logp.device)
    if settings.kind == "cispo":
        loss = -(ratio.clamp(max=settings.cap).detach() * weight * logp).sum()
        return loss, (ratio > settings.cap).sum()
    high = settings.clip_high if settings.kind == "dapo" else settings.clip_low
    clipped = ratio.clamp(1 - settings.clip_low, 1 + high)
    loss = -torch.minimum(ratio * weight, clipped * weight).sum()
    return loss, (clipped * weight < ratio * weight).sum()


def next_token(logp: Tensor, weight: Tensor) -> Tensor:
    """Returns -Σ w logp."""
    return -(weight * logp).sum()


def mismatch_kl(logp: Tensor, logq: Tensor) -> Tensor:
    """Returns the sum of the k3 estimate of KL(sampler ‖ learner), which is never negative: ρ - 1 - log ρ.

    Schulman 2020, "Approximating KL divergence".
    """
    log_ratio = logp - logq
    return (log_ratio.expm1() - log_ratio).clamp(min=0).sum()  # expm1: the ratio is near 1, and 1 must not drown it
