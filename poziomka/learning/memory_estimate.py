"""Estimate of the peak memory of a training step, by component.

weights      parameters, in the model's dtype
optimizer    gradients and optimizer state in fp32, with master weights for parameters that are not fp32
activations  tensors saved for backward, measured on short rows, and the gradients of one block
head         logits (one chunk, if the vocabulary is large) and a stripe of the head's weight gradient
"""

import numpy as np
import torch

from poziomka.learning.learner import SMALL, LearnerSettings
from poziomka.learning.objectives.logprob_head import STRIPE
from poziomka.learning.optim.optimizers import kept_bytes
from poziomka.models.base import Architecture, Packing

LENGTHS = (16, 32, 64)  # tokens n of the rows on which activations are measured; each token costs a + b n bytes


def step_bytes(model: Architecture, settings: LearnerSettings, places: int, longest: int) -> dict[str, float]:
    """Returns the estimated peak memory of a training step in bytes, by component.

    The components are "weights", "optimizer" (gradients and optimizer state), "activations" and "head" (logits); the
    memory of the program and its libraries is not included.

    Args:
        model: model to be trained, in its precision and with its adapters.
        settings: settings of the learner.
        places: tokens in the batch, padding included; a pass has at most `settings.microbatch_tokens` of them.
        longest: tokens in the longest row of the batch.
    """
    learned = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    gradients = 4 * sum(p.numel() for p in learned.values())
    apart = [
        p.numel() for p in learned.values() if p.dtype != torch.float32
    ]  # with master weights, and gradients in their own dtype
    places = min(places, max(settings.microbatch_tokens, longest))
    return {
        "weights": float(sum(p.numel() * p.element_size() for p in model.parameters())),
        "optimizer": float(
            gradients + kept_bytes(learned, settings.optimizer) + 4 * sum(apart) + 2 * max(apart, default=0)
        ),
        "activations": places * _kept_a_place(model, longest, checkpointing=settings.gradient_checkpointing),
        "head": float(_head(model, settings, places)),
    }


def _head(model: Architecture, settings: LearnerSettings, places: int) -> int:
    size = next(iter(model.parameters())).element_size()
    if model.vocabulary <= SMALL:
        return places * model.vocabulary * 16  # logits, log-probabilities, and gradients of both
    logits = min(places, settings.logit_chunk) * (2 if settings.kl.wanted else 1)
    stripe = int(_width(model)) * min(model.vocabulary, STRIPE) if size < 4 else 0  # of the head's weight, cast to fp32
    return 4 * (model.vocabulary * logits + stripe)


def _width(model: Architecture) -> int:
    position = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    with torch.no_grad():
        return model(position).shape[-1]


def _kept_a_place(model: Architecture, longest: int, *, checkpointing: bool) -> float:
    """Returns the activation memory in bytes per token, in rows of `longest` tokens, with one block's gradients."""
    layers = max(1, int(str(model.config().get("num_hidden_layers", 1))))
    was, model.checkpointing = model.checkpointing, False
    try:
        whole = _at(model, longest)
        block = 2 * whole / layers  # activations of one block and their gradients
        if not checkpointing:
            return whole + block / 2
        model.checkpointing = True
        return _at(model, longest) + block
    finally:
        model.checkpointing = was


def _at(model: Architecture, longest: int) -> float:
    """Returns the bytes per token saved for backward in rows of `longest` tokens, extrapolated from LENGTHS."""
    kept = [_kept(model, length) / length for length in LENGTHS]
    slope, start = np.polyfit(LENGTHS, kept, 1)
    return float(start + slope * longest)


def _kept(model: Architecture, length: int) -> int:
    """Returns the bytes, without parameters, that a forward pass over one row of `length` tokens saves for backward."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    position = torch.arange(length, device=model.device).unsqueeze(0)
    packing = Packing(torch.zeros_like(position), position)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        hidden = model(torch.zeros_like(position), packing=packing)
    kept = sum(storages.values())
    del hidden  # keeps the graph alive while storages are counted
    return kept
