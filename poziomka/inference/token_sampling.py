"""Token sampling from logits: temperature, top-k, top-p, min-p, and the log-probability of the sampled token.

Sampling is inverse transform sampling with one uniform number for each sequence. That number is derived from the
request's seed and the token's position. A reply therefore depends neither on the other sequences of its batch nor on
the order of requests, and a reply that is resumed at any token continues with the same tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from poziomka.core.sampler import SamplingParams
from poziomka.models.kernels import ops as kernels

LARGE = 2048  # vocabulary size from which on a cumulative sum over all tokens would dominate the cost of sampling
BLOCK = 256  # tokens of one block in the two-step search of a large vocabulary
GOLDEN, MIX_1, MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def uniforms(seeds: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns one pseudorandom uniform number for each (seed, position), by SplitMix64 (Steele et al. 2014).

    Args:
        seeds: [B] uint64, seeds of the requests.
        places: [B] uint64, the token's position in its transcript.

    Returns:
        [B] float64 in [0, 1).
    """
    with np.errstate(over="ignore"):
        z = seeds * MIX_2 + (places + np.uint64(1)) * GOLDEN
        for _ in range(2):
            z = (z ^ (z >> np.uint64(30))) * MIX_1
            z = (z ^ (z >> np.uint64(27))) * MIX_2
            z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True)
class Cuts:
    """Limits on which tokens are sampled: top-k, top-p and min-p of each sequence of a batch.

    All apply to the probabilities at the sequence's temperature. A token is sampled only if every limit keeps it.

    Attributes:
        top_k: [B] integers, the vocabulary size to keep all tokens; None if no sequence uses top-k.
        top_p: [B] in (0, 1]; None if no sequence uses top-p.
        min_p: [B] in [0, 1], the least share of the most probable token's probability (Nguyen et al. 2024, arXiv
            2407.01082); None if no sequence uses min-p.
    """

    top_k: Tensor | None = None
    top_p: Tensor | None = None
    min_p: Tensor | None = None

    @classmethod
    def of(cls, settings: Sequence[SamplingParams], vocabulary: int, device: torch.device) -> "Cuts | None":
        """Returns the limits of a batch of requests; None if no request has any.

        Args:
            settings: sampling parameters of each request.
            vocabulary: number of logits.
            device: device of the tensors.
        """
        top_k = [how.top_k or vocabulary for how in settings] if any(how.top_k for how in settings) else None
        top_p = [how.top_p for how in settings] if any(how.top_p < 1 for how in settings) else None
        min_p = [how.min_p for how in settings] if any(how.min_p > 0 for how in settings) else None
        if top_k is None and top_p is None and min_p is None:
            return None
        found = (None if each is None else torch.tensor(each, device=device) for each in (top_k, top_p, min_p))
        return cls(*found)


def choose(logits: Tensor, uniform: Tensor, temperature: Tensor, cuts: Cuts | None = None) -> tuple[Tensor, Tensor]:
    """Samples one token for each sequence; returns token ids [B] and their log-probabilities [B] in nats.

    Log-probabilities are those of the full distribution at the sequence's temperature (at temperature 1 for greedy
    sequences). They are not renormalised after top-k, top-p and min-p, so they equal the sampling distribution's only
    without these.

    Args:
        logits: [B, V] fp32.
        uniform: [B] numbers in [0, 1).
        temperature: [B]; 0 selects the most likely token.
        cuts: top-k, top-p and min-p; None for none.
    """
    if cuts is None and logits.shape[1] >= LARGE and logits.dtype is torch.float32 and kernels.there(logits):
        return kernels.draw(logits, uniform, temperature)
    greedy = temperature == 0
    logprobs = torch.log_softmax(logits / torch.where(greedy, 1.0, temperature).unsqueeze(1), -1)
    probabilities = logprobs.exp()
    if cuts is not None:
        probabilities = _cut(probabilities, cuts)
    tokens = invert(probabilities, uniform)
    if greedy.any():
        tokens = torch.where(greedy, logits.argmax(-1), tokens)
    return tokens, logprobs.gather(1, tokens.unsqueeze(1)).squeeze(1)


def invert(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Returns the tokens [B] at which the cumulative probabilities first exceed `uniform` times their total.

    This is inverse transform sampling. A large vocabulary is searched in two steps, first among sums of blocks, then
    within one block: a cumulative sum over all tokens would dominate the cost of sampling.

    Args:
        probabilities: [B, V], not negative; they need not add up to 1.
        uniform: [B] numbers in [0, 1).
    """
    vocabulary = probabilities.shape[1]
    if vocabulary < LARGE:
        return _pass(probabilities, uniform)[0]
    sums = probabilities[:, : vocabulary // BLOCK * BLOCK].unflatten(1, (-1, BLOCK)).sum(-1)
    if vocabulary % BLOCK:
        sums = torch.cat([sums, probabilities[:, -(vocabulary % BLOCK) :].sum(-1, keepdim=True)], 1)
    block, share = _pass(sums, uniform)
    places = block.unsqueeze(1) * BLOCK + torch.arange(BLOCK, device=block.device)
    inside = probabilities.gather(1, places.clamp(max=vocabulary - 1)) * (places < vocabulary)
    tokens = block * BLOCK + _pass(inside, share)[0]
    return tokens.clamp_(max=vocabulary - 1)  # only NaN probabilities lead beyond the vocabulary


def _pass(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the indices [B] at which the cumulative sums of `weights` [B, N] first exceed `uniform` of their total.

    The second result, [B] in [0, 1), is the fraction of the weight at that index that is below this threshold.
    """
    cumulative = weights.double().cumsum(-1)
    target = uniform.unsqueeze(1) * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, target, right=True).clamp_(max=weights.shape[1] - 1)
    here = weights.gather(1, place).double()
    share = (target - (cumulative.gather(1, place) - here)) / here
    return place.squeeze(1), share.squeeze(1).clamp(0.0, 1.0 - 2.0**-53)


def _cut(probabilities: Tensor, cuts: Cuts) -> Tensor:
    """Returns probabilities [B, V], with 0 for the tokens that top-k, top-p or min-p leave out."""
    kept = probabilities
    if cuts.min_p is not None:
        least = cuts.min_p.unsqueeze(1) * probabilities.amax(-1, keepdim=True)
        kept = probabilities * (probabilities >= least)
    if cuts.top_k is None and cuts.top_p is None:
        return kept
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if cuts.top_k is not None:
        keep &= torch.arange(ordered.shape[1], device=ordered.device) < cuts.top_k.unsqueeze(1)
    if cuts.top_p is not None:
        p = cuts.top_p.unsqueeze(1)
        keep &= (ordered.cumsum(-1) - ordered < p) | (p >= 1)  # at p = 1 rounding must not remove any token
    return kept * torch.zeros_like(keep).scatter(1, order, keep)
