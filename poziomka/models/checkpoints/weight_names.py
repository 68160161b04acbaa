"""Names of a transformer's weights in a Hugging Face checkpoint, in a GGUF file, and in `Transformer`.

The names follow from the model's features alone: a family without a feature has no weight for it.
"""

from typing import NamedTuple

from poziomka.models.config import TransformerSettings

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"  # names in a Hugging Face checkpoint


class Place(NamedTuple):
    """One stored weight of a transformer, and the parameter, or the rows of a parameter, that contains it.

    Attributes:
        hub: name in a Hugging Face checkpoint.
        gguf: name in a GGUF file.
        own: name of the parameter of `Transformer`.
        start: first row of the weight in the parameter.
        rows: number of rows; None for the whole parameter.
    """

    hub: str
    gguf: str
    own: str
    start: int = 0
    rows: int | None = None

    @property
    def rotated(self) -> bool:
        """Whether the weight projects queries or keys, whose rows are rotated in pairs."""
        return ".attn_q." in self.gguf or ".attn_k." in self.gguf


def places(settings: TransformerSettings) -> list[Place]:
    """Returns all weights of a model with these settings, with their names in each format."""
    found = [
        Place(EMBEDDING, "token_embd.weight", "embedding.weight"),
        Place("model.norm.weight", "output_norm.weight", "norm.weight"),
    ]
    if not settings.tied:
        found.append(Place(HEAD, "output.weight", "head.weight"))
    for layer in range(settings.layers):
        for hub, gguf, own, start, rows in _in_a_layer(settings):
            found.append(
                Place(f"model.layers.{layer}.{hub}", f"blk.{layer}.{gguf}", f"blocks.{layer}.{own}", start, rows)
            )
    return found


def _in_a_layer(settings: TransformerSettings) -> list[Place]:
    queries = settings.heads * settings.each_head
    keys = (settings.key_heads or settings.heads) * settings.each_head
    found = []
    for kind in ["weight", "bias"] if settings.qkv_bias else ["weight"]:
        found += [
            Place(f"self_attn.q_proj.{kind}", f"attn_q.{kind}", f"attention.qkv.{kind}", 0, queries),
            Place(f"self_attn.k_proj.{kind}", f"attn_k.{kind}", f"attention.qkv.{kind}", queries, keys),
            Place(f"self_attn.v_proj.{kind}", f"attn_v.{kind}", f"attention.qkv.{kind}", queries + keys, keys),
        ]
    for kind in ["weight", "bias"] if settings.out_bias else ["weight"]:
        found.append(Place(f"self_attn.o_proj.{kind}", f"attn_output.{kind}", f"attention.out.{kind}"))
    if settings.qk_norm:
        found += [
            Place("self_attn.q_norm.weight", "attn_q_norm.weight", "attention.query_norm.weight"),
            Place("self_attn.k_norm.weight", "attn_k_norm.weight", "attention.key_norm.weight"),
        ]
    found += [
        Place("mlp.gate_proj.weight", "ffn_gate.weight", "feedforward.gate_up.weight", 0, settings.inside),
        Place("mlp.up_proj.weight", "ffn_up.weight", "feedforward.gate_up.weight", settings.inside, settings.inside),
        Place("mlp.down_proj.weight", "ffn_down.weight", "feedforward.down.weight"),
        Place("input_layernorm.weight", "attn_norm.weight", "attention_norm.weight"),
    ]
    if not settings.post_norms:
        return [*found, Place("post_attention_layernorm.weight", "ffn_norm.weight", "feedforward_norm.weight")]
    return [
        *found,
        Place("post_attention_layernorm.weight", "post_attention_norm.weight", "attention_post_norm.weight"),
        Place("pre_feedforward_layernorm.weight", "ffn_norm.weight", "feedforward_norm.weight"),
        Place("post_feedforward_layernorm.weight", "post_ffw_norm.weight", "feedforward_post_norm.weight"),
    ]
