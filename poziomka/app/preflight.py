"""Whether a recipe's steps fit into memory, said before compute is burnt."""

from collections.abc import Sequence

import torch

from poziomka.core.errors import ModelError
from poziomka.core.transcript import Transcript
from poziomka.inference.engine import READ_AT_ONCE, EngineLimits
from poziomka.learning.loops.rl import ReinforceSettings
from poziomka.learning.memory_estimate import step_bytes
from poziomka.models.base import Architecture
from poziomka.models.cache import room_for
from poziomka.models.layers.linear import laid_out
from poziomka.models.memory_limits import free_memory
from poziomka.models.text.chat import ChatFormat
from poziomka.reports.words import scaled

ADVICE = (
    "take a smaller model or LoRA, fewer reinforce.problems or reinforce.attempts, fewer reinforce.tokens, "
    "a smaller reinforce.learner.places, or set reinforce.learner.checkpointing"
)


def needs(
    model: Architecture,
    chat: ChatFormat,
    prompts: Sequence[Transcript],
    settings: ReinforceSettings,
    *,
    context: int | None = None,
    turns: bool = False,
) -> dict[str, float]:
    """Returns estimated bytes at the peak of a step, by what holds them; sampling and learning do not overlap.

    The sampler has weights of its own. While the learner learns, the states of the rows that were written are gone, and
    where the sampler keeps its weights laid out, these too, the embedding apart.

    Args:
        model: as it will learn, with its adapters.
        chat: reads the prompts.
        prompts: some of those to come, tools included; the longest counts.
        settings: how many attempts of which length, and how the learner learns from them.
        context: most tokens of a transcript; None for as many as the model reads.
        turns: whether attempts wait for an environment, so that their states are kept meanwhile.
    """
    rows = settings.problems * settings.attempts
    longest = max(_length(chat, prompt) for prompt in prompts)
    bounds = [most for most in (context, model.context) if most is not None]
    length = min(longest + settings.tokens, *bounds) if bounds else longest + settings.tokens
    learning = step_bytes(model, settings.learner, rows * length, length)
    sampling = learning["weights"] + remembered_bytes(model, rows, length, settings.problems, longest)
    if turns:
        limits = EngineLimits()
        sampling += min(limits.cached_bytes, min(rows * length, limits.cached) * bytes_a_token(model))
    return {
        "weights": learning["weights"],
        "optimizer": learning["optimizer"],
        "work": max(sampling, resting_bytes(model) + learning["activations"] + learning["head"]),
    }


def _length(chat: ChatFormat, prompt: Transcript) -> int:
    """Returns the tokens of a prompt; 0 where the chat format refuses it, which its attempts will record."""
    try:
        return len(chat.read(prompt))
    except ModelError:
        return 0


def demand_memory(needed: dict[str, float], device: torch.device) -> None:
    """Raises ModelError where a step needs more than there is, with what holds it and what to do."""
    there = free_memory(device)
    if sum(needed.values()) > there:
        message = f"a step needs {in_words(needed)} of memory, and {scaled(there, 'B')} are free: {ADVICE}"
        raise ModelError(message)


def in_words(needed: dict[str, float]) -> str:
    """Returns how many bytes those are, and what holds them."""
    parts = ", ".join(f"{what} {scaled(amount, 'B')}" for what, amount in needed.items())
    return f"about {scaled(sum(needed.values()), 'B')} ({parts})"


def remembered_bytes(model: Architecture, rows: int, length: int, problems: int, prompt: int) -> float:
    """Returns the bytes at the peak of what the engine remembers of `rows` rows of `length` tokens each.

    At the end that is all rows, and one tensor of a layer that was copied while it grew; at the beginning all rows'
    prompts of `prompt` tokens, and those of `problems` problems that were read in one pass. On a CPU the system commits
    memory where it is written, so that room which no token has reached counts on other devices only.
    """
    with torch.no_grad():
        one = model.memory(1, length if model.device.type == "cpu" else room_for(length))
    tensors = [rows * layer.nbytes for layers in one.stores.values() for layer in layers]
    begun = (rows * prompt + min(problems * prompt, READ_AT_ONCE)) * bytes_a_token(model)
    return max(sum(tensors) + max(tensors), begun)


def bytes_a_token(model: Architecture) -> float:
    """Returns what the state of one more token in a row takes."""
    with torch.no_grad():
        short, long = (model.memory(1, length).nbytes for length in (64, 128))
    return (long - short) / 64


def resting_bytes(model: Architecture) -> int:
    """Returns what a sampler's weights take while it rests: all that it does not lay out anew."""
    return sum(p.nbytes for p in model.parameters()) - sum(weight.nbytes for weight in laid_out(model))
