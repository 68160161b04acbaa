"""The dense decoder of the Llama and Qwen families."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from poziomka.core.errors import ModelError
from poziomka.core.settings import setting
from poziomka.models.architecture import Architecture, Packing
from poziomka.models.layers.attention import Attention, Cache
from poziomka.models.layers.feedforward import SwiGLU
from poziomka.models.layers.norm import RMSNorm
from poziomka.models.layers.rotary import Rotary
from poziomka.models.memory import Memory


@dataclass(frozen=True, kw_only=True)
class TransformerSettings:
    """Shape of a transformer."""

    width: int = setting(128, "width of the residual stream", low=8)
    layers: int = setting(3, "number of blocks", low=1)
    heads: int = setting(4, "query heads", low=1)
    key_heads: int | None = setting(None, "key and value heads; none: as many as query heads", low=1)
    inner: int | None = setting(
        None, "width inside the feed-forward layer; none: 8/3 of the width, up to a multiple of 8", low=1
    )
    qk_norm: bool = setting(True, "normalise queries and keys (the Qwen3 family)")
    tied: bool = setting(True, "input and output embeddings are one matrix")
    rope_base: float = setting(10_000.0, "base of the rotary angles", low=2)


class Block(nn.Module):
    """Attention, then feed-forward, each added to the residual stream."""

    def __init__(self, settings: TransformerSettings) -> None:
        """Makes both halves with their norms."""
        super().__init__()
        width, heads = settings.width, settings.heads
        self.attention_norm = RMSNorm(width)
        self.attention = Attention(width, heads, settings.key_heads or heads, width // heads, qk_norm=settings.qk_norm)
        self.feedforward_norm = RMSNorm(width)
        self.feedforward = SwiGLU(width, settings.inner or -(-width // 3) * 8)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor], visible: Tensor | None, cache: Cache | None = None
    ) -> Tensor:
        """[B, T, D] to [B, T, D]; arguments as of Attention."""
        x = x + self.attention(self.attention_norm(x), angles, visible, cache)
        return x + self.feedforward(self.feedforward_norm(x))


class Transformer(Architecture):
    """A pre-norm decoder with rotary positions.

    Args:
        settings: its shape.
        vocabulary: number of tokens.

    Raises:
        ModelError: the width does not divide into the heads, or the query heads into the key heads.
    """

    def __init__(self, settings: TransformerSettings, vocabulary: int) -> None:
        """Initialises weights as GPT-2 does: normal, 0.02, residual outputs scaled down by depth."""
        super().__init__()
        key_heads = settings.key_heads or settings.heads
        if settings.width % settings.heads or settings.heads % key_heads or (settings.width // settings.heads) % 2:
            message = (
                f"a transformer of width {settings.width} cannot have {settings.heads} heads over {key_heads} "
                "key heads: the width must divide by the heads into an even width, and the heads by the key heads"
            )
            raise ModelError(message)
        self.settings, self.vocabulary = settings, vocabulary
        self.embedding = nn.Embedding(vocabulary, settings.width)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = RMSNorm(settings.width)
        self.head = None if settings.tied else nn.Linear(settings.width, vocabulary, bias=False)
        self.rotary = Rotary(settings.width // settings.heads, settings.rope_base)
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
        """See Architecture."""
        x = self.embedding(tokens)
        if memory is not None:
            return self._remembering(x, memory, counts)
        length = tokens.shape[1]
        if packing is None:
            position, visible = torch.arange(length, device=tokens.device).expand(1, -1), None
        else:
            position, visible = packing.position, packing.visible().unsqueeze(1)
        angles = self.rotary.at(position, length)
        for block in self.blocks:
            x = block(x, angles, visible)
        out: Tensor = self.norm(x)
        return out

    def _remembering(self, x: Tensor, memory: Memory, counts: Tensor | None) -> Tensor:
        rows, length = x.shape[:2]
        place = memory.lengths.unsqueeze(1) + torch.arange(length, device=x.device)
        seen = int(memory.lengths.max()) + length
        memory.reserve(seen)
        visible = (torch.arange(seen, device=x.device) <= place.unsqueeze(2)).unsqueeze(1)
        angles = self.rotary.at(place, seen)
        where = (torch.arange(rows, device=x.device).unsqueeze(1), place)
        keys, values = memory["keys"], memory["values"]
        for number, block in enumerate(self.blocks):
            x = block(x, angles, visible, (keys[number], values[number], where))
        memory.advance(length if counts is None else counts)
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """See Architecture."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return nn.functional.linear(hidden, weight).float()

    def memory(self, rows: int, length: int) -> Memory:
        """See Architecture: keys and values, [layers, rows, key heads, tokens, width of a head]."""
        settings = self.settings
        shape = (settings.layers, rows, settings.key_heads or settings.heads, length, settings.width // settings.heads)
        stores = {name: self.norm.weight.new_zeros(shape) for name in ("keys", "values")}
        return Memory(stores, {"keys": 3, "values": 3}, rows)

    def flops(self, context: float) -> float:
        """See Architecture: two a weight of every product, and four a width and layer for each token looked at."""
        products = sum(p.numel() for p in self.blocks.parameters() if p.dim() > 1) + self.embedding.weight.numel()
        return 2.0 * products + 4.0 * self.settings.layers * self.settings.width * (context + 1)

    def config(self) -> dict[str, object]:
        """See Architecture: as the `llama` (or, with QK-norm, `qwen3`) models of transformers spell it."""
        settings = self.settings
        block: Block = self.blocks[0]  # type: ignore[assignment]  # torch's stubs say Module
        return {
            "architectures": ["Qwen3ForCausalLM" if settings.qk_norm else "LlamaForCausalLM"],
            "model_type": "qwen3" if settings.qk_norm else "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": settings.width,
            "intermediate_size": block.feedforward.down.in_features,
            "num_hidden_layers": settings.layers,
            "num_attention_heads": settings.heads,
            "num_key_value_heads": settings.key_heads or settings.heads,
            "head_dim": settings.width // settings.heads,
            "hidden_act": "silu",
            "rms_norm_eps": self.norm.epsilon,
            "rope_theta": settings.rope_base,
            "rope_parameters": {"rope_type": "default", "rope_theta": settings.rope_base},
            "max_position_embeddings": 4096,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": settings.tied,
            "torch_dtype": "float32",
        }

    def export(self) -> dict[str, Tensor]:
        """See Architecture: the names of transformers' Llama and Qwen3 models."""
        weights = {
            "model.embed_tokens.weight": self.embedding.weight.detach(),
            "model.norm.weight": self.norm.weight.detach(),
        }
        if self.head is not None:
            weights["lm_head.weight"] = self.head.weight.detach()
        for number, block in enumerate(self.blocks):
            prefix = f"model.layers.{number}"
            weights[f"{prefix}.input_layernorm.weight"] = block.attention_norm.weight.detach()
            weights[f"{prefix}.post_attention_layernorm.weight"] = block.feedforward_norm.weight.detach()
            weights |= block.attention.exported(f"{prefix}.self_attn")
            weights |= block.feedforward.exported(f"{prefix}.mlp")
        return weights

    def load_exported(self, weights: dict[str, Tensor]) -> None:
        """See Architecture; surplus weights are refused, since a model without them would be another one."""
        surplus = sorted({*weights} - {*self.export()} - ({"lm_head.weight"} if self.settings.tied else set()))
        if surplus:
            message = f"it has no place for {', '.join(surplus[:3])}{' …' if len(surplus) > 3 else ''}"
            raise RuntimeError(message)
        state = {"embedding.weight": weights["model.embed_tokens.weight"], "norm.weight": weights["model.norm.weight"]}
        if self.head is not None:
            state["head.weight"] = weights["lm_head.weight"]
        for number, block in enumerate(self.blocks):
            prefix, own = f"model.layers.{number}", f"blocks.{number}"
            state[f"{own}.attention_norm.weight"] = weights[f"{prefix}.input_layernorm.weight"]
            state[f"{own}.feedforward_norm.weight"] = weights[f"{prefix}.post_attention_layernorm.weight"]
            parts = {
                "attention": block.attention.imported(f"{prefix}.self_attn", weights),
                "feedforward": block.feedforward.imported(f"{prefix}.mlp", weights),
            }
            for part, tensors in parts.items():
                state |= {f"{own}.{part}.{name}": tensor for name, tensor in tensors.items()}
        self.load_state_dict(state)
