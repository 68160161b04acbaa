"""Log-probabilities that a model gives to the tokens of an existing sequence, in one forward pass as in training.

Shapes: `T` tokens, `V` vocabulary, `M` scored tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from poziomka.models.base import Architecture, Packing


@torch.no_grad()
def logits_of(model: Architecture, tokens: Sequence[int], chosen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns the logits [M, V] that predict the `M` scored tokens, and the ids [M] of these tokens.

    The model runs in eval mode, without dropout. Tokens beyond the model's context are ignored.

    Args:
        model: the model to run.
        tokens: [T] ids of one sequence.
        chosen: [T] mask of the scored tokens; None for all. The first token is never scored.
    """
    tokens = tokens[: model.context]
    ids = torch.tensor(tokens, dtype=torch.long, device=model.device).unsqueeze(0)
    packing = Packing(torch.zeros_like(ids), torch.arange(ids.shape[1], device=model.device).unsqueeze(0))
    training = model.training
    model.eval()
    try:
        hidden = model(ids, packing=packing)[0, :-1]
    finally:
        model.train(training)
    ids = ids[0, 1:]
    if chosen is not None:
        chosen = chosen.to(model.device)[1 : len(tokens)]
        hidden, ids = hidden[chosen], ids[chosen]
    return model.logits(hidden), ids


def logprobs_of(model: Architecture, tokens: Sequence[int], temperature: float, chosen: Tensor | None = None) -> Tensor:
    """Returns the log-probabilities [M], in nats, of the `M` scored tokens, each given the tokens before it.

    Args:
        model: the model to run.
        tokens: [T] ids of one sequence.
        temperature: divisor of the logits.
        chosen: [T] mask of the scored tokens; None for all. The first token is never scored.
    """
    return at_temperature(*logits_of(model, tokens, chosen), temperature)


def at_temperature(logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """Returns the log-probabilities [M] of ids [M] under softmax(logits / temperature), logits [M, V]."""
    return torch.log_softmax(logits / temperature, -1).gather(1, ids.unsqueeze(1)).squeeze(1)
