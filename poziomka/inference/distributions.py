"""Scores of complete token sequences: the log-probability of each token, and the model's certainty at each token."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from poziomka.core.errors import TranscriptError
from poziomka.models.base import Architecture

AT_ONCE = 128  # positions of which certainties are computed at once: of a large vocabulary, each one is 1 MB


def logprobs(model: Architecture, tokens: Sequence[int], temperature: float) -> list[float]:
    """Returns the log-probability, in nats, of each token given the tokens before it; 0 for the first.

    Raises:
        TranscriptError: the sequence is longer than the model's context.
    """
    ids = torch.tensor(tokens[1:], dtype=torch.long, device=model.device).unsqueeze(1)
    return [0.0, *_distributions(model, _hidden(model, tokens), temperature).gather(1, ids).squeeze(1).tolist()]


def certainties(model: Architecture, tokens: Sequence[int], temperature: float) -> list[float]:
    """Returns KL(U || p), in nats, of the distribution p before each token from the uniform one U; 0 for the first.

    U and p are over the token ids that the model may sample: those that are not in `model.unused`.

    Raises:
        TranscriptError: the sequence is longer than the model's context.
    """
    values = [0.0]
    for hidden in _hidden(model, tokens).split(AT_ONCE):
        found = _distributions(model, hidden, temperature)
        if model.unused is not None:
            used = torch.ones(found.shape[1], dtype=torch.bool, device=found.device)
            used[model.unused] = False
            found = found[:, used]
        values += (-math.log(found.shape[1]) - found.mean(-1)).tolist()
    return values


def _hidden(model: Architecture, tokens: Sequence[int]) -> Tensor:
    """Returns the last hidden states at each token but the last, [T - 1, D]."""
    if model.context is not None and len(tokens) > model.context:
        message = f"a transcript of {len(tokens)} tokens cannot be scored by a model that reads {model.context}"
        raise TranscriptError(message)
    ids = torch.tensor(tokens, dtype=torch.long, device=model.device).unsqueeze(0)
    return model(ids)[0, :-1]


def _distributions(model: Architecture, hidden: Tensor, temperature: float) -> Tensor:
    """Returns the log-probabilities of all tokens after each hidden state, [T, V].

    Temperature 0 is scored at temperature 1, as in `choose`.
    """
    return torch.log_softmax(model.logits(hidden) / (temperature or 1.0), -1)
