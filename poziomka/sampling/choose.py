"""From logits to tokens: temperature, top-k, top-p, and the log-probability of what was chosen.

A token is the inverse of the cumulative distribution at one uniform number a row. That number is named by the
request's seed and the token's place, so a reply depends neither on its batch-mates nor on the order of requests,
and a reply that is taken up again at some token goes on as it would have.
"""

import numpy as np
import torch
from torch import Tensor

GOLDEN, MIX_1, MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def uniforms(seeds: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns one number in [0, 1) for each (seed, place): SplitMix64 (Steele et al. 2014) of their combination.

    Args:
        seeds: [B] uint64.
        places: [B] uint64, the token's place in its transcript.
    """
    with np.errstate(over="ignore"):
        z = seeds * MIX_2 + (places + np.uint64(1)) * GOLDEN
        for _ in range(2):
            z = (z ^ (z >> np.uint64(30))) * MIX_1
            z = (z ^ (z >> np.uint64(27))) * MIX_2
            z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def choose(
    logits: Tensor, uniform: Tensor, temperature: Tensor, top_k: Tensor | None = None, top_p: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the chosen tokens [B] and their log-probabilities [B].

    The log-probability is the full distribution's at the row's temperature (at temperature 1 for a greedy row);
    what top-k and top-p cut away is not renormalised, so it is the sampling distribution's only without them.

    Args:
        logits: [B, V] fp32.
        uniform: [B] numbers in [0, 1).
        temperature: [B]; 0 takes the likeliest token.
        top_k: [B] whole numbers, V for all; None where no row cuts.
        top_p: [B] in (0, 1]; None where no row cuts.
    """
    greedy = temperature == 0
    logprobs = torch.log_softmax(logits / torch.where(greedy, 1.0, temperature).unsqueeze(1), -1)
    probabilities = logprobs.exp()
    if top_k is not None or top_p is not None:
        probabilities = _cut(probabilities, top_k, top_p)
    cumulative = probabilities.double().cumsum(-1)
    target = uniform.unsqueeze(1) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp_(max=logits.shape[1] - 1)
    tokens = torch.where(greedy, logits.argmax(-1), drawn)
    return tokens, logprobs.gather(1, tokens.unsqueeze(1)).squeeze(1)


def _cut(probabilities: Tensor, top_k: Tensor | None, top_p: Tensor | None) -> Tensor:
    """Zeroes what lies outside the k likeliest tokens, and outside the likeliest that hold p together."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if top_k is not None:
        keep &= torch.arange(ordered.shape[1], device=ordered.device) < top_k.unsqueeze(1)
    if top_p is not None:
        p = top_p.unsqueeze(1)
        keep &= (ordered.cumsum(-1) - ordered < p) | (p >= 1)  # rounding must not cut where nothing is to be cut
    return torch.zeros_like(probabilities).scatter(1, order, ordered * keep)
