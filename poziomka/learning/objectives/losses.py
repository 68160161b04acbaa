"""Loss terms as pure functions on tensors: weighted sums over tokens, to be minimised.

Notation: `M` trained tokens, each with three log-probabilities [M]: logp by the learner now, old by the learner
with the weights that the batch started from, logq by the sampler. ρ = exp(logp - old) measures how far the learner has
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
    """Settings of the policy gradient's surrogate loss: its kind (see `policy_gradient`) and its clip range.

    Ratios compare the learner now with the learner before the batch's first step. With one optimizer step per batch
    (one minibatch, one epoch) they are 1: nothing is clipped, and all surrogates have the same gradient.
    """

    kind: Surrogate = setting("cispo", "cispo, ppo, dapo, gspo, dppo or reinforce")
    importance_cap: float = setting(5.0, "cispo: upper bound of the importance ratio", low=1.0)
    clip_low: float = setting(0.2, "ppo, dapo: lower clip range of the importance ratio", low=0.0, high=1.0)
    clip_high: float = setting(0.28, "dapo: upper clip range of the importance ratio (ppo uses clip_low)", low=0.0)
    sequence_low: float = setting(3e-4, "gspo: lower clip range of a sequence's ratio", low=0.0, high=1.0)
    sequence_high: float = setting(4e-4, "gspo: upper clip range of a sequence's ratio", low=0.0)
    trust_region: float = setting(
        0.2, "dppo: largest change of a token's probability in the direction of its advantage", low=0.0, high=1.0
    )


@dataclass(frozen=True, kw_only=True)
class CorrectionSettings:
    """Importance-sampling correction of the difference between sampler and learner, independent of the surrogate.

    A token's weight is multiplied by min(c, importance_cap), where c is the learner's probability of the token before
    the batch's first step, over the sampler's: truncated importance sampling (Ionides 2008; Yao et al. 2025, "Your
    efficient RL framework secretly brings you off-policy RL training").
    """

    kind: Correction = setting(
        "token", "importance weights between sampler and learner: per token, their product per sequence, or none"
    )
    importance_cap: float = setting(5.0, "upper bound of these weights (truncated importance sampling)", low=1.0)


def correction(apart: Tensor, settings: CorrectionSettings) -> tuple[Tensor, Tensor]:
    """Returns the truncated importance weights [M] and a mask [M] of those that were truncated.

    Args:
        apart: [M] log of c, the learner's probability before the batch's first step over the sampler's; of each token,
            or of its whole sequence.
        settings: kind and cap of the correction; kind "none" gives weights of 1.
    """
    if settings.kind == "none":
        return torch.ones_like(apart), torch.zeros_like(apart, dtype=torch.bool)
    ratio = apart.exp()
    return ratio.clamp(max=settings.importance_cap), ratio > settings.importance_cap


def policy_gradient(
    logp: Tensor, old: Tensor, weight: Tensor, settings: SurrogateSettings, level: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the summed policy-gradient loss and the number of clipped tokens.

    Args:
        logp: [M] log-probabilities by the learner, with a gradient.
        old: [M] log-probabilities by the learner before the batch's first step.
        weight: [M] w: advantage times normaliser times correction; a token of weight 0 is ignored.
        settings: the surrogate and its clip range.
        level: [M] mean log-ratio of each token's sequence, for gspo only (see `over_sequence`).

    The loss of each token, with ρ = exp(logp - old), and sg for "stop the gradient":

    cispo      -sg(min(ρ, importance_cap)) w logp: the ratio is truncated, and every token keeps its gradient
               (MiniMax 2025, arXiv 2506.13585, eq. 4)
    ppo, dapo  -min(ρ w, clip(ρ, 1 - clip_low, 1 + clip_high) w) (Schulman et al. 2017, arXiv 1707.06347, eq. 7;
               with clip_high above clip_low it is DAPO's clip-higher, arXiv 2503.14476)
    gspo       as ppo, with the sequence's ratio s = exp(mean of log ρ over its tokens) in place of ρ, clipped to
               1 - sequence_low, 1 + sequence_high; log s = sg(mean log ρ) + logp - sg(logp), so that every token
               carries its own gradient (Zheng et al. 2025, arXiv 2507.18071, eq. 5 and GSPO-token, eq. 14)
    dppo       -ρ w, unless p = exp(logp) has already moved from p0 = exp(old) by more than τ = `trust_region` in the
               direction that w pushes it (w > 0 and p - p0 > τ, or w < 0 and p0 - p > τ): a trust region on the total
               variation of "this token or another" (DPPO, arXiv 2602.04879, its binary form)
    reinforce  -w logp: no ratio; correct only in the first step on a batch (Williams 1992)
    """
    if settings.kind == "gspo":
        assert level is not None, "gspo needs the level of each sequence"
        return _clipped((level + logp - logp.detach()).exp(), weight, settings.sequence_low, settings.sequence_high)
    ratio = (logp - old).exp()
    if settings.kind == "reinforce":
        return -(weight * logp).sum(), torch.zeros((), device=logp.device)
    if settings.kind == "cispo":
        loss = -(ratio.clamp(max=settings.importance_cap).detach() * weight * logp).sum()
        return loss, (ratio > settings.importance_cap).sum()
    if settings.kind == "dppo":
        moved = (logp.detach().exp() - old.exp()) * weight.sign()
        return -(torch.where(moved > settings.trust_region, 0.0, ratio) * weight).sum(), (
            moved > settings.trust_region
        ).sum()
    return _clipped(
        ratio, weight, settings.clip_low, settings.clip_high if settings.kind == "dapo" else settings.clip_low
    )


def _clipped(ratio: Tensor, weight: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    clipped = ratio.clamp(1 - low, 1 + high)
    loss = -torch.minimum(ratio * weight, clipped * weight).sum()
    return loss, (clipped * weight < ratio * weight).sum()


def over_sequence(values: Tensor, weight: Tensor, sequence: Tensor, *, mean: bool) -> Tensor:
    """Returns, for each token, the mean or sum of values over its sequence, [M]; tokens of weight 0 are left out.

    Args:
        values: [M] value of each token.
        weight: [M] weight of each token; only whether it is 0 matters.
        sequence: [M] number of the token's sequence, from 0.
        mean: True for the mean, False for the sum.
    """
    count = int(sequence.max()) + 1 if len(sequence) else 0
    counted = (weight != 0).float()
    total = counted.new_zeros(count).index_add_(0, sequence, values * counted)
    if mean:
        total /= counted.new_zeros(count).index_add_(0, sequence, counted).clamp(min=1)
    return total[sequence]


def next_token(logp: Tensor, weight: Tensor) -> Tensor:
    """Returns the next-token loss, the weighted negative log-likelihood -Σ w logp.

    Args:
        logp: [M] log-probabilities by the learner.
        weight: [M] weight w of each token.
    """
    return -(weight * logp).sum()


def mismatch_kl(logp: Tensor, logq: Tensor) -> Tensor:
    """Returns the summed k3 estimate of KL(sampler ‖ learner): r - 1 - log r with r = exp(logp - logq), never negative.

    Schulman 2020, "Approximating KL divergence".

    Args:
        logp: [M] log-probabilities by the learner.
        logq: [M] log-probabilities by the sampler, of tokens that it drew.
    """
    log_ratio = logp - logq
    return (log_ratio.expm1() - log_ratio).clamp(min=0).sum()  # expm1: for ratios near 1, exp(x) - 1 loses precision
