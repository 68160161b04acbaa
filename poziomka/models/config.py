"""Transformer configuration, general enough for every model family that is loaded."""

from dataclasses import dataclass
from typing import Literal

from poziomka.core.errors import ModelError
from poziomka.core.settings import setting
from poziomka.models.bounds import HEADS, LAYERS, LENGTH, WIDTH
from poziomka.models.layers.rotary import RopeScaling


@dataclass(frozen=True, kw_only=True)
class SlidingWindow:
    """Sliding-window attention: the size of the window, the layers that use it, and their rotary base."""

    tokens: int = setting(4096, "width of the attention window, tokens, the present one included", low=1)
    layers: tuple[int, ...] | None = setting(None, "indices of the layers with a window, from 0; none: all")
    rope_base: float | None = setting(
        None, "base of the rotary embedding in these layers, unscaled; none: as in the others", low=2
    )


@dataclass(frozen=True, kw_only=True)
class TransformerSettings:
    """Configuration of a transformer: sizes, positions, norms, biases and attention windows."""

    width: int = setting(128, "width of the residual stream", low=8, high=WIDTH)
    layers: int = setting(3, "number of layers", low=1, high=LAYERS)
    heads: int = setting(4, "query heads", low=1, high=HEADS)
    key_heads: int | None = setting(None, "key and value heads; none: as many as `heads`", low=1, high=HEADS)
    head_width: int | None = setting(None, "width of a head, an even number; none: width / heads", low=2, high=WIDTH)
    inner: int | None = setting(
        None, "width of the feed-forward layer; none: 8/3 of `width`, rounded up to a multiple of 8", low=1, high=WIDTH
    )
    qk_norm: bool = setting(True, "normalize queries and keys (Qwen3, Gemma 3)")
    tied: bool = setting(True, "share the matrix of input and output embeddings")
    rope_base: float = setting(10_000.0, "base of the rotary embedding (theta)", low=2)
    rope_scaling: RopeScaling | None = setting(None, "slower angles for longer texts; none: as they are")
    window: SlidingWindow | None = setting(None, "layers that see only near tokens; none: all see everything")
    unrotated: tuple[int, ...] = setting((), "indices of the layers without rotary embedding, from 0 (SmolLM3)")
    epsilon: float = setting(1e-5, "epsilon of RMSNorm", low=0)
    qkv_bias: bool = setting(False, "biases of queries, keys and values (Qwen2)")
    out_bias: bool = setting(False, "bias of the attention's output")
    gate: Literal["silu", "gelu_tanh"] = setting("silu", "activation function of the feed-forward gate")
    query_scale: float | None = setting(
        None, "attention scores are divided by its square root; none: the width of a head", low=1e-6
    )
    offset_norms: bool = setting(False, "RMSNorm scales by 1 + weight (Gemma)")
    post_norms: bool = setting(False, "also normalize after attention and feed-forward (Gemma)")
    scaled_embedding: bool = setting(False, "multiply embeddings by the square root of `width` (Gemma)")
    context: int = setting(4096, "context of the model, tokens", low=1, high=LENGTH)
    family: str | None = setting(
        None, "model family whose checkpoint format is written; none: the first with these features"
    )

    @property
    def each_head(self) -> int:
        """Width of an attention head: `head_width`, or width / heads by default."""
        return self.head_width or self.width // self.heads

    @property
    def inside(self) -> int:
        """Hidden width of a feed-forward layer: `inner`, or by default 8/3 of `width`, up to a multiple of 8."""
        return self.inner or -(-self.width // 3) * 8

    def windowed(self, layer: int) -> bool:
        """Whether a layer, numbered from 0, uses sliding-window attention."""
        return self.window is not None and (self.window.layers is None or layer in self.window.layers)

    def demand_parted(self) -> None:
        """Raises ModelError if a recurrent model's width is not a multiple of its number of heads."""
        if self.width % self.heads:
            message = f"a recurrent model's width must divide by its heads: received {self.width}, {self.heads}"
            raise ModelError(message)

    def demand_whole(self) -> None:
        """Checks that the width, the heads and the key heads of a transformer fit together.

        Raises:
            ModelError: a head's width is no even integer, or the number of query heads is no multiple of the number of
                key heads.
        """
        parted = self.head_width is None and self.width % self.heads
        if parted or self.each_head % 2 or self.heads % (self.key_heads or self.heads):
            message = (
                f"a transformer of width {self.width} cannot have {self.heads} heads over "
                f"{self.key_heads or self.heads} key heads: the width must divide by the heads into an even width, "
                "and the heads by the key heads"
            )
            raise ModelError(message)
