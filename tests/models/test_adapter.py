"""Models that are no family of ours run through transformers, or are refused."""

import pytest
import torch
import transformers

from poziomka.core.errors import ModelError
from poziomka.models.adapter import Foreign
from poziomka.models.pretrained import load_pretrained
from poziomka.models.tokenizer import Tokenizer
from poziomka.models.weights import save_model
from poziomka.testing import check_architecture

KINDS = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "olmo2": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
}
MARKS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": 61}


@pytest.fixture
def save(tmp_path):
    def save(kind, **shape):
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(kind, **MARKS, **shape)
        peer = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for parameter in peer.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        peer.save_pretrained(tmp_path)
        Tokenizer.of_symbols([str(number) for number in range(56)]).save(tmp_path)
        return peer

    return save


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_an_architectures_contract(kind, save, tmp_path):
    save(kind, **KINDS[kind])
    found = load_pretrained(str(tmp_path))
    assert isinstance(found.model, Foreign)
    assert "which is slower" in found.notes[0]
    check_architecture(found.model)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_the_peers_logits_and_is_saved_for_it(kind, save, tmp_path):
    peer = save(kind, **KINDS[kind])
    found = load_pretrained(str(tmp_path))
    tokens = torch.randint(3, 61, (2, 20), generator=torch.Generator().manual_seed(0))
    assert (found.model.logits(found.model(tokens)) - peer(tokens).logits).abs().max() <= 1e-5
    (tmp_path / "saved").mkdir()
    save_model(tmp_path / "saved", found.model, found.tokenizer)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(again(tokens).logits, peer(tokens).logits)


def test_a_model_with_another_memory_is_refused(save, tmp_path):
    save("mamba", hidden_size=32, num_hidden_layers=2, state_size=4)
    with pytest.raises(ModelError, match="MambaForCausalLM cannot be adapted: it remembers something else"):
        load_pretrained(str(tmp_path))


def test_a_model_that_scales_its_logits_is_refused(save, tmp_path):
    save("granite", logits_scaling=3.0, **KINDS["olmo2"])
    with pytest.raises(ModelError, match="a model of type 'granite' cannot be adapted: read in pieces it differs"):
        load_pretrained(str(tmp_path))


def test_missing_weights_are_not_made_up(save, tmp_path):
    save("gpt2", **KINDS["gpt2"])
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"n_layer": 2', '"n_layer": 3'))
    with pytest.raises(ModelError, match=r"do not fit its config.json: .*h\.2\."):
        load_pretrained(str(tmp_path))


def test_without_transformers_the_extra_is_named(save, tmp_path, monkeypatch):
    save("gpt2", **KINDS["gpt2"])
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ModelError, match=r"'gpt2', which is no family of ours; .*pip install 'poziomka\[hub\]'"):
        load_pretrained(str(tmp_path))
