"""The shape of a transformer as settings, wide enough for every family that is loaded."""

from dataclasses import dataclass
from typing import Literal

from poziomka.core.errors import ModelError
from poziomka.core.settings import setting
from poziomka.models.bounds import HEADS, LAYERS, LENGTH, WIDTH


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How rotary angles are slowed down for texts longer than the model was first trained on.

    linear: all by the factor (Chen et al. 2023, arXiv 2306.15595). llama3: slow ones by the factor, fast ones not at
    all, those between by a blend (Llama 3.1, arXiv 2407.21783). yarn: a blend over a ramp, and louder queries and keys
    (Peng et al. 2023, arXiv 2309.00071).
    """

    kind: Literal["linear", "llama3", "yarn"] = setting("linear", "linear, llama3 or yarn")
    factor: float = setting(1.0, "how many times longer texts become", low=1)
    original: int = setting(4096, "longest text before, in tokens (llama3, yarn)", low=1)
    slow: float = setting(1.0, "turns within `original` tokens below which a pair is slowed down in full", low=0)
    fast: float = setting(32.0, "turns above which a pair is left alone; llama3 uses 4", low=0)
    loudness: float | None = setting(None, "factor on cos and sin (yarn); none: 1 + 0.1 ln(factor)", low=0)
    truncate: bool = setting(True, "the ramp's ends are whole pairs (yarn)")


@dataclass(frozen=True, kw_only=True)
class SlidingWindow:
    """Layers whose tokens see only the tokens near them."""

    tokens: int = setting(4096, "how many tokens a token sees, itself included", low=1)
    layers: tuple[int, ...] | None = setting(None, "numbers of these layers, from 0; none: all")
    rope_base: float | None = setting(
        None, "base of the rotary angles in them, unscaled; none: as in the others", low=2
    )


@dataclass(frozen=True, kw_only=True)
class TransformerSettings:
    """Shape of a transformer."""

    width: int = setting(128, "width of the residual stream", low=8, high=WIDTH)
    layers: int = setting(3, "number of blocks", low=1, high=LAYERS)
    heads: int = setting(4, "query heads", low=1, high=HEADS)
    key_heads: int | None = setting(None, "key and value heads; none: as many as query heads", low=1, high=HEADS)
    head_width: int | None = setting(None, "width of a head, even; none: width / heads", low=2, high=WIDTH)
    inner: int | None = setting(
        None, "width inside the feed-forward layer; none: 8/3 of the width, up to a multiple of 8", low=1, high=WIDTH
    )
    qk_norm: bool = setting(True, "normalise queries and keys (the Qwen3 and Gemma 3 families)")
    tied: bool = setting(True, "input and output embeddings are one matrix")
    rope_base: float = setting(10_000.0, "base of the rotary angles", low=2)
    rope_scaling: RopeScaling | None = setting(None, "slower angles for longer texts; none: as they are")
    window: SlidingWindow | None = setting(None, "layers that see only near tokens; none: all see everything")
    unrotated: tuple[int, ...] = setting((), "numbers of the layers without rotary positions, from 0 (SmolLM3)")
    epsilon: float = setting(1e-5, "what RMSNorm adds to the mean square", low=0)
    qkv_bias: bool = setting(False, "biases on queries, keys and values (the Qwen2 family)")
    out_bias: bool = setting(False, "a bias on the output of attention")
    gate: Literal["silu", "gelu_tanh"] = setting("silu", "activation of the feed-forward gate")
    query_scale: float | None = setting(None, "scores are divided by its root; none: the width of a head", low=1e-6)
    offset_norms: bool = setting(False, "norms scale by 1 + weight (Gemma)")
    post_norms: bool = setting(False, "norms after attention and feed-forward too (Gemma)")
    scaled_embedding: bool = setting(False, "embeddings are multiplied by the root of the width (Gemma)")
    context: int = setting(4096, "longest text that the model is meant for, in tokens", low=1, high=LENGTH)
    family: str | None = setting(None, "family whose names a checkpoint takes; none: the first that has these features")

    @property
    def each_head(self) -> int:
        """Width of a head."""
        return self.head_width or self.width // self.heads

    @property
    def inside(self) -> int:
        """Width inside the feed-forward layer."""
        return self.inner or -(-self.width // 3) * 8

    def windowed(self, layer: int) -> bool:
        """Whether a layer's tokens see only near ones."""
        return self.window is not None and (self.window.layers is None or layer in self.window.layers)

    def demand_parted(self) -> None:
        """Raises ModelError where the width does not divide by the heads, as that of a recurrent model must."""
        if self.width % self.heads:
            message = f"a recurrent model's width must divide by its heads: received {self.width}, {self.heads}"
            raise ModelError(message)

    def demand_whole(self) -> None:
        """Raises ModelError where the width does not divide into the heads, or the heads into the key heads."""
        parted = self.head_width is None and self.width % self.heads
        if parted or self.each_head % 2 or self.heads % (self.key_heads or self.heads):
            message = (
                f"a transformer of width {self.width} cannot have {self.heads} heads over "
                f"{self.key_heads or self.heads} key heads: the width must divide by the heads into an even width, "
                "and the heads by the key heads"
            )
            raise ModelError(message)
