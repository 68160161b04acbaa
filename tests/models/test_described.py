"""What a folder's files say of a model is held against what is stored: no tensor is dropped, no number is believed."""

import json
import os
import struct

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from poziomka.core.errors import ModelError
from poziomka.models.checkpoints.families import FAMILIES
from poziomka.models.checkpoints.gguf.conversion import shape_of, tensors_of
from poziomka.models.checkpoints.gguf.file import GGUFFile
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weight_names import places
from poziomka.models.checkpoints.weights import load_weights, save_model
from poziomka.models.config import TransformerSettings

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
E13, B8 = pytest.mark.fault("E13"), pytest.mark.fault("B8")


@pytest.fixture
def other_head(folder, reweigh):
    """A head that is not the embedding, stored beside it though config.json calls them tied."""
    reweigh(lambda tensors: tensors.update({HEAD: tensors[EMBEDDING].flip(0).contiguous()}))
    return load_file(folder / "model.safetensors")[HEAD]


# ------------------------------------------------------------------------------------------------- a head of its own
@torch.no_grad()
@pytest.mark.fault("B6")
def test_a_head_that_was_saved_is_used_though_it_is_called_tied(folder, other_head, tokenizer, tmp_path):
    import transformers

    found = load_pretrained(str(folder))
    assert torch.equal(found.model.head_weight, other_head)
    tokens = torch.tensor([[1, 5, 3, 11, 9, 2]])
    logits = found.model.logits(found.model(tokens))
    peer = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert torch.allclose(logits, peer(tokens).logits, atol=1e-4)
    (tmp_path / "again").mkdir()
    save_model(tmp_path / "again", found.model, tokenizer)
    assert json.loads((tmp_path / "again" / "config.json").read_text())["tie_word_embeddings"] is False
    again = load_pretrained(str(tmp_path / "again")).model
    assert torch.equal(again.logits(again(tokens)), logits)


@pytest.mark.fault("B6")
@pytest.mark.usefixtures("other_head")
def test_a_tied_model_is_not_filled_from_a_folder_with_another_head(folder, build):
    with pytest.raises(ModelError, match=r"lm_head\.weight in the file is another matrix"):
        load_weights(folder, build("llama"))


@pytest.mark.fault("B6")
def test_a_recurrent_model_has_no_place_for_a_head(build, tokenizer, reweigh, tmp_path):
    model = build("recurrent")
    save_model(tmp_path, model, tokenizer)
    reweigh(lambda tensors: tensors.update({HEAD: torch.zeros(15, 32)}))
    with pytest.raises(ModelError, match=r"no place for lm_head\.weight"):
        load_pretrained(str(tmp_path))
    with pytest.raises(ModelError, match=r"no place for lm_head\.weight"):
        load_weights(tmp_path, model)


@pytest.mark.fault("B6")
def test_a_tensor_in_two_shards_is_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "a.safetensors")
    save_file({EMBEDDING: tensors[EMBEDDING] * 2}, folder / "b.safetensors")
    table = dict.fromkeys(tensors, "a.safetensors") | {EMBEDDING: "b.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    with pytest.raises(ModelError, match=r"hold model\.embed_tokens\.weight twice"):
        load_pretrained(str(folder))


# --------------------------------------------------------------------------------------------------- derived buffers
@pytest.mark.fault("B4")
@pytest.mark.parametrize("name", ["rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached"])
def test_buffers_that_follow_from_the_configuration_are_ignored(name, folder, reweigh, build):
    before = load_pretrained(str(folder)).model.state_dict()
    buffers = {f"model.layers.{layer}.self_attn.{name}": torch.ones(4) for layer in range(2)}
    reweigh(lambda tensors: tensors.update(buffers))
    after = load_pretrained(str(folder)).model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    load_weights(folder, build("llama"))


@pytest.mark.fault("B4")
def test_any_other_surplus_tensor_is_still_refused(folder, reweigh):
    reweigh(lambda tensors: tensors.update({"model.layers.0.self_attn.inv_freq": torch.ones(4)}))
    with pytest.raises(ModelError, match=r"no place for model\.layers\.0\.self_attn\.inv_freq"):
        load_pretrained(str(folder))


# ------------------------------------------------------------------------------------------------- sizes that are said
WINDOW = {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 4}


@pytest.mark.fault("E13")
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_hidden_layers": 100_000}, "num_hidden_layers must be a whole number from 1 to 4,096: received 100000"),
        ({"num_hidden_layers": 4000}, "describes 4,000 layers and its weights are 20 tensors"),
        ({"hidden_size": -16}, "hidden_size must be a whole number from 1 to 1,048,576: received -16"),
        ({"hidden_size": 10**30}, "hidden_size must be a whole number"),
        ({"intermediate_size": 1 << 19}, "do not fit"),
        ({"vocab_size": 10**12}, "vocab_size must be a whole number"),
        ({"num_attention_heads": 0}, "num_attention_heads must be a whole number"),
        ({"num_attention_heads": True}, "num_attention_heads must be a whole number"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps must be a finite number"),
        ({"rope_parameters": {"rope_theta": float("inf")}}, "rope_theta must be a finite number"),
        ({"max_position_embeddings": "many"}, "max_position_embeddings must be a whole number"),
        ({"model_type": ["llama"]}, "must name a model_type"),
        *(
            (WINDOW | {"max_window_layers": value}, "max_window_layers must be a whole number")
            for value in (float("inf"), float("nan"), -1, "x", [], 10**40, True)
        ),
    ],
)
def test_sizes_that_make_no_sense_are_refused_before_anything_is_made(changes, match, folder, change):
    change(**changes)
    with pytest.raises(ModelError, match=match):
        load_pretrained(str(folder))


