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
    """Sets the logits of token ids that must never be sampled to -1e9, in place, and returns the logits.

    Args:
        logits: [..., V].
        unused: ids whose logits are set; None to change none.
    """
    return logits if unused is None else logits.index_fill_(-1, unused, MASKED)


@dataclass(frozen=True)
class Packing:
    """Layout of a training batch whose rows contain several packed sequences, with or without shared prefixes.

    A prefix that several sequences share is stored once, before them; `sharing` then maps every sequence to the batch
    positions of all its tokens. An architecture whose `shares_prefixes` is False never receives `sharing`.

    Attributes:
        sequence: [B, T] number of the sequence of each token (in a shared prefix, the number of its first sequence); -1
            for padding.
        position: [B, T] position of the token within its sequence, from 0.
        sharing: layout of the shared prefixes, in which token t of row b has batch position b * T + t; None if no
            prefix is shared.
    """

    sequence: Tensor
    position: Tensor
    sharing: Sharing | None = None

    def visible(self) -> Tensor:
        """Returns the attention mask [B, T, T]: True where token t (second axis) attends to token s (third axis)."""
        same = self.sequence.unsqueeze(2) == self.sequence.unsqueeze(1)
        return same.tril_()


class Work(NamedTuple):
    """Floating-point operations of a forward pass over a text, in three parts that add up to the total.

    Attributes:
        places: matrix products of the body, which take the same number of operations for every token.
        looks: operations between each token and those before it (attention, or a recurrent state).
        head: computation of the logits after every token, which takes the same number of operations for every token.
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
        checkpointing: whether training recomputes activations in the backward pass (gradient checkpointing).
        unused: ids that have a logit but no token in the tokenizer, and are never sampled; None if there are none.
    """

    vocabulary: int
    context: int | None = None
    dropout = False
    shares_prefixes = False
    checkpointing = False

    unused: Tensor | None

    def __init__(self) -> None:
        """Creates a model without `unused` ids."""
        super().__init__()
        self.register_buffer("unused", None, persistent=False)

    def leave_out(self, rows: Sequence[int]) -> None:
        """Sets `unused`: the ids without a token in the tokenizer, whose logits are -1e9 from now on.

        Args:
            rows: the ids, which replace those of earlier calls; [] for none.
        """
        self.unused = torch.tensor(rows, dtype=torch.long, device=self.device) if rows else None

    def through(self, block: Callable[..., Tensor], *arguments: object) -> Tensor:
        """Returns the output of a block, with gradient checkpointing if `checkpointing` is set.

        Without enabled gradients the block is applied as it is. With checkpointing (Chen et al. 2016, arXiv 1604.06174)
        only the block's inputs are stored, and the backward pass runs the block again to recompute its activations:
        less memory, for one more forward pass.

        Args:
            block: a layer, or another function of tensors.
            arguments: the block's arguments.
        """
        if self.checkpointing and torch.is_grad_enabled():
            out: Tensor = checkpoint(block, *arguments, use_reentrant=False)
            return out
        return block(*arguments)

    def for_sampling(self) -> Self:
        """Returns a copy of the model for sampling only, in evaluation mode and without gradients.

        On a CPU, the copy stores a weight only in oneDNN's packed layout if that makes its products faster. Its weights
        are replaced by `sample_with`.

        Raises:
            ModelError: this model is itself a copy with packed weights.
        """
        own = sampling_copy(self)
        own.sample_with(own.state_dict())
        return own.eval().requires_grad_(requires_grad=False)

    def sample_with(self, weights: Mapping[str, Tensor]) -> None:
        """Loads weights into a model that only samples, and packs those that are faster in oneDNN's layout.

        Args:
            weights: all weights, by their names in the state dict of a model without packed weights. They are converted
                to the model's dtypes.
        """
        products = {f"{name}.weight": each for name, each in self.named_modules() if isinstance(each, Linear)}
        self.load_state_dict({name: weight for name, weight in weights.items() if name not in products}, strict=False)
        for name, each in products.items():
            each.take(weights[name])

    def rest(self) -> None:
        """Frees the memory of packed weights; the model cannot sample until `sample_with` loads weights again."""
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
        """Returns the hidden states [B, T, D] of tokens.

        Args:
            tokens: [B, T] ids.
            memory: decode cache of the earlier tokens, updated in place; row b of `tokens` continues row b of the
                cache. None for sequences from their beginning.
            counts: [B] number of tokens of each row that are not padding (they come first); None if no row has padding.
                Only with a decode cache.
            packing: layout of packed sequences; None if each row is one sequence. Only without a decode cache.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Returns logits [..., V] in fp32 for hidden states [..., D]; those of the ids in `unused` are -1e9.

        If the weights are bfloat16, a `Transformer` computes the logits in fp32 and does not round them in training. A
        `Transformer` with packed weights (for sampling) and models loaded through transformers round them to bfloat16
        first.
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
        """Returns the model's entries of `config.json` in a checkpoint folder."""

    def export(self) -> dict[str, Tensor]:
        """Returns the weights by their names in a checkpoint; by default, the names of the state dict."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}

    def load_exported(self, weights: dict[str, Tensor]) -> None:
        """Loads weights by the names that `export` uses.

        Raises:
            KeyError, RuntimeError: a weight is missing, unexpected or of another shape.
        """
        self.load_state_dict(weights)

    @property
    def parameters_count(self) -> int:
        """Number of parameters; tied ones count once."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device
