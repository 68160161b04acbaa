"""Dense decoder-only transformer of the Llama, Mistral, Qwen, SmolLM and Gemma families."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from poziomka.models.base import Architecture, Packing, Work, masked
from poziomka.models.cache import Memory, zeros
from poziomka.models.checkpoints.families import to_config
from poziomka.models.checkpoints.weight_names import EMBEDDING, HEAD, places
from poziomka.models.config import TransformerSettings
from poziomka.models.layers.attention import Attention, Cache, Heads, View
from poziomka.models.layers.feedforward import SwiGLU
from poziomka.models.layers.linear import Linear, logits_of, packed
from poziomka.models.layers.norm import RMSNorm
from poziomka.models.layers.rotary import Rotary
from poziomka.models.layers.sharing import Sharing

__all__ = ["Block", "Transformer", "TransformerSettings"]


class Block(nn.Module):
    """Transformer block: attention, then feed-forward, each added to the residual stream.

    Attributes:
        windowed: whether the block uses sliding-window attention.
        rotated: whether queries and keys have rotary positions.
    """

    def __init__(self, settings: TransformerSettings, layer: int) -> None:
        """Creates attention and feed-forward with their norms, for the block numbered `layer` from 0."""
        super().__init__()
        width = settings.width
        norm = partial(RMSNorm, epsilon=settings.epsilon, offset=settings.offset_norms)
        self.windowed, self.rotated = settings.windowed(layer), layer not in settings.unrotated
        self.attention_norm = norm(width)
        self.attention = Attention(
            width,
            Heads(settings.heads, settings.key_heads or settings.heads, settings.each_head),
            norm if settings.qk_norm else None,
            qkv_bias=settings.qkv_bias,
            out_bias=settings.out_bias,
            scale=None if settings.query_scale is None else settings.query_scale**-0.5,
        )
        self.attention_post_norm = norm(width) if settings.post_norms else nn.Identity()
        self.feedforward_norm = norm(width)
        self.feedforward = SwiGLU(width, settings.inside, settings.gate)
        self.feedforward_post_norm = norm(width) if settings.post_norms else nn.Identity()

    def forward(self, x: Tensor, near: View, far: View, cache: Cache | None = None) -> Tensor:
        """Returns the block's output [B, T, D] for x [B, T, D].

        Args:
            x: input of the block.
            near: positions and mask for a block with sliding-window attention.
            far: positions and mask for every other block.
            cache: the block's decode cache, as for `Attention.forward`; None without a cache.
        """
        view = near if self.windowed else far
        mixed = self.attention(self.attention_norm(x), view if self.rotated else view._replace(angles=None), cache)
        x = x + self.attention_post_norm(mixed)
        return x + self.feedforward_post_norm(self.feedforward(self.feedforward_norm(x)))


class Transformer(Architecture):
    """Pre-norm decoder with rotary positions, for all families that are supported directly.

    Args:
        settings: sizes and features.
        vocabulary: number of tokens.

    Raises:
        ModelError: the width does not divide into the heads, or the query heads into the key heads.
    """

    shares_prefixes = True

    def __init__(self, settings: TransformerSettings, vocabulary: int) -> None:
        """Initialises matrices as GPT-2: standard deviation 0.02, divided by sqrt(2 layers) for residual outputs."""
        super().__init__()
        settings.demand_whole()
        self.settings, self.vocabulary, self.context = settings, vocabulary, settings.context
        self.embedding = nn.Embedding(vocabulary, settings.width)
        self.blocks = nn.ModuleList(Block(settings, layer) for layer in range(settings.layers))
        self.norm = RMSNorm(settings.width, settings.epsilon, offset=settings.offset_norms)
        self.head = None if settings.tied else Linear(settings.width, vocabulary, bias=False)
        self.packed_head: Tensor | None = None  # packed layout of a tied head
        self.rotary = Rotary(settings.each_head, settings.rope_base, settings.rope_scaling)
        near_base = None if settings.window is None else settings.window.rope_base
        self.near_rotary = self.rotary if near_base is None else Rotary(settings.each_head, near_base)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * settings.layers) ** 0.5 if residual else 0.02)

    def forward(
        self,
        tokens: Tensor,
        memory: Memory | None = None,
        *,
        counts: Tensor | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """Returns the hidden states [B, T, D] of tokens; see `Architecture.forward` for the arguments."""
        x = self._embedded(tokens)
        if memory is not None:
            return self._remembering(x, memory, counts)
        length = tokens.shape[1]
        if packing is None:
            position = torch.arange(length, device=tokens.device).expand(1, -1)
            views = self._views(position, position, None, length)
        elif packing.sharing is None:
            views = self._views(packing.position, packing.position, packing.visible().unsqueeze(1), length)
        else:
            views = self._sharing(packing.position, packing.sharing)
        for block in self.blocks:
            x = self.through(block, x, *views)
        out: Tensor = self.norm(x)
        return out

    def _embedded(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.embedding(tokens)
        if self.settings.scaled_embedding:
            x = x * torch.tensor(self.settings.width**0.5, dtype=x.dtype).item()  # the factor is rounded to the dtype
        return x

    def _views(self, position: Tensor, others: Tensor, visible: Tensor | None, longest: int) -> tuple[View, View]:
        """Returns two attention views: that of layers with sliding windows, and that of all other layers.

        Args:
            position: [B or 1, T] positions of the new tokens.
            others: [B or 1, S] positions of the keys; all are below `longest`.
            visible: [B, 1, T, S] attention mask; None for plain causal attention among the new tokens.
            longest: one more than the largest position.
        """
        window = self.settings.window
        far = View(self._angles(self.rotary, position, longest), visible)
        if window is None:
            return far, far
        near = far._replace(window=window.tokens)
        if self.near_rotary is not self.rotary:
            near = near._replace(angles=self._angles(self.near_rotary, position, longest))
        if longest > window.tokens:
            distance = position.unsqueeze(2) - others.unsqueeze(1)
            within = (distance < window.tokens).unsqueeze(1)
            near = near._replace(visible=within & ((distance >= 0).unsqueeze(1) if visible is None else visible))
        return near, far

    def _sharing(self, position: Tensor, sharing: Sharing) -> tuple[View, View]:
        """Returns the two views, as `_views`, of a batch with shared prefixes: `sharing` replaces the attention mask.

        Args:
            position: [B, T] positions of the tokens.
            sharing: layout of the shared prefixes.
        """
        longest = sharing.longest
        far = View(self._angles(self.rotary, position, longest), None, 0, sharing)
        if self.settings.window is None:
            return far, far
        near = self._angles(self.near_rotary, position, longest)
        return View(near, None, self.settings.window.tokens, sharing), far

    def _angles(self, rotary: Rotary, position: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        cos, sin = rotary.at(position, longest)
        return cos.to(self.norm.weight.dtype), sin.to(self.norm.weight.dtype)

    def _remembering(self, x: Tensor, memory: Memory, counts: Tensor | None) -> Tensor:
        rows, length = x.shape[:2]
        place = memory.lengths.unsqueeze(1) + torch.arange(length, device=x.device)
        seen = int(memory.lengths.max()) + length
        memory.reserve(seen)
        others = torch.arange(seen, device=x.device).unsqueeze(0)
        visible = (others <= place.unsqueeze(2)).unsqueeze(1)
        views = self._views(place, others, visible, seen)
        where = (torch.arange(rows, device=x.device).unsqueeze(1), place)
        keys, values = memory["keys"], memory["values"]
        for number, block in enumerate(self.blocks):
            x = block(x, *views, (keys[number], values[number], where))
        memory.advance(length if counts is None else counts)
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns logits [..., V] in fp32 for hidden states [..., D]; those of the ids in `unused` are -1e9.

        With packed weights, for sampling, the logits are rounded to the dtype of the weights first.
        """
        if self.head is not None and self.head.weight.is_meta:
            return masked(self.head(hidden).float(), self.unused)  # Linear raises if gradients are enabled
        layout = self.packed_head if self.head is None else self.head.packed
        return masked(logits_of(hidden, self.head_weight, layout), self.unused)

    @property
    def head_weight(self) -> Tensor:
        """Weight of the head, [vocabulary, width]; the embedding if they are tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    def sample_with(self, weights: Mapping[str, Tensor]) -> None:
        """Loads weights for sampling, as `Architecture.sample_with`, and packs a tied head too."""
        super().sample_with(weights)
        if self.head is None:
            self.packed_head = packed(self.embedding.weight)

    def rest(self) -> None:
        """Frees the memory of packed weights; the model cannot sample until `sample_with` loads weights again."""
        super().rest()
        self.packed_head = None

    def memory(self, rows: int, length: int) -> Memory:
        """Returns an empty decode cache for `rows` sequences of `length` tokens each; it grows when needed.

        It stores "keys" and "values", [rows, key heads, tokens, head width] for each layer.
        """
        settings = self.settings
        shape = (rows, settings.key_heads or settings.heads, length, settings.each_head)
        stores = {name: [zeros(shape, self.norm.weight) for _ in self.blocks] for name in ("keys", "values")}
        return Memory(stores, {"keys": 2, "values": 2}, rows)

    def work(self, tokens: float) -> Work:
        """Returns the floating-point operations of a forward pass over the first `tokens` tokens of a text.

        Each weight of a matrix product takes two operations for each token. Attention takes 4 x heads x head width
        operations for each layer and each pair of a query and a visible key.
        """
        settings = self.settings
        products = sum(p.numel() for p in self.blocks.parameters() if p.dim() > 1)
        far = near = tokens * (tokens + 1) / 2
        if settings.window is not None and tokens > settings.window.tokens:
            near = settings.window.tokens * (tokens - (settings.window.tokens - 1) / 2)
        windowed = sum(settings.windowed(layer) for layer in range(settings.layers))
        looks = windowed * near + (settings.layers - windowed) * far
        head = 2.0 * self.head_weight.numel() * tokens
        return Work(2.0 * products * tokens, 4.0 * settings.heads * settings.each_head * looks, head)

    def config(self) -> dict[str, object]:
        """Returns the model's entries of `config.json`, in the format of its family in transformers."""
        dtype = str(self.embedding.weight.dtype).removeprefix("torch.")
        return to_config(self.settings, self.vocabulary, dtype)

    def export(self) -> dict[str, Tensor]:
        """Returns views of the weights by the names that the family's models have in transformers.

        A parameter that fuses several projections has one view for each of them.
        """
        own = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return {
            place.hub: own[place.own] if place.rows is None else own[place.own].narrow(0, place.start, place.rows)
            for place in places(self.settings)
        }

    @torch.no_grad()
    def load_exported(self, weights: Mapping[str, Tensor]) -> None:
        """Copies weights, by the names that `export` uses, into the model; all are checked before any is copied.

        Raises:
            RuntimeError: weights are missing, unexpected or of another shape. A tied model accepts a saved head that
                equals its embedding.
        """
        own = self.export()
        surplus = sorted({*weights} - {*own} - ({HEAD} if self.settings.tied else set()))
        missing = sorted({*own} - {*weights})
        for names, what in ((surplus, "it has no place for"), (missing, "the file lacks")):
            if names:
                message = f"{what} {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"
                raise RuntimeError(message)
        if self.settings.tied and not torch.equal(weights.get(HEAD, weights[EMBEDDING]), weights[EMBEDDING]):
            message = f"its head is the embedding, and {HEAD} in the file is another matrix"
            raise RuntimeError(message)
        wrong = [name for name, tensor in own.items() if weights[name].shape != tensor.shape]
        if wrong:
            found, wanted = list(weights[wrong[0]].shape), list(own[wrong[0]].shape)
            more = f", and {len(wrong) - 1} more do not fit" if len(wrong) > 1 else ""
            message = f"{wrong[0]} is {found} and not {wanted}{more}"
            raise RuntimeError(message)
        for name, tensor in own.items():
            tensor.copy_(weights[name])