@pytest.mark.fault("E13")
@pytest.mark.parametrize(
    "changes", [{"model_type": "qwen3", "layer_types": ["sliding_attention"], "use_sliding_window": True}]
)
def test_lists_shorter_than_the_layers_are_refused(changes, folder, change):
    change(sliding_window=4, **changes)
    with pytest.raises(ModelError, match="makes no sense"):
        load_pretrained(str(folder))


@pytest.mark.fault("E13")
@pytest.mark.parametrize(("name", "value"), [("layers", 100_000), ("width", 1 << 40), ("layers", 1000)])
def test_sizes_of_a_recurrent_model_are_bounded(name, value, build, tokenizer, change, tmp_path):
    save_model(tmp_path, build("recurrent"), tokenizer)
    settings = json.loads((tmp_path / "config.json").read_text())["settings"]
    change(settings=settings | {name: value})
    with pytest.raises(ModelError, match=f"{name} must be from|describes 1,000 layers"):
        load_pretrained(str(tmp_path))


@pytest.mark.fault("E13")
@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ({"shape": [-1, -32], "data_offsets": [0, 128]}, "does not fill its place"),
        ({"shape": [32.0], "data_offsets": [0, 128]}, "does not fill its place"),
        ({"shape": [32], "data_offsets": [64, 192]}, "its tensors overlap, or bytes lie between"),
        ({"shape": [16], "data_offsets": [0, 64]}, "its tensors overlap, or bytes lie between"),
    ],
)
def test_a_table_of_contents_that_does_not_tile_the_file_is_refused(entry, match, folder):
    table = json.dumps({"model.norm.weight": {"dtype": "F32"} | entry}).encode()
    stop = max(entry["data_offsets"][1], 128)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(table)) + table + bytes(stop))
    with pytest.raises(ModelError, match=match):
        load_pretrained(str(folder))


# --------------------------------------------------------------------------------------------- settings of config.json
@pytest.mark.fault("B8")
@pytest.mark.parametrize(
    "changes",
    [
        {"partial_rotary_factor": 0.5},
        {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        {"rope_parameters": {"rope_theta": 1e4, "mrope_section": [1, 1, 2]}},
        {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4, "mscale": 0.7}},
    ],
)
def test_rotary_settings_that_would_be_ignored_are_refused(changes, folder, change):
    change(**changes)
    with pytest.raises(ModelError, match=r"asks for rotary positions with .* not supported"):
        load_pretrained(str(folder))


READ = [
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "rms_norm_eps",
    "rope_parameters",
    "attention_bias",
    "mlp_bias",
    "hidden_act",
    "hidden_activation",
    "layer_types",
    "sliding_window",
    "no_rope_layers",
    "use_sliding_window",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "max_position_embeddings",
    "use_bidirectional_attention",
    "vocab_size",
]
SILENT = [  # say nothing about a text model's logits in evaluation mode
    "attention_dropout",
    "pad_token_id",
    "use_cache",
    "image_token_id",
    "mm_tokens_per_image",
    "vision_config",
    "text_config",
    "get_text_config",
]


@pytest.mark.fault("B8")
@pytest.mark.parametrize("kind", FAMILIES)
def test_every_field_that_transformers_reads_for_a_family_is_read_here(kind):
    """A new field in transformers fails this test, and is then read, refused or listed as silent."""
    import inspect
    import re
    from importlib import import_module

    package = kind.removesuffix("_text")
    source = inspect.getsource(import_module(f"transformers.models.{package}.modeling_{package}"))
    found = {*re.findall(r"config\.([a-z]\w*)", source), *re.findall(r'config, "([a-z]\w*)"', source)}
    assert found - {*READ, *SILENT} == set()


# ---------------------------------------------------------------------------------------------------------- GGUF files
FIELDS = {
    "embedding_length": 8,
    "attention.head_count": 2,
    "feed_forward_length": 16,
    "block_count": 1,
    "attention.layer_norm_rms_epsilon": 1e-5,
}


