"""What a model says of texts that are there already, read as a learner reads them.

Shapes: `T` tokens, `V` vocabulary, `M` tokens that are spoken of.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from poziomka.models.base import Architecture, Packing


@torch.no_grad()
def logits_of(model: Architecture, tokens: Sequence[int], chosen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns logits [M, V] and the ids [M] that they speak of; nothing is dropped out.

    Tokens beyond what the model reads are left out.

    Args:
        model: reads.
        tokens: [T] of one text.
        chosen: [T] which of them are spoken of; None for all. Nothing is ever said of the first.
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
    """Returns the log-probability [M] of each token given those before it; arguments as of `logits_of`."""
    return at_temperature(*logits_of(model, tokens, chosen), temperature)


def at_temperature(logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """Returns the log-probabilities [M] of ids [M] by logits [M, V]."""
    return torch.log_softmax(logits / temperature, -1).gather(1, ids.unsqueeze(1)).squeeze(1)
