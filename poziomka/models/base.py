"""`Architecture`, the model interface that the engine and the learner use.

Shapes: `B` sequences, `T` tokens, `D` width, `V` vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from poziomka.models.cache import Memory
from poziomka.models.layers.linear import Linear, sampling_copy
from poziomka.models.layers.sharing import Sharing

MASKED = -1e9  # logit of a token without probability; finite, so that 0 times it is 0


def masked(logits: Tensor, unused: Tensor | None) -> Tensor:
    """Sets the logits [..., V] of the ids `unused` to MASKED, in place, and returns them."""
    return logits if unused is None else logits.index_fill_(-1, unused, MASKED)


@dataclass(frozen=True)
class Packing:
    """Layout of a training batch whose rows contain several packed sequences, with or without shared prefixes.

    A prefix that several sequences share is stored once, before them; `sharing` then maps every sequence to the batch
    positions of all its tokens. An architecture whose `shares_prefixes` is False never receives `sharing`.

    Attributes:
        sequence: [B, T] number of the sequence of each token (for a shared prefix, its first sequence); -1 for padding.
        position: [B, T] position of the token within its sequence, from 0.
        sharing: shared prefixes over the batch positions, row-major in B, T; None if no prefix is shared.
    """

    sequence: Tensor
    position: Tensor
    sharing: Sharing | None = None

    def visible(self) -> Tensor:
        """Returns the attention mask [B, T, T]: True where token t (second axis) attends to token s (third axis)."""
        same = self.sequence.unsqueeze(2) == self.sequence.unsqueeze(1)
        return same.tril_()


class Work(NamedTuple):
    """Floating-point operations of a forward pass over a text.

    Attributes:
        places: operations on each token alone (matrix products); the same for every token.
        looks: operations between each token and those before it (attention, or a recurrent state).
        head: operations of the logits after every token; the same for every token.
    """

    places: float
    looks: float
    head: float


class Architecture(nn.Module, ABC):
    """Base class of language models: a body that computes hidden states, and a head that computes logits.

    A sequence has the same hidden states, up to rounding, whether it is read in one pass, in pieces through a decode
    cache, or packed with others; `poziomka.testing.check_architecture` checks this for an implementation.

    Attributes:
        vocabulary: number of logits.
        context: longest sequence, in tokens, that the positions allow or the model is meant for; None for no maximum.
        dropout: whether training mode enables the dropout of the model's own config.
        shares_prefixes: whether `forward` accepts a packing with `sharing`.
        checkpointing: whether training recomputes activations inside blocks in the backward pass.
        unused: ids of logits without a token in the tokenizer; None for none.
    """

    vocabulary: int
    context: int | None = None
    dropout = False
    shares_prefixes = False
    checkpointing = False

    unused: Tensor | None

    def __init__(self) -> None:
        """Starts without masked logits."""
        super().__init__()
        self.register_buffer("unused", None, persistent=False)

    def leave_out(self, rows: Sequence[int]) -> None:
        """Masks these logits from now on: ids for which the tokenizer has no token."""
        self.unused = torch.tensor(rows, dtype=torch.long, device=self.device) if rows else None

    def through(self, block: Callable[..., Tensor], *arguments: object) -> Tensor:
        """Applies a block, with gradient checkpointing if `checkpointing` is set and gradients are enabled.

        Checkpointing (Chen et al. 2016, arXiv 1604.06174) keeps the activations between blocks and of one block at a
        time, at the cost of one more forward pass.
        """
        if self.checkpointing and torch.is_grad_enabled():
            out: Tensor = checkpoint(block, *arguments, use_reentrant=False)
            return out
        return block(*arguments)

    def for_sampling(self) -> Self:
        """Returns a copy in evaluation mode for sampling only; packed weights are stored in their packed layout alone.

        Raises:
            ModelError: this model is such a copy itself.
        """
        own = sampling_copy(self)
        own.sample_with(own.state_dict())
        return own.eval().requires_grad_(requires_grad=False)

    def sample_with(self, weights: Mapping[str, Tensor]) -> None:
        """Loads weights, by state dict name, for sampling only; they are converted to the model's dtypes."""
        products = {f"{name}.weight": each for name, each in self.named_modules() if isinstance(each, Linear)}
        self.load_state_dict({name: weight for name, weight in weights.items() if name not in products}, strict=False)
        for name, each in products.items():
            each.take(weights[name])

    def rest(self) -> None:
        """Releases packed weights; the model cannot sample until the next `sample_with` creates them again."""
        for each in self.modules():
            if isinstance(each, Linear):
                each.packed = None

    @abstractmethod
    def forward(
        self,
        tokens: Tensor,
        memory: Memory | None = None,
        *,
        counts: Tensor | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """Returns hidden states [B, T, D].

        Args:
            tokens: [B, T] ids.
            memory: decode cache of the earlier tokens, updated in place; row b of `tokens` continues row b of the
                cache. None for sequences from their beginning.
            counts: [B] number of tokens of each row that are not padding (they come first); None for all T. Only with
                a decode cache.
            packing: layout of packed sequences; None if each row is one sequence. Only without a decode cache.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Returns logits [..., V] in fp32 for hidden states [..., D]; `unused` logits are masked.

        With bfloat16 weights, `Transformer` accumulates in fp32 and does not round in training. Sampling with packed
        weights and models loaded through transformers round the logits to bfloat16 first.
        """

    @abstractmethod
    def memory(self, rows: int, length: int) -> Memory:
        """Returns an empty decode cache for `rows` sequences of `length` tokens each; it grows when needed."""

    @abstractmethod
    def work(self, tokens: float) -> Work:
        """Returns the floating-point operations of a forward pass over the first `tokens` tokens of a text."""

    def flops(self, context: float) -> float:
        """Returns the floating-point operations of a forward pass over one token after `context` earlier tokens."""
        return sum(self.work(context + 1)) - sum(self.work(context))

    @abstractmethod
    def config(self) -> dict[str, object]:
        """Returns the model's entries of `config.json`."""

    def export(self) -> dict[str, Tensor]:
        """Returns the weights by their names in a checkpoint; by default, the names of the state dict."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}

    def load_exported(self, weights: dict[str, Tensor]) -> None:
        """Loads weights by the names that `export` uses; raises KeyError or RuntimeError if they do not fit."""
        self.load_state_dict(weights)

    @property
    def parameters_count(self) -> int:
        """Number of parameters; tied ones count once."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device