def write(path, fields, tensors=("token_embd.weight", "output.weight", "output_norm.weight")):
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in fields.items():
        add_one = writer.add_float32 if isinstance(value, float) else writer.add_uint64
        add_one = writer.add_int64 if isinstance(value, int) and value < 0 else add_one
        (writer.add_string if isinstance(value, str) else add_one)(f"llama.{name}", value)
    for name in tensors:
        writer.add_tensor(name, np.zeros((4, 8), np.float32))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return path


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        pytest.param({"block_count": 10**9}, "block_count must be a whole number from 1 to 3", marks=E13),
        pytest.param({"embedding_length": 10**15}, "embedding_length must be a whole number", marks=E13),
        pytest.param({"embedding_length": -8}, "embedding_length must be a whole number", marks=E13),
        pytest.param({"attention.head_count": 0}, "attention.head_count must be a whole number", marks=E13),
        pytest.param({"context_length": "long"}, "context_length must be a whole number", marks=E13),
        pytest.param({"rope.freq_base": float("nan")}, "rope.freq_base must be a finite number", marks=E13),
        pytest.param({"attention.scale": 0.5}, "says llama.attention.scale 0.5, which is not supported", marks=B8),
        pytest.param({"logit_scale": 2.0}, "says llama.logit_scale 2.0, which is not supported", marks=B8),
        pytest.param({"attention.sliding_window": 64}, "says llama.attention.sliding_window 64", marks=B8),
        pytest.param({"rope.dimension_count": 2}, "rope.dimension_count is 2, and other than 4", marks=B8),
    ],
)
def test_metadata_of_a_gguf_file_that_make_no_sense_or_would_be_ignored_are_refused(changes, match, tmp_path):
    path = write(tmp_path / "model.gguf", FIELDS | changes)
    with pytest.raises(ModelError, match=match):
        shape_of(GGUFFile(path))


@pytest.mark.fault("E13")
def test_metadata_that_say_what_is_so_anyway_are_no_fault(tmp_path):
    path = write(tmp_path / "model.gguf", FIELDS | {"rope.scaling.attn_factor": 1.0, "expert_count": 0})
    assert shape_of(GGUFFile(path))[0].layers == 1


def text(word):
    return struct.pack("<Q", len(word)) + word.encode()


@pytest.mark.fault("E13")
@pytest.mark.parametrize(
    ("content", "match"),
    [
        (text("a") + struct.pack("<IIQ", 9, 0, 1 << 30), "a list of 1,073,741,824 values"),
        (text("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000, "or of lists"),
        (text("a") + struct.pack("<IB", 0, 1) + text("a") + struct.pack("<IB", 0, 2), "states a twice"),
        (text("general.alignment") + struct.pack("<I", 8) + text("x"), "says general.alignment x"),
    ],
    ids=["a long list", "lists of lists", "a name twice", "a word for a number"],
)
def test_metadata_that_would_fill_the_memory_are_refused(content, match, tmp_path):
    path = tmp_path / "model.gguf"
    fields = 2 if "twice" in match else 1
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, fields) + content + bytes(64))
    with pytest.raises(ModelError, match=match):
        GGUFFile(path)


@pytest.mark.fault("E16")
def test_an_architecture_that_is_no_word_is_refused(tmp_path):
    path = tmp_path / "model.gguf"
    words = text("general.architecture") + struct.pack("<IIQ", 9, 8, 1) + text("llama")
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + words + bytes(64))
    with pytest.raises(ModelError, match="holds a model of architecture"):
        shape_of(GGUFFile(path))


@pytest.mark.fault("E13")
def test_queries_that_do_not_divide_into_heads_are_refused(tmp_path):
    shape = TransformerSettings(width=8, layers=1, heads=2, qk_norm=False, tied=False)
    names = [place.gguf for place in places(shape)]
    file = GGUFFile(write(tmp_path / "model.gguf", FIELDS | {"attention.key_length": 6}, names))
    with pytest.raises(ModelError, match=r"holds blk\.0\.attn_q\.weight of 4 rows, and a head has 6"):
        list(tensors_of(file, shape_of(file)[0]))


@pytest.mark.fault("E13")
def test_a_gguf_file_that_is_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "model.gguf")
    with pytest.raises(ModelError, match="it is a pipe, and a regular file is needed"):
        load_pretrained(str(tmp_path / "model.gguf"))


@pytest.mark.fault("E13")
def test_a_tokenizer_that_asks_to_cut_or_to_fill_texts_reads_them_whole(folder):
    path = folder / "tokenizer.json"
    settings = json.loads(path.read_text())
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    fill = {"strategy": {"Fixed": 100_000}, "direction": "Right", "pad_to_multiple_of": None}
    settings |= {"truncation": cut, "padding": fill | {"pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}}
    path.write_text(json.dumps(settings))
    tokenizer = load_pretrained(str(folder)).tokenizer
    assert tokenizer.encode("1 2 3 4") == [6, 7, 8, 9]
