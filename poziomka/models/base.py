"""What every architecture promises, so that one engine and one learner serve them all.

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

MASKED = -1e9  # a logit of no probability; finite, so that 0 times it is 0


def masked(logits: Tensor, unused: Tensor | None) -> Tensor:
    """Returns logits [..., V] in which the rows `unused` have no probability; they are overwritten in place."""
    return logits if unused is None else logits.index_fill_(-1, unused, MASKED)


@dataclass(frozen=True)
class Packing:
    """Where several sequences share a row of a training batch, and perhaps a prefix.

    A prefix that several sequences share stands in the batch once, before them: then `sharing` says how attention
    finds each sequence whole. An architecture whose `shares_prefixes` is False never gets one.

    Attributes:
        sequence: [B, T] number of the sequence a token belongs to (a shared prefix to its first); -1 for padding.
        position: [B, T] place of the token within its sequence, from 0.
        sharing: of the places, row-major in B, T; None where no prefix is shared.
    """

    sequence: Tensor
    position: Tensor
    sharing: Sharing | None = None

    def visible(self) -> Tensor:
        """Returns [B, T, T]: may token t (second axis) look at token s (third axis)?"""
        same = self.sequence.unsqueeze(2) == self.sequence.unsqueeze(1)
        return same.tril_()


class Work(NamedTuple):
    """Floating-point operations of reading a text.

    Attributes:
        places: what is made of each token by itself; as much for every token.
        looks: what is made of each token with those before it.
        head: the logits after every token; as much for each.
    """

    places: float
    looks: float
    head: float


class Architecture(nn.Module, ABC):
    """A language model's body and head.

    Reading a sequence at once, in pieces through a memory, or packed beside others gives the same hidden
    states up to rounding; `poziomka.testing.check_architecture` holds an implementation to that.
    """

    vocabulary: int
    context: int | None = None  # longest text in tokens, that its positions allow or it is meant for; None: no bound
    dropout = False  # whether training mode turns on the dropout that the model's own configuration asks for
    shares_prefixes = False  # whether `forward` takes a packing with `sharing`
    checkpointing = False  # whether a learner's forward pass keeps nothing inside a block, and makes it again backward

    unused: Tensor | None

    def __init__(self) -> None:
        """Leaves out no row of the head."""
        super().__init__()
        self.register_buffer("unused", None, persistent=False)

    def leave_out(self, rows: Sequence[int]) -> None:
        """Gives these rows of the head, for which the tokenizer has no token, no probability from now on."""
        self.unused = torch.tensor(rows, dtype=torch.long, device=self.device) if rows else None

    def through(self, block: Callable[..., Tensor], *arguments: object) -> Tensor:
        """Returns what a block gives; what is inside is kept, or made again, as `checkpointing` says.

        Chen et al. 2016, arXiv 1604.06174: the memory of one block and of what stands between blocks, for one more
        forward pass.
        """
        if self.checkpointing and torch.is_grad_enabled():
            out: Tensor = checkpoint(block, *arguments, use_reentrant=False)
            return out
        return block(*arguments)

    def for_sampling(self) -> Self:
        """Returns a model with these weights that only samples; where a layout serves that, it keeps nothing else.

        Raises:
            ModelError: this one only samples itself.
        """
        own = sampling_copy(self)
        own.sample_with(own.state_dict())
        return own.eval().requires_grad_(requires_grad=False)

    def sample_with(self, weights: Mapping[str, Tensor]) -> None:
        """Takes weights by the names of its state, for sampling only; they become its own type."""
        products = {f"{name}.weight": each for name, each in self.named_modules() if isinstance(each, Linear)}
        self.load_state_dict({name: weight for name, weight in weights.items() if name not in products}, strict=False)
        for name, each in products.items():
            each.take(weights[name])

    def rest(self) -> None:
        """Gives back the layouts that `sample_with` makes anew: until then nothing is sampled."""
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
            memory: what was read before; it takes the new tokens in. Row b of `tokens` continues row b of the memory.
            counts: [B] how many of a row's T tokens are real (they come first); None for all. Only with a memory.
            packing: which sequences share a row; None where each row is one sequence. Only without a memory.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Returns [..., V] in fp32 for hidden states [..., D]; `unused` rows are masked.

        With weights in bfloat16 they are summed in fp32 and not rounded where a transformer of ours learns; where it
        samples through packed weights, and in a model of transformers, they are rounded to bfloat16 first.
        """

    @abstractmethod
    def memory(self, rows: int, length: int) -> Memory:
        """Returns an empty memory of `rows` rows with room for `length` tokens each (it grows when needed)."""

    @abstractmethod
    def work(self, tokens: float) -> Work:
        """Returns the floating-point operations of a forward pass over a text of `tokens` tokens from its beginning."""

    def flops(self, context: float) -> float:
        """Returns the floating-point operations of one token's forward pass after `context` earlier tokens."""
        return sum(self.work(context + 1)) - sum(self.work(context))

    @abstractmethod
    def config(self) -> dict[str, object]:
        """Returns what `config.json` says of this model."""

    def export(self) -> dict[str, Tensor]:
        """Returns the weights under the names that a checkpoint carries: the field's own, where it has some."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}

    def load_exported(self, weights: dict[str, Tensor]) -> None:
        """Takes weights named as `export` names them; raises KeyError or RuntimeError where they do not fit."""
        self.load_state_dict(weights)

    @property
    def parameters_count(self) -> int:
        """Number of parameters, tied ones once."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device
