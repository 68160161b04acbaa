"""The loss terms: pure functions on tensors. Every one is minimised, and summed over tokens with weights.

Notation: `M` tokens learned from, each with three log-probabilities [M]: logp by the learner now, old by the learner
with the weights that the batch started from, logq by the sampler. ρ = exp(logp - old) says how far the learner has
moved, c = exp(old - logq) how far the sampler is from the learner. w [M] is advantage times normaliser times the
truncated c; its sign is the advantage's. sg stops the gradient.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from poziomka.core.settings import setting

Surrogate = Literal["cispo", "ppo", "dapo", "gspo", "dppo", "reinforce"]
Correction = Literal["token", "sequence", "none"]


@dataclass(frozen=True, kw_only=True)
class SurrogateSettings:
    """Which surrogate stands for the policy gradient, and where it clips.

    Ratios are those of the learner now and with the weights that the batch started from. Where a batch gives one
    optimizer step (one minibatch, one epoch), they are 1: nothing is clipped, and all surrogates have one gradient.
    """

    kind: Surrogate = setting("cispo", "cispo, ppo, dapo, gspo, dppo or reinforce")
    cap: float = setting(5.0, "cispo: most that the ratio may count", low=1.0)
    clip_low: float = setting(0.2, "ppo, dapo: how far below 1 the ratio may count", low=0.0, high=1.0)
    clip_high: float = setting(0.28, "dapo: how far above 1 the ratio may count (ppo uses clip_low)", low=0.0)
    sequence_low: float = setting(3e-4, "gspo: how far below 1 a sequence's ratio may count", low=0.0, high=1.0)
    sequence_high: float = setting(4e-4, "gspo: how far above 1 a sequence's ratio may count", low=0.0)
    trust: float = setting(0.2, "dppo: how far a token's probability may have moved its way", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class CorrectionSettings:
    """How the difference between sampler and learner is corrected, apart from the surrogate.

    A token's weight is multiplied with min(c, cap), c = exp(old - logq): truncated importance sampling (Ionides 2008;
    Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training").
    """

    kind: Correction = setting(
        "token", "token: each token's own ratio; sequence: the product over its sequence; none: no correction"
    )
    cap: float = setting(5.0, "most that the ratio may be", low=1.0)


def correction(apart: Tensor, settings: CorrectionSettings) -> tuple[Tensor, Tensor]:
    """Returns [M] the truncated importance weights, and which of them were truncated.

    Args:
        apart: [M] log c, of tokens or of their sequences.
        settings: see there.
    """
    if settings.kind == "none":
        return torch.ones_like(apart), torch.zeros_like(apart, dtype=torch.bool)
    ratio = apart.exp()
    return ratio.clamp(max=settings.cap), ratio > settings.cap


def policy_gradient(
    logp: Tensor, old: Tensor, weight: Tensor, settings: SurrogateSettings, level: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the summed loss and how many tokens were clipped.

    Args:
        logp: [M] carries the gradient.
        old: [M].
        weight: [M]; where it is 0, a token takes no part.
        settings: which surrogate.
        level: [M] the mean log-ratio of each token's sequence, for gspo (see `over_sequence`).

    cispo      -sg(min(ρ, cap)) w logp: a truncated ratio, every token keeps its gradient
               (MiniMax 2025, arXiv 2506.13585, eq. 4)
    ppo, dapo  -min(ρ w, clip(ρ, 1 - clip_low, 1 + clip_high) w) (Schulman et al. 2017, arXiv 1707.06347, eq. 7;
               with clip_high above clip_low it is DAPO's clip-higher, arXiv 2503.14476)
    gspo       as ppo, with the sequence's ratio s = exp(mean of log ρ over its tokens) in the place of ρ, clipped to
               1 - sequence_low, 1 + sequence_high; log s = sg(mean log ρ) + logp - sg(logp), so that every token
               carries its own gradient (Zheng et al. 2025, arXiv 2507.18071, eq. 5 and GSPO-token, eq. 14)
    dppo       -ρ w, unless p = exp(logp) has already moved from p0 = exp(old) by more than `trust` in the direction
               that w pushes it (w > 0 and p - p0 > trust, or w < 0 and p0 - p > trust): a trust region on the total
               variation of "this token or another" (DPPO, arXiv 2602.04879, its binary form)
    reinforce  -w logp: no ratio; right only in the first step on a batch (Williams 1992)
    """
    if settings.kind == "gspo":
        assert level is not None, "gspo needs the level of each sequence"
        return _clipped((level + logp - logp.detach()).exp(), weight, settings.sequence_low, settings.sequence_high)
    ratio = (logp - old).exp()
    if settings.kind == "reinforce":
        return -(weight * logp).sum(), torch.zeros((), device=logp.device)
    if settings.kind == "cispo":
        loss = -(ratio.clamp(max=settings.cap).detach() * weight * logp).sum()
        return loss, (ratio > settings.cap).sum()
    if settings.kind == "dppo":
        moved = (logp.detach().exp() - old.exp()) * weight.sign()
        return -(torch.where(moved > settings.trust, 0.0, ratio) * weight).sum(), (moved > settings.trust).sum()
    return _clipped(
        ratio, weight, settings.clip_low, settings.clip_high if settings.kind == "dapo" else settings.clip_low
    )


def _clipped(ratio: Tensor, weight: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    clipped = ratio.clamp(1 - low, 1 + high)
    loss = -torch.minimum(ratio * weight, clipped * weight).sum()
    return loss, (clipped * weight < ratio * weight).sum()


def over_sequence(values: Tensor, weight: Tensor, sequence: Tensor, *, mean: bool) -> Tensor:
    """Returns [M] the mean or the sum of values over the tokens with a weight of each token's sequence.

    Args:
        values: [M].
        weight: [M].
        sequence: [M] number of the sequence that a token belongs to, from 0.
        mean: whether it is the mean.
    """
    count = int(sequence.max()) + 1 if len(sequence) else 0
    counted = (weight != 0).float()
    total = counted.new_zeros(count).index_add_(0, sequence, values * counted)
    if mean:
        total /= counted.new_zeros(count).index_add_(0, sequence, counted).clamp(min=1)
    return total[sequence]


def next_token(logp: Tensor, weight: Tensor) -> Tensor:
    """Returns -Σ w logp."""
    return -(weight * logp).sum()


def mismatch_kl(logp: Tensor, logq: Tensor) -> Tensor:
    """Returns the sum of the k3 estimate of KL(sampler ‖ learner), which is never negative: ρ - 1 - log ρ.

    Schulman 2020, "Approximating KL divergence".
    """
    log_ratio = logp - logq
    return (log_ratio.expm1() - log_ratio).clamp(min=0).sum()  # expm1: the ratio is near 1, and 1 must not drown it
