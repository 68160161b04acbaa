"""Checkpoints in the layout of the hub come back as they were, or are refused in words."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from poziomka.core.errors import ModelError
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weights import load_weights, save_model
from poziomka.models.text.tokenizer import Tokenizer


def test_a_saved_model_is_loaded_back_bit_for_bit(model, tokenizer, tmp_path):
    save_model(tmp_path, model, tokenizer)
    wanted = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    load_weights(tmp_path, model)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in wanted.items())


def test_a_transformers_weights_have_the_hubs_names(transformer, tokenizer, tmp_path):
    save_model(tmp_path, transformer, tokenizer)
    weights = load_file(tmp_path / "model.safetensors")
    parts = ["input_layernorm", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    parts += [f"self_attn.{name}_proj" for name in "qkvo"]
    parts += ["self_attn.q_norm", "self_attn.k_norm"] if transformer.settings.qk_norm else []
    wanted = {f"model.layers.{layer}.{part}.weight" for layer in range(2) for part in parts}
    wanted |= {"model.embed_tokens.weight", "model.norm.weight"}
    wanted |= set() if transformer.settings.tied else {"lm_head.weight"}
    assert set(weights) == wanted


def test_a_projections_rows_are_its_heads(build):
    llama = build("llama")
    weights = llama.export()
    size = 32 // 4
    assert weights["model.layers.0.self_attn.q_proj.weight"].shape == (4 * size, 32)
    assert weights["model.layers.0.self_attn.k_proj.weight"].shape == (2 * size, 32)
    assert weights["model.layers.0.self_attn.v_proj.weight"].shape == (2 * size, 32)


def test_the_configuration_says_what_the_model_is(transformer, tokenizer, tmp_path):
    save_model(tmp_path, transformer, tokenizer)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == ("qwen3" if transformer.settings.qk_norm else "llama")
    assert (config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]) == (32, 2, 4)
    assert config["intermediate_size"] == transformer.blocks[0].feedforward.down.in_features
    assert config["tie_word_embeddings"] is transformer.settings.tied
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 0)


def test_a_missing_file_is_named(build, tmp_path):
    with pytest.raises(ModelError, match=r"cannot read the weights .*model\.safetensors"):
        load_weights(tmp_path, build())


def test_a_damaged_file_is_refused(build, tokenizer, tmp_path):
    save_model(tmp_path, build(), tokenizer)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ModelError, match="cannot read the weights"):
        load_weights(tmp_path, build())


@pytest.mark.parametrize(
    ("saved", "wanted"), [("recurrent", "transformer"), ("llama", "transformer"), ("transformer", "recurrent")]
)
def test_weights_of_another_shape_are_refused(build, tokenizer, tmp_path, saved, wanted):
    save_model(tmp_path, build(saved), tokenizer)
    with pytest.raises(ModelError, match=f"do not fit this {wanted}"):
        load_weights(tmp_path, build(wanted))


def test_surplus_weights_are_refused(build, tokenizer, tmp_path):
    """A projection's bias, say: without it the model would be another one."""
    save_model(tmp_path, build(), tokenizer)
    path = tmp_path / "model.safetensors"
    save_file(load_file(path) | {"model.layers.0.self_attn.q_proj.bias": torch.zeros(32)}, path)
    with pytest.raises(ModelError, match=r"no place for model\.layers\.0\.self_attn\.q_proj\.bias"):
        load_weights(tmp_path, build())


def test_a_tied_head_that_was_saved_too_is_no_surplus(build, tokenizer, tmp_path):
    model = build()
    save_model(tmp_path, model, tokenizer)
    path = tmp_path / "model.safetensors"
    save_file(load_file(path) | {"lm_head.weight": model.embedding.weight.detach().clone()}, path)
    load_weights(tmp_path, model)


def test_the_tokenizer_lies_beside_the_weights(build, tokenizer, tmp_path):
    save_model(tmp_path, build(), tokenizer)
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint


def as_pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def as_deep(path):
    path.write_text("[" * 100_000)


def as_deep_header(path):
    header = b'{"x": ' + b"[" * 100_000
    path.write_bytes(len(header).to_bytes(8, "little") + header)


@pytest.mark.fault("E16")
@pytest.mark.parametrize(
    ("name", "harm", "words"),
    [
        ("config.json", as_deep, "deeper than"),
        ("config.json", as_pipe, "is a pipe"),
        ("model.safetensors", as_deep_header, "deeper than"),
        ("adapter_config.json", as_deep, "deeper than"),
    ],
)
def test_a_folder_of_deep_json_or_pipes_is_refused_in_a_sentence(model, tokenizer, tmp_path, name, harm, words):
    save_model(tmp_path, model, tokenizer)
    harm(tmp_path / name)
    with pytest.raises(ModelError, match=words) as caught:
        load_pretrained(str(tmp_path))
    assert str(tmp_path / name) in str(caught.value)
