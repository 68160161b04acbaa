"""Every file that states where a reply ends agrees with where training ended it."""

import json

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers

from poziomka.core.errors import ModelError
from poziomka.models.checkpoints.gguf.file import GGUFFile
from poziomka.models.checkpoints.gguf.writer import export_gguf
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weights import build_model, save_model, save_tensors
from poziomka.models.config import TransformerSettings
from poziomka.models.lora import LoraSettings, attach, save_learned

pytestmark = pytest.mark.fault("B1")
NAMES = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build():
    return build_model("transformer", TransformerSettings(width=16, heads=2, layers=1, qk_norm=False), 260, 0)


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A folder as Qwen2's base models are: its files name <|endoftext|>, its template ends turns with <|im_end|>."""
    monkeypatch.setenv("POZIOMKA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "base"
    folder.mkdir()
    tokens = [*NAMES, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
    inner = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [("a", "b")]))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(NAMES)
    inner.save(str(folder / "tokenizer.json"))
    named = {"eos_token": {"content": NAMES[0], "lstrip": False}, "pad_token": NAMES[0]}
    (folder / "special_tokens_map.json").write_text(json.dumps(named))
    (folder / "tokenizer_config.json").write_text(json.dumps(named | {"chat_template": CHATML, "bos_token": None}))
    model = build()
    config = model.config() | {"eos_token_id": 0, "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 0, "temperature": 0.7}))
    save_tensors(folder / "model.safetensors", model.export())
    return folder


@pytest.mark.parametrize("ends", [{}, [{}], [[0]], "0", 1.5, True, None, [None, 0], [0, {"a": 1}]])
def test_a_stated_end_that_is_no_id_is_replaced(base, tmp_path, ends):
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    loaded = load_pretrained(str(base))
    save_learned(tmp_path, loaded.model, loaded.tokenizer)
    assert 2 in np.atleast_1d(read(tmp_path, "generation_config.json")["eos_token_id"])


def read(folder, name):
    return json.loads((folder / name).read_text())


def demand_ends(folder, *, whole=True):
    assert read(folder, "generation_config.json") == {"eos_token_id": [2, 0], "temperature": 0.7}
    assert read(folder, "tokenizer_config.json")["eos_token"] == "<|im_end|>"
    assert read(folder, "special_tokens_map.json")["eos_token"] == "<|im_end|>"
    if whole:
        assert read(folder, "config.json")["eos_token_id"] == [2, 0]


@pytest.fixture
def trained(base, tmp_path):
    """The folders that training the whole model, and adapters, saves."""
    loaded = load_pretrained(str(base))
    assert (loaded.tokenizer.end, loaded.tokenizer.ends) == (2, {0, 2})
    for name in ("whole", "adapters"):
        (tmp_path / name).mkdir()
    save_learned(tmp_path / "whole", loaded.model, loaded.tokenizer)
    attach(loaded.model, LoraSettings(rank=2), 0)
    save_learned(tmp_path / "adapters", loaded.model, loaded.tokenizer, str(base))
    return tmp_path


def test_all_files_of_a_trained_model_name_the_ends_of_training(trained):
    demand_ends(trained / "whole")
    demand_ends(trained / "adapters", whole=False)


def test_merged_adapters_name_them_too(trained):
    from poziomka.app.cli.export import export

    export(trained / "adapters", trained / "merged.gguf", trained / "merged", "f32")
    demand_ends(trained / "merged")
    demand_ends_of_gguf(trained / "merged.gguf")


def demand_ends_of_gguf(path):
    metadata = GGUFFile(path).metadata
    assert metadata["tokenizer.ggml.eos_token_id"] == 2
    assert metadata["tokenizer.ggml.eot_token_id"] == 0


def test_a_gguf_file_of_a_trained_model_names_them(trained):
    export_gguf(trained / "whole", trained / "model.gguf")
    demand_ends_of_gguf(trained / "model.gguf")
    again = load_pretrained(str(trained / "model.gguf"))
    assert (again.tokenizer.end, again.tokenizer.ends) == (2, {0, 2})


def test_transformers_ends_there(trained):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(trained / "whole")
    assert model.generation_config.eos_token_id == [2, 0]
    assert AutoTokenizer.from_pretrained(trained / "whole").eos_token == "<|im_end|>"


def test_files_that_agree_are_given_back_byte_for_byte(trained, tmp_path):
    again = load_pretrained(str(trained / "whole"))
    (tmp_path / "again").mkdir()
    save_model(tmp_path / "again", again.model, again.tokenizer)
    for name in ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (trained / "whole" / name).read_bytes()


def test_a_template_that_writes_the_end_by_name_keeps_its_name(base, tmp_path):
    """Else another token would stand in its prompts."""
    config = read(base, "tokenizer_config.json") | {"chat_template": "{{ eos_token }}" + CHATML}
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = load_pretrained(str(base))
    (tmp_path / "saved").mkdir()
    save_model(tmp_path / "saved", loaded.model, loaded.tokenizer)
    assert read(tmp_path / "saved", "tokenizer_config.json") == config
    assert read(tmp_path / "saved", "generation_config.json")["eos_token_id"] == [2, 0]
    assert load_pretrained(str(tmp_path / "saved")).tokenizer.end == 2


def test_adapters_are_read_with_the_tokenizer_in_their_own_folder(trained):
    config = read(trained / "adapters", "tokenizer_config.json")
    other = config["chat_template"].replace("<|im_start|>", "<|im_end|>")
    (trained / "adapters" / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": other}))
    assert load_pretrained(str(trained / "adapters")).chat.source == other


@torch.no_grad()
def test_adapters_that_go_onto_adapters_are_refused(trained):
    path = trained / "adapters" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(trained / "adapters")}))
    with pytest.raises(ModelError, match="which holds adapters itself"):
        load_pretrained(str(trained / "adapters"))
