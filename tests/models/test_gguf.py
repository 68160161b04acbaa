"""GGUF files: what we export, llama.cpp runs and we read back; what is damaged is refused in words."""

import json
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from tokenizers import decoders, models, pre_tokenizers

from poziomka.core.disk_cache import cache_folder
from poziomka.core.errors import ModelError
from poziomka.models.checkpoints.gguf.conversion import converted, shape_of
from poziomka.models.checkpoints.gguf.file import GGUFFile
from poziomka.models.checkpoints.gguf.writer import export_gguf
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weights import save_model
from poziomka.models.config import SlidingWindow, TransformerSettings
from poziomka.models.layers.rotary import RopeScaling
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import Transformer

TOP_TOKENS = """
import json, sys
import numpy as np
from llama_cpp import Llama
found = {}
for path, texts in json.load(sys.stdin).items():
    model = Llama(path, n_ctx=128, logits_all=True, verbose=False, n_threads=1)
    found[path] = []
    for text in texts:
        model.reset()
        model.eval(text)
        found[path].append(np.asarray(model.scores[: len(text)]).argmax(-1).tolist())
print(json.dumps(found))
"""
SPECIAL = ["<|end|>", "<|begin|>", "<|pad|>"]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
SHAPES = {
    "llama": {"rope_scaling": RopeScaling(kind="llama3", factor=8.0, original=8192, fast=4.0), "tied": True},
    "llama with biases": {"qkv_bias": True, "out_bias": True, "rope_scaling": RopeScaling(factor=4.0)},
    "mistral": {"family": "mistral", "head_width": 24, "rope_base": 1e6, "epsilon": 1e-6},
    "qwen2": {"qkv_bias": True, "rope_scaling": RopeScaling(kind="yarn", factor=4.0, original=64)},
    "qwen3": {"qk_norm": True, "head_width": 32},
    "smollm3": {"layers": 8, "unrotated": (3, 7), "rope_base": 2e6},
    "gemma3": {
        "layers": 12,
        "head_width": 32,
        "qk_norm": True,
        "tied": True,
        "gate": "gelu_tanh",
        "offset_norms": True,
        "post_norms": True,
        "scaled_embedding": True,
        "query_scale": 32.0,
        "rope_base": 1e6,
        "rope_scaling": RopeScaling(factor=8.0),
        "window": SlidingWindow(tokens=9, layers=(0, 1, 2, 3, 4, 6, 7, 8, 9, 10), rope_base=10_000.0),
        "family": "gemma3_text",
    },
}
BASE = {"width": 64, "layers": 3, "heads": 4, "key_heads": 2, "inner": 96, "qk_norm": False, "tied": False}


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """Byte-level BPE of 300 tokens, with special ones and a chat template, as a checkpoint's folder has it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator([Path(__file__).read_text(encoding="utf-8")], trainer)
    inner.save(str(folder / "tokenizer.json"))
    named = dict(zip(("eos_token", "bos_token", "pad_token"), SPECIAL, strict=True))
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return Tokenizer.load(folder)


@pytest.fixture
def save(tokenizer, tmp_path):
    """Saves a random model, loud enough that every feature matters."""

    def save(name="llama"):
        torch.manual_seed(3)
        model = Transformer(TransformerSettings(**(BASE | SHAPES[name])), 304).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.15)
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        save_model(folder, model, tokenizer)
        return folder, model

    return save


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POZIOMKA_CACHE", str(tmp_path / "cache"))


def texts(*shape, seed=0):
    return torch.randint(3, 300, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("name", SHAPES)
def test_an_exported_model_is_read_back_as_it_was(name, save, tokenizer, tmp_path):
    folder, model = save(name)
    export_gguf(folder, tmp_path / "model.gguf")
    again = load_pretrained(str(tmp_path / "model.gguf"))
    tokens = texts(2, 60)
    found, wanted = (each.logits(each(tokens))[..., : len(tokenizer)] for each in (again.model, model))
    assert (found - wanted).abs().max() <= 1e-5
    told_apart = (
        {"architectures", "model_type", "sliding_window"} if name == "mistral" else set()
    )  # a GGUF file's is a llama
    assert {key: value for key, value in again.model.config().items() if key not in told_apart} == {
        key: value for key, value in model.config().items() if key not in told_apart
    }
    text = "It's 12345 o'clock.\n\n  naïve café 你好 🙂 <|end|>"
    assert again.tokenizer.encode(text) == tokenizer.encode(text)
    assert (again.tokenizer.begin, again.tokenizer.end, again.tokenizer.pad) == (1, 0, 2)
    assert again.tokenizer.files.template == TEMPLATE


@pytest.mark.peers
@torch.no_grad()
def test_llama_cpp_says_the_same_tokens(llama_cpp, save, tmp_path):
    """≥ 99 % of the likeliest next tokens agree, teacher-forced, in every family."""
    tokens, wanted, asked = texts(3, 100), {}, {}
    for name in SHAPES:
        folder, model = save(name)
        path = tmp_path / f"{folder.name}.gguf"
        export_gguf(folder, path)
        wanted[str(path)] = model.logits(model(tokens)).argmax(-1)
        asked[str(path)] = tokens.tolist()
    found = llama_cpp(TOP_TOKENS, asked)
    agreed = {Path(path).stem: float((torch.tensor(found[path]) == wanted[path]).float().mean()) for path in wanted}
    assert min(agreed.values()) >= 0.99, agreed


# ------------------------------------------------------------------------------------------------------ quantised
@pytest.mark.parametrize(
    "kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16", "BF16", "Q2_K", "Q4_K", "Q6_K", "IQ4_XS"]
)
def test_quantised_tensors_are_read_as_the_package_dequantises_them(kind, tmp_path):
    kind = gguf.GGMLQuantizationType[kind]
    block, nbytes = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(0)
    data = random.integers(0, 60, (6, 2 * nbytes), np.uint8)  # scales small enough to be finite
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("one", random.standard_normal((3, 5)).astype(np.float32))
    writer.add_tensor("two", data, raw_dtype=kind)
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    file = GGUFFile(tmp_path / "model.gguf")
    assert file.stored["two"].shape == (6, 2 * block)
    assert np.array_equal(file.tensor("two"), gguf.dequantize(data, kind).reshape(6, 2 * block))


def test_metadata_are_read_as_the_package_reads_them(save, tmp_path):
    folder, _ = save("qwen3")
    export_gguf(folder, tmp_path / "model.gguf")
    wanted = {
        name: field.contents()
        for name, field in gguf.GGUFReader(tmp_path / "model.gguf").fields.items()
        if not name.startswith("GGUF.")
    }
    assert GGUFFile(tmp_path / "model.gguf").metadata == wanted


@torch.no_grad()
@pytest.mark.parametrize(("kind", "dtype"), [("f16", np.float16), ("bf16", None)])
def test_an_export_may_be_half_as_large(kind, dtype, save, tmp_path):
    folder, model = save()
    export_gguf(folder, tmp_path / "model.gguf", kind)
    again = load_pretrained(str(tmp_path / "model.gguf")).model
    weight = model.blocks[0].attention.out.weight
    wanted = weight.to(torch.float16 if dtype is not None else torch.bfloat16).float()
    assert torch.equal(again.blocks[0].attention.out.weight, wanted)
    assert torch.equal(again.norm.weight, model.norm.weight)


# ------------------------------------------------------------------------------------------------------ the cache
def test_a_file_is_converted_once_a_dtype(save, tmp_path):
    folder, _ = save()
    export_gguf(folder, tmp_path / "model.gguf")
    first = converted(tmp_path / "model.gguf", torch.float32)
    written = (first / "model.safetensors").stat().st_mtime_ns
    (tmp_path / "model.gguf").rename(tmp_path / "other.gguf")  # the contents count, not the name
    assert converted(tmp_path / "other.gguf", torch.float32) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == written
    assert converted(tmp_path / "other.gguf", torch.bfloat16) != first
    assert sorted(path.name[:5] for path in (cache_folder() / "gguf").iterdir()) == sorted([first.name[:5]] * 2)


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "unsealed"])
def test_a_damaged_conversion_is_made_anew(damage, save, tmp_path):
    folder, _ = save()
    export_gguf(folder, tmp_path / "model.gguf")
    kept = converted(tmp_path / "model.gguf", torch.float32)
    weights = kept / "model.safetensors"
    wanted = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(wanted[:-8])
    elif damage == "changed":
        weights.write_bytes(wanted[:-9] + bytes([wanted[-9] ^ 1]) + wanted[-8:])
    elif damage == "missing":
        (kept / "tokenizer.json").unlink()
    else:
        (kept / "sizes.json").write_text("{")
    assert converted(tmp_path / "model.gguf", torch.float32) == kept
    assert weights.read_bytes() == wanted
    assert (kept / "tokenizer.json").is_file()


def test_a_cache_that_cannot_be_written_is_said(save, tmp_path, monkeypatch):
    folder, _ = save()
    export_gguf(folder, tmp_path / "model.gguf")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POZIOMKA_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot keep the converted weights .* POZIOMKA_CACHE names another folder"):
        converted(tmp_path / "model.gguf", torch.float32)


# ------------------------------------------------------------------------------------------------------ bad input
def write(path, fields, tensors):
    """Writes a GGUF file of these metadata and tensors."""
    writer = gguf.GGUFWriter(path, fields["general.architecture"])
    for name, value in fields.items():
        if name != "general.architecture":
            (writer.add_string if isinstance(value, str) else writer.add_uint32)(name, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return path


def test_what_is_no_gguf_file_is_refused(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ModelError, match="is not a GGUF file"):
        load_pretrained(str(path))


def test_another_version_is_refused(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
    with pytest.raises(ModelError, match="is of version 1; known: 2, 3"):
        load_pretrained(str(path))


@pytest.mark.parametrize("kept", [10, 200, 5000, -4000])
def test_a_file_cut_short_is_refused_wherever_it_ends(kept, save, tmp_path):
    folder, _ = save()
    path = tmp_path / "model.gguf"
    export_gguf(folder, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"is cut short.*fetch it again"):
        load_pretrained(str(path))


def test_an_unknown_architecture_is_refused(tmp_path):
    path = write(tmp_path / "model.gguf", {"general.architecture": "mamba"}, {"one": np.zeros((1, 2), np.float32)})
    with pytest.raises(ModelError, match="holds a model of architecture 'mamba'; known: gemma3, llama, qwen2"):
        load_pretrained(str(path))


def test_a_mixture_of_experts_is_refused(tmp_path):
    fields = {"general.architecture": "llama", "llama.expert_count": 8}
    path = write(tmp_path / "model.gguf", fields, {"one": np.zeros((1, 2), np.float32)})
    with pytest.raises(ModelError, match="a mixture of 8 experts, which is not supported"):
        load_pretrained(str(path))


def test_missing_metadata_are_named(tmp_path):
    fields = {"general.architecture": "llama", "llama.embedding_length": 8, "llama.attention.head_count": 2}
    path = write(tmp_path / "model.gguf", fields, {"one": np.zeros((1, 2), np.float32)})
    with pytest.raises(ModelError, match="does not say 'block_count' of its llama model"):
        load_pretrained(str(path))


def test_an_unknown_type_of_tensor_is_refused(save, tmp_path):
    folder, _ = save()
    path = tmp_path / "model.gguf"
    export_gguf(folder, path)
    data = path.read_bytes()
    at = data.index(b"output_norm.weight") + len(b"output_norm.weight") + 4 + 8
    path.write_bytes(data[:at] + struct.pack("<I", 4) + data[at + 4 :])  # 4 was once a type, and is none any more
    with pytest.raises(ModelError, match=r"holds output_norm\.weight in the unknown type 4"):
        load_pretrained(str(path))


def test_a_type_that_cannot_be_dequantised_is_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("one", np.zeros((1, 40), np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_1)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    with pytest.raises(ModelError, match="tensors of type Q8_1, which cannot be dequantised"):
        load_pretrained(str(tmp_path / "model.gguf"))


def test_missing_tensors_are_counted(save, tmp_path):
    folder, _ = save()
    path = tmp_path / "model.gguf"
    export_gguf(folder, path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"blk.0.attn_norm.weight", b"blk.0.attn_morn.weight"))
    with pytest.raises(ModelError, match=r"lacks blk\.0\.attn_norm\.weight$"):
        load_pretrained(str(path))


# ------------------------------------------------------------------------------------------- what cannot be exported
@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ({"window": SlidingWindow(tokens=9), "family": "mistral"}, "llama.cpp knows no sliding windows there"),
        ({"unrotated": (1,), "family": "smollm3"}, "knows no rotary positions in these layers"),
    ],
)
def test_a_model_that_llama_cpp_would_run_otherwise_is_not_exported(shape, match, tokenizer, tmp_path):
    save_model(tmp_path, Transformer(TransformerSettings(**(BASE | shape)), 304), tokenizer)
    with pytest.raises(ModelError, match=match):
        export_gguf(tmp_path, tmp_path / "model.gguf")
    assert not list(tmp_path.glob("*.gguf"))


def test_a_tokenizer_of_symbols_is_not_exported(tmp_path):
    tokenizer = Tokenizer.of_symbols(["a", "b"])
    save_model(tmp_path, Transformer(TransformerSettings(**BASE), len(tokenizer)), tokenizer)
    with pytest.raises(ModelError, match="is of kind WordLevel, and only BPE fits"):
        export_gguf(tmp_path, tmp_path / "model.gguf")


def test_an_unknown_kind_of_export_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(ModelError, match="unknown kind of weights 'b16'; did you mean 'bf16'"):
        export_gguf(tmp_path, tmp_path / "model.gguf", "b16")


def test_the_shape_is_read_from_the_metadata_alone(save, tmp_path):
    folder, model = save("gemma3")
    export_gguf(folder, tmp_path / "model.gguf")
    settings, vocabulary = shape_of(GGUFFile(tmp_path / "model.gguf"))
    assert (settings.window, settings.query_scale, vocabulary) == (model.settings.window, 32.0, 304)


@pytest.mark.fault("B6")
def test_a_head_that_was_saved_is_exported_though_it_is_called_tied(save, tmp_path):
    folder, _ = save("gemma3")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    head = tensors["model.embed_tokens.weight"].flip(0).contiguous()
    save_file(tensors | {"lm_head.weight": head}, path)
    export_gguf(folder, tmp_path / "model.gguf")
    assert torch.equal(load_pretrained(str(tmp_path / "model.gguf")).model.head_weight, head)
