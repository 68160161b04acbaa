"""Each family's models give what transformers gives, read at once or remembered, and open there once we saved them."""

import copy
import json
import math
from contextlib import suppress

import pytest
import torch
import transformers
from safetensors.torch import load_file

from poziomka.core.errors import ModelError
from poziomka.models.checkpoints import pretrained
from poziomka.models.checkpoints.families import from_config
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weights import save_model
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import Transformer
from poziomka.testing import check_architecture

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
PLAIN = {"rope_type": "default", "rope_theta": 3e4}
NEAR = {"use_sliding_window": True, "sliding_window": 5}
MODELS = {
    "llama": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True, "head_dim": 16}),
    "llama with biases": ("llama", {"attention_bias": True, "rope_parameters": LINEAR}),
    "mistral": ("mistral", {"sliding_window": 5, "rope_parameters": PLAIN}),
    "mistral without a window": ("mistral", {"sliding_window": None, "head_dim": 10}),
    "qwen2": ("qwen2", NEAR | {"max_window_layers": 2, "rope_parameters": YARN}),
    "qwen2 without a window": ("qwen2", {"tie_word_embeddings": True, "rms_norm_eps": 1e-3}),
    "qwen3": ("qwen3", {"head_dim": 16, "rope_parameters": YARN | {"truncate": False}}),
    "qwen3 with a window": ("qwen3", NEAR | {"max_window_layers": 1, "attention_bias": True, "head_dim": 12}),
    "smollm3": ("smollm3", {"rope_parameters": PLAIN}),
    "smollm3 with a window": ("smollm3", NEAR | {"no_rope_layers": [1, 0, 1, 0], "tie_word_embeddings": False}),
    "gemma3": (
        "gemma3_text",
        {
            "num_hidden_layers": 7,
            "head_dim": 16,
            "sliding_window": 5,
            "query_pre_attn_scalar": 24,
            "rope_parameters": {"full_attention": LINEAR, "sliding_attention": {"rope_theta": 1e2}},
        },
    ),
}


@pytest.fixture(scope="session")
def peers():
    """Models made by transformers, loud enough that every feature matters: name -> (peer, ours)."""
    made = {}
    for name, (kind, changes) in MODELS.items():
        torch.manual_seed(7)
        config = transformers.AutoConfig.for_model(kind, **(SHAPE | changes))
        peer = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for parameter in peer.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.15)
        settings, vocabulary = from_config(json.loads(config.to_json_string(use_diff=False)))
        ours = Transformer(settings, vocabulary).eval()
        ours.load_exported(peer.state_dict())
        made[name] = (peer, ours)
    return made


@pytest.fixture(params=list(MODELS))
def pair(request, peers):
    return peers[request.param]


def texts(*shape, seed=0):
    return torch.randint(3, 61, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_a_text_read_at_once_gives_the_peers_logits(pair):
    peer, ours = pair
    tokens = texts(2, 70)
    found, wanted = ours.logits(ours(tokens)), peer(tokens).logits
    assert wanted.std() > 0.3  # loud
    assert (found - wanted).abs().max() <= 1e-4


@torch.no_grad()
def test_ragged_texts_decoded_from_a_memory_give_the_peers_logits(pair):
    peer, ours = pair
    lengths = [3, 17, 9]
    rows = texts(3, 40, seed=1)
    memory = ours.memory(3, 8)
    read = torch.stack([torch.nn.functional.pad(row[:n], (0, 17 - n)) for row, n in zip(rows, lengths, strict=True)])
    found = ours.logits(ours(read, memory, counts=torch.tensor(lengths)))
    wanted = peer(rows).logits
    for row, length in enumerate(lengths):
        assert (found[row, :length] - wanted[row, :length]).abs().max() <= 1e-4
    for step in range(12):
        tokens = torch.stack([row[n + step] for row, n in zip(rows, lengths, strict=True)]).unsqueeze(1)
        found = ours.logits(ours(tokens, memory))[:, 0]
        for row, length in enumerate(lengths):
            assert (found[row] - wanted[row, length + step]).abs().max() <= 1e-4


def test_every_family_keeps_an_architectures_contract(pair):
    check_architecture(pair[1])


@pytest.fixture(scope="session")
def tokenizer():
    return Tokenizer.of_symbols([str(number) for number in range(56)])


@torch.no_grad()
def test_what_we_save_opens_in_transformers_as_that_family(pair, tokenizer, tmp_path):
    peer, ours = pair
    save_model(tmp_path, ours, tokenizer)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is type(peer)
    assert again.dtype is torch.float32
    tokens = texts(2, 70)
    assert torch.equal(again(tokens).logits, peer(tokens).logits)
    assert again.config.max_position_embeddings == 256
    assert (again.config.bos_token_id, again.config.eos_token_id, again.config.pad_token_id) == (1, 2, 0)


@torch.no_grad()
def test_what_we_save_opens_here_as_it_was(pair, tokenizer, tmp_path):
    _, ours = pair
    save_model(tmp_path, ours, tokenizer)
    again = load_pretrained(str(tmp_path)).model
    assert again.settings == ours.settings
    tokens = texts(2, 70)
    assert torch.equal(again.logits(again(tokens)), ours.logits(ours(tokens)))


@torch.no_grad()
def test_what_transformers_saves_in_shards_and_bf16_goes_through_us_unchanged(pair, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "multiplies_bfloat16", lambda: True)  # nothing is multiplied in it here
    peer, _ = pair
    wanted = copy.deepcopy(peer).to(torch.bfloat16)
    theirs, saved = tmp_path / "theirs", tmp_path / "saved"
    saved.mkdir()
    wanted.save_pretrained(theirs, max_shard_size="30KB")
    tokenizer.save(theirs)
    assert len(list(theirs.glob("model-*.safetensors"))) > 2
    loaded = load_pretrained(str(theirs), "bfloat16")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    save_model(saved, loaded.model, loaded.tokenizer)
    found, state = load_file(saved / "model.safetensors"), wanted.state_dict()
    tied = {"lm_head.weight"} if wanted.config.tie_word_embeddings else set()
    assert set(found) == set(state) - tied
    assert all(found[name].dtype is torch.bfloat16 and torch.equal(found[name], state[name]) for name in found)
    assert transformers.AutoModelForCausalLM.from_pretrained(saved).dtype is torch.bfloat16
    again = transformers.AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32)
    in_full = load_pretrained(str(saved), "float32").model
    tokens = texts(2, 30)
    assert (in_full.logits(in_full(tokens)) - again(tokens).logits).abs().max() <= 1e-4


@pytest.mark.parametrize(
    "value",
    [math.inf, -math.inf, math.nan, 1e300, 10**400, -1, 0.5, None, "x", [], {}, True],
    ids=lambda value: str(value)[:9],
)
@pytest.mark.parametrize(
    "name", ["max_window_layers", "sliding_window", "num_hidden_layers", "layer_types", "rope_theta"]
)
def test_a_setting_that_is_no_sound_number_is_refused_or_ignored(name, value):
    config = transformers.AutoConfig.for_model("qwen2", **(SHAPE | NEAR | {"max_window_layers": 2})).to_dict()
    with suppress(ModelError):
        from_config(config | {name: value})


@pytest.mark.parametrize(("first", "near"), [(0, (0, 1, 2)), (1, (1, 2)), (2, (2,))])
def test_layers_below_max_window_layers_have_no_window(first, near):
    config = transformers.AutoConfig.for_model("qwen2", **(SHAPE | NEAR | {"num_hidden_layers": 3})).to_dict()
    config.pop("layer_types", None)
    assert from_config(config | {"max_window_layers": first})[0].window.layers == near
