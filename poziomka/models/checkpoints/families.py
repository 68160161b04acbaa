"""Model families that `Transformer` supports, and conversion between their config.json and its settings.

A family is data: its features, and the defaults of its config.json. The names of weights follow from the features
alone; see weight_names.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from poziomka.core.errors import ModelError, nearest
from poziomka.models.bounds import HEADS, LAYERS, LENGTH, VOCABULARY, WIDTH, real, whole
from poziomka.models.config import SlidingWindow, TransformerSettings
from poziomka.models.layers.rotary import RopeScaling

PLAIN: dict[str, Any] = {  # features of a decoder of no particular family
    "qk_norm": False,
    "qkv_bias": False,
    "out_bias": False,
    "gate": "silu",
    "query_scale": None,
    "offset_norms": False,
    "post_norms": False,
    "scaled_embedding": False,
    "window": None,
    "unrotated": (),
}


@dataclass(frozen=True)
class Family:
    """A model family of transformers.

    Attributes:
        model_type: its name in config.json.
        architecture: its class in transformers.
        gguf: its name in a GGUF file.
        has: features of all its models, as values by setting; features that are not listed are as in PLAIN.
        may: names of features that differ between its models.
        assumed: defaults of its config.json, beside those of ASSUMED.
        paired: whether a GGUF file stores the two rows of a rotary pair next to each other, not half a head apart.
    """

    model_type: str
    architecture: str
    gguf: str
    has: Mapping[str, Any] = field(default_factory=dict)
    may: frozenset[str] = frozenset()
    assumed: Mapping[str, Any] = field(default_factory=dict)
    paired: bool = False

    def lacks(self, settings: TransformerSettings) -> str | None:
        """Returns the name of a feature of `settings` that this family does not support; None if there is none."""
        wanted = PLAIN | dict(self.has)
        for name, value in wanted.items():
            if name not in self.may and getattr(settings, name) != value:
                return name
        if "out_bias" in self.may and settings.qkv_bias != settings.out_bias:
            return "qkv_bias without out_bias"
        if settings.window is not None:
            if self.model_type == "mistral" and settings.window.layers not in (None, (*range(settings.layers),)):
                return "window.layers"
            if self.model_type != "gemma3_text" and settings.window.rope_base is not None:
                return "window.rope_base"
        return None


BIASES = frozenset({"qkv_bias", "out_bias"})
GEMMA = {
    "qk_norm": True,
    "gate": "gelu_tanh",
    "offset_norms": True,
    "post_norms": True,
    "scaled_embedding": True,
}
FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            "llama",
            "LlamaForCausalLM",
            "llama",
            may=BIASES,
            assumed={"max_position_embeddings": 2048},
            paired=True,
        ),
        Family("qwen3", "Qwen3ForCausalLM", "qwen3", {"qk_norm": True}, BIASES | {"window"}, {"head_dim": 128}),
        Family(
            "mistral",
            "MistralForCausalLM",
            "llama",
            may=frozenset({"window"}),
            assumed={"sliding_window": 4096, "num_key_value_heads": 8, "max_position_embeddings": 131_072},
            paired=True,
        ),
        Family("qwen2", "Qwen2ForCausalLM", "qwen2", {"qkv_bias": True}, frozenset({"window"})),
        Family(
            "smollm3",
            "SmolLM3ForCausalLM",
            "smollm3",
            may=BIASES | {"window", "unrotated"},
            assumed={"rope_theta": 2_000_000.0, "num_key_value_heads": 4, "tie_word_embeddings": True},
            paired=True,
        ),
        Family(
            "gemma3_text",
            "Gemma3ForCausalLM",
            "gemma3",
            GEMMA,
            BIASES | {"window", "query_scale"},
            {
                "head_dim": 256,
                "num_attention_heads": 8,
                "num_key_value_heads": 4,
                "vocab_size": 262_208,
                "rope_theta": 1_000_000.0,
                "rope_local_base_freq": 10_000.0,
                "query_pre_attn_scalar": 256,
                "sliding_window": 4096,
                "tie_word_embeddings": True,
                "max_position_embeddings": 131_072,
            },
        ),
    )
}
ASSUMED = {  # defaults of config.json for all families
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "max_position_embeddings": 32_768,
    "max_window_layers": 28,
    "tie_word_embeddings": False,
}


ROPE = (  # known settings of rotary positions; "finetuned" has no effect
    *("rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "finetuned"),
    *("low_freq_factor", "high_freq_factor", "beta_slow", "beta_fast", "attention_factor", "truncate"),
    "partial_rotary_factor",
)


def family_of(settings: TransformerSettings) -> Family:
    """Returns the family as which a model with these settings is saved: the named one, else the first that fits.

    Raises:
        ModelError: the named family is unknown or lacks a feature, or no family has all features.
    """
    if settings.family is not None:
        if settings.family not in FAMILIES:
            message = f"unknown family {settings.family!r}{nearest(settings.family, FAMILIES)}"
            raise ModelError(message)
        family = FAMILIES[settings.family]
        if lacking := family.lacks(settings):
            message = f"a model of the family {family.model_type} cannot have this {lacking}: change it, or the family"
            raise ModelError(message)
        return family
    for family in FAMILIES.values():
        if family.lacks(settings) is None:
            return family
    message = (
        "no family of transformers has all these features at once, so a checkpoint could not be opened elsewhere: "
        f"choose those of one of {', '.join(FAMILIES)}"
    )
    raise ModelError(message)


# ---------------------------------------------------------------------------------------------- config.json, read
def from_config(config: Mapping[str, Any]) -> tuple[TransformerSettings, int]:
    """Converts a config.json to transformer settings and the vocabulary size, and returns both.

    Raises:
        ModelError: the model_type is no known family, a field is missing or invalid, or a requested feature is not
            supported.
    """
    kind = config.get("model_type")
    if kind not in FAMILIES:
        message = f"config.json says model_type {kind!r}, which is none of {', '.join(FAMILIES)}"
        raise ModelError(message)
    family = FAMILIES[kind]
    known: dict[str, Any] = {**ASSUMED, **family.assumed}
    known |= {name: value for name, value in config.items() if value is not None or name == "sliding_window"}
    _refuse_unknown_parts(known)
    try:
        layers, width = whole(known, "num_hidden_layers", LAYERS), whole(known, "hidden_size", WIDTH)
        heads = whole(known, "num_attention_heads", HEADS)
        bias = bool(known.get("attention_bias"))
        base, scaling, local_base = _read_rope(known, family)
        unrotated = _read_unrotated(known, layers) if "unrotated" in family.may else ()
        features = PLAIN | dict(family.has)
        features |= {"qkv_bias": bias, "out_bias": bias} if "out_bias" in family.may else {}
        settings = TransformerSettings(
            **features
            | {
                "width": width,
                "layers": layers,
                "heads": heads,
                "key_heads": whole(known, "num_key_value_heads", HEADS, heads),
                "head_width": whole(known, "head_dim", WIDTH, width // heads),
                "inner": whole(known, "intermediate_size", WIDTH),
                "tied": bool(known["tie_word_embeddings"]),
                "epsilon": real(known, "rms_norm_eps", zero=True),
                "rope_base": base,
                "rope_scaling": scaling,
                "unrotated": unrotated,
                "window": _read_window(known, family, unrotated, local_base),
                "query_scale": real(known, "query_pre_attn_scalar") if "query_scale" in family.may else None,
                "context": whole(known, "max_position_embeddings", LENGTH),
                "family": kind,
            }
        )
        vocabulary = whole(known, "vocab_size", VOCABULARY)
    except KeyError as error:
        message = f"config.json of a {kind} model lacks {error.args[0]!r}"
        raise ModelError(message) from error
    except ModelError:
        raise
    except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        message = f"config.json of a {kind} model makes no sense: {error}"
        raise ModelError(message) from error
    settings.demand_whole()
    return settings, vocabulary


def _refuse_unknown_parts(known: Mapping[str, Any]) -> None:
    gate = known.get("hidden_activation") or known.get("hidden_act") or "silu"
    expected = "gelu_pytorch_tanh" if known["model_type"] == "gemma3_text" else "silu"
    asked = {
        f"the activation {gate!r}": gate != expected,
        "biases in the feed-forward layers": known.get("mlp_bias"),
        "capped attention scores": known.get("attn_logit_softcapping"),
        "capped logits": known.get("final_logit_softcapping"),
        "attention to later tokens": known.get("use_bidirectional_attention"),
        "quantised weights": known.get("quantization_config"),
    }
    for what, wanted in asked.items():
        if wanted:
            message = f"config.json of this {known['model_type']} model asks for {what}, which is not supported"
            raise ModelError(message)


def _read_rope(known: Mapping[str, Any], family: Family) -> tuple[float, RopeScaling | None, float | None]:
    """Returns the rotary base, the scaling, and the base in windowed layers if the family has a separate one."""
    rope = dict(known.get("rope_parameters") or known.get("rope_scaling") or {})
    local = known.get("rope_local_base_freq")
    if "full_attention" in rope or "sliding_attention" in rope:
        local = (rope.get("sliding_attention") or {}).get("rope_theta", local)
        rope = dict(rope.get("full_attention") or {})
    rope = {name: value for name, value in rope.items() if value is not None}
    base = real(rope, "rope_theta", known["rope_theta"])
    kind = rope.get("rope_type", rope.get("type", "default"))
    local_base = None
    if family.model_type == "gemma3_text" and local is not None:
        local_base = real({"rope_local_base_freq": local}, "rope_local_base_freq")
    _refuse_unknown_rope(known, rope)
    if kind == "default":
        return base, None, local_base
    if kind not in ("linear", "llama3", "yarn"):
        message = f"config.json asks for rotary positions of type {kind!r}; known: default, linear, llama3, yarn"
        raise ModelError(message)
    scaling = {"kind": kind, "factor": real(rope, "factor")}
    if kind != "linear":
        longest = known["max_position_embeddings"]
        scaling["original"] = whole(rope, "original_max_position_embeddings", LENGTH, longest)
    if kind == "llama3":
        scaling |= {"slow": real(rope, "low_freq_factor"), "fast": real(rope, "high_freq_factor")}
    if kind == "yarn":
        scaling |= {"slow": real(rope, "beta_slow", 1.0), "fast": real(rope, "beta_fast", 32.0)}
        loudness = real(rope, "attention_factor") if "attention_factor" in rope else None
        scaling |= {"loudness": loudness, "truncate": bool(rope.get("truncate", True))}
    return base, RopeScaling(**scaling), local_base


def _refuse_unknown_rope(known: Mapping[str, Any], rope: Mapping[str, Any]) -> None:
    """Raises ModelError if a config.json (`known`) or its rotary settings (`rope`) have one that would be ignored."""
    share = rope.get("partial_rotary_factor", known.get("partial_rotary_factor", 1.0))
    asked = {"partial_rotary_factor": share} if share != 1.0 else {}
    asked |= {name: value for name, value in rope.items() if name not in ROPE and value is not False}
    for name, value in asked.items():
        message = f"config.json asks for rotary positions with {name} {str(value)[:40]}, which is not supported"
        raise ModelError(message)


def _read_unrotated(known: Mapping[str, Any], layers: int) -> tuple[int, ...]:
    every = whole(known, "no_rope_layer_interval", LAYERS, 4)
    rotated = known.get("no_rope_layers") or [(layer + 1) % every != 0 for layer in range(layers)]
    return tuple(layer for layer in range(layers) if not rotated[layer])


def _read_window(
    known: Mapping[str, Any], family: Family, unrotated: tuple[int, ...], local_base: float | None
) -> SlidingWindow | None:
    tokens, layers, kind = known.get("sliding_window"), int(known["num_hidden_layers"]), family.model_type
    switched_off = "use_sliding_window" in known and not known["use_sliding_window"]
    off = kind in ("qwen2", "qwen3", "smollm3") and (switched_off or "use_sliding_window" not in known)
    if "window" not in family.may or tokens is None or off:
        return None
    size = whole(known, "sliding_window", LENGTH)
    if kind == "mistral":
        return SlidingWindow(tokens=size)
    if types := known.get("layer_types"):
        near = [layer for layer in range(layers) if types[layer] == "sliding_attention"]
    elif kind == "gemma3_text":
        every = whole(known, "sliding_window_pattern", LAYERS, 6)
        near = [layer for layer in range(layers) if (layer + 1) % every]
    elif kind == "smollm3":
        near = list(unrotated)
    else:
        first = known["max_window_layers"]
        near = list(range(0 if first == 0 else whole(known, "max_window_layers", LENGTH), layers))
    return SlidingWindow(tokens=size, layers=tuple(near), rope_base=local_base) if near else None


# ------------------------------------------------------------------------------------------- config.json, written
def to_config(settings: TransformerSettings, vocabulary: int, dtype: str) -> dict[str, Any]:
    """Returns the contents of the family's config.json for transformer settings.

    Args:
        settings: the model's configuration.
        vocabulary: number of tokens.
        dtype: dtype of the weights, "float32" for example.

    Raises:
        ModelError: no family has these features.
    """
    family = family_of(settings)
    activation = "hidden_activation" if family.model_type == "gemma3_text" else "hidden_act"
    config: dict[str, Any] = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": vocabulary,
        "hidden_size": settings.width,
        "intermediate_size": settings.inside,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "num_key_value_heads": settings.key_heads or settings.heads,
        "head_dim": settings.each_head,
        activation: "silu" if settings.gate == "silu" else "gelu_pytorch_tanh",
        "rms_norm_eps": settings.epsilon,
        "max_position_embeddings": settings.context,
        "attention_bias": settings.out_bias,
        "mlp_bias": False,
        "tie_word_embeddings": settings.tied,
        "torch_dtype": dtype,
    }
    config |= _rope_config(settings, family) | _window_config(settings, family)
    if "unrotated" in family.may:
        config["no_rope_layers"] = [int(layer not in settings.unrotated) for layer in range(settings.layers)]
    if "query_scale" in family.may:
        scale = settings.query_scale or settings.each_head
        config["query_pre_attn_scalar"] = int(scale) if float(scale).is_integer() else scale
    return config


def _rope_config(settings: TransformerSettings, family: Family) -> dict[str, Any]:
    """Returns the rotary settings of a config.json in the formats of transformers 5 and of earlier versions.

    Transformers 5 reads `rope_parameters`, earlier versions `rope_theta` and `rope_scaling`.
    """
    scaling = settings.rope_scaling
    rope: dict[str, Any] = {"rope_type": "default"}
    if scaling is not None:
        rope = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind != "linear":
            rope["original_max_position_embeddings"] = scaling.original
        if scaling.kind == "llama3":
            rope |= {"low_freq_factor": scaling.slow, "high_freq_factor": scaling.fast}
        if scaling.kind == "yarn":
            rope |= {"beta_slow": scaling.slow, "beta_fast": scaling.fast, "truncate": scaling.truncate}
            rope |= {} if scaling.loudness is None else {"attention_factor": scaling.loudness}
    config: dict[str, Any] = {"rope_theta": settings.rope_base}
    config |= {} if scaling is None else {"rope_scaling": rope}
    parameters: dict[str, Any] = rope | {"rope_theta": settings.rope_base}
    if family.model_type == "gemma3_text":
        window = settings.window
        local = settings.rope_base if window is None or window.rope_base is None else window.rope_base
        near = {"rope_type": "default", "rope_theta": local}
        parameters = {"full_attention": parameters, "sliding_attention": near}
        config["rope_local_base_freq"] = local
    return config | {"rope_parameters": parameters}


def _window_config(settings: TransformerSettings, family: Family) -> dict[str, Any]:
    if "window" not in family.may:
        return {}
    window = settings.window
    config: dict[str, Any] = {"sliding_window": window.tokens if window is not None else None}
    if family.model_type == "mistral":
        return config
    near = [settings.windowed(layer) for layer in range(settings.layers)]
    config["layer_types"] = ["sliding_attention" if one else "full_attention" for one in near]
    if family.model_type == "gemma3_text":
        return config
    config["use_sliding_window"] = window is not None
    if family.model_type.startswith("qwen"):
        config["max_window_layers"] = near.index(True) if True in near else settings.layers
    return config
