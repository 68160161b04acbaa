"""A recurrent architecture, whose state has a fixed size for texts of any length."""

import torch
from torch import Tensor, nn

from poziomka.core.settings import plain
from poziomka.models.base import Architecture, Packing, Work, masked
from poziomka.models.cache import Memory, zeros
from poziomka.models.config import TransformerSettings
from poziomka.models.layers.feedforward import SwiGLU
from poziomka.models.layers.linear import logits_of
from poziomka.models.layers.norm import RMSNorm
from poziomka.models.layers.recurrence import TAPS, Recurrence


class Recurrent(Architecture):
    """A decoder whose blocks mix tokens by a gated linear recurrence instead of attention.

    The head is always tied to the embedding.

    Args:
        settings: the transformer's settings; those of attention (key heads, QK-norm, rotary base) and `tied` are
            ignored.
        vocabulary: number of tokens.

    Raises:
        ModelError: the width is not a multiple of the number of heads.
    """

    def __init__(self, settings: TransformerSettings, vocabulary: int) -> None:
        """Initialises matrices from a normal distribution with standard deviation 0.02."""
        super().__init__()
        settings.demand_parted()
        self.settings, self.vocabulary = settings, vocabulary
        width, layers = settings.width, settings.layers
        self.embedding = nn.Embedding(vocabulary, width)
        self.mixers = nn.ModuleList(Recurrence(width, settings.heads) for _ in range(layers))
        self.feedforwards = nn.ModuleList(SwiGLU(width, settings.inner or -(-width // 3) * 8) for _ in range(layers))
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(2 * layers + 1))
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1 and not name.endswith("taps"):
                nn.init.normal_(parameter, std=0.02)

    def forward(
        self,
        tokens: Tensor,
        memory: Memory | None = None,
        *,
        counts: Tensor | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """Returns the hidden states [B, T, D] of tokens; see `Architecture.forward` for the arguments."""
        batch, length = tokens.shape
        kept = memory or self.memory(batch, length)
        visible = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril().expand(batch, -1, -1)
        visible = visible if packing is None else packing.visible()
        steps = torch.arange(length, device=tokens.device).expand(batch, -1)
        real = steps < (length if counts is None else counts.unsqueeze(1))
        x = self.embedding(tokens)
        for number, (mix, feed) in enumerate(zip(self.mixers, self.feedforwards, strict=True)):
            past, state = kept["past"][number], kept["state"][number]
            mixed, new_past, new_state = mix(self.norms[2 * number](x), past, state, real, visible)
            if memory is not None:
                past.copy_(new_past)
                state.copy_(new_state)
            x = x + mixed
            x = x + feed(self.norms[2 * number + 1](x))
        if memory is not None:
            memory.advance(length if counts is None else counts)
        out: Tensor = self.norms[-1](x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns logits [..., V] in fp32 for hidden states [..., D]; those of the ids in `unused` are -1e9."""
        return masked(logits_of(hidden, self.embedding.weight, None), self.unused)

    def memory(self, rows: int, length: int) -> Memory:
        """Returns an empty decode cache for `rows` sequences, which has the same size for every `length`.

        It stores "past", [rows, 3, 3 width], and "state", [rows, heads, head width, head width], for each layer.
        """
        settings, head = self.settings, self.settings.width // self.settings.heads
        shapes = {"past": (rows, TAPS - 1, 3 * settings.width), "state": (rows, settings.heads, head, head)}
        like = self.embedding.weight
        stores = {name: [zeros(shape, like) for _ in range(settings.layers)] for name, shape in shapes.items()}
        return Memory(stores, {}, rows)

    def work(self, tokens: float) -> Work:
        """Returns the floating-point operations of a forward pass over the first `tokens` tokens of a text.

        For each token, each weight of a matrix product takes two operations, and each cell of the recurrent state six.
        """
        head = self.embedding.weight.numel()
        products = sum(parameter.numel() for parameter in self.parameters() if parameter.dim() > 1) - head
        cells = self.settings.layers * self.settings.width**2 / self.settings.heads
        return Work(2.0 * products * tokens, 6.0 * cells * tokens, 2.0 * head * tokens)

    def config(self) -> dict[str, object]:
        """Returns the model's entries of `config.json`: its model_type, vocabulary size and settings."""
        settings = plain(self.settings)
        return {"model_type": "poziomka_recurrent", "vocab_size": self.vocabulary, "settings": settings}
