"""Adapters start as nothing, learn what the matrices would, and are what peft takes them for."""

import copy
import json
import shutil
from dataclasses import replace

import pytest
import torch

from poziomka.core.errors import ModelError
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weights import save_model
from poziomka.models.lora import (
    LoraSettings,
    adapted,
    attach,
    copied_adapters,
    load_peft,
    merged,
    other_adapters,
    save_peft,
)

SETTINGS = LoraSettings(rank=3, alpha=5.0)
B8, E13 = pytest.mark.fault("B8"), pytest.mark.fault("E13")


def stirred(model, seed=0):
    """The same with adapters that are no longer nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapters." in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model


def logits_of(model):
    tokens = torch.tensor([[1, 5, 3, 11, 9, 2]])
    return model.logits(model(tokens))


@pytest.fixture
def with_adapters(transformer):
    attach(transformer, SETTINGS, 0)
    return stirred(transformer)


def test_fresh_adapters_change_nothing(transformer):
    before = logits_of(transformer)
    attach(transformer, SETTINGS, 0)
    assert torch.equal(logits_of(transformer), before)


@torch.no_grad()
def test_a_folder_of_adapters_is_loaded_onto_its_base_from_a_home_folder_too(build, tokenizer, tmp_path, monkeypatch):
    model = build("llama")
    for name in ("base", "adapters"):
        (tmp_path / name).mkdir()
    save_model(tmp_path / "base", model, tokenizer)
    attach(model, SETTINGS, 0)
    save_peft(tmp_path / "adapters", stirred(model), str(tmp_path / "base"))
    monkeypatch.setenv("HOME", str(tmp_path))
    found = load_pretrained("~/adapters")
    assert found.source == tmp_path / "adapters"
    assert torch.allclose(logits_of(found.model), logits_of(model), atol=1e-4)


def test_only_adapters_learn(with_adapters):
    learning = {name for name, parameter in with_adapters.named_parameters() if parameter.requires_grad}
    assert learning == {name for name in with_adapters.state_dict() if ".adapters." in name}
    assert len(learning) == 2 * 7 * 2  # A and B, seven matrices, two blocks


def test_merged_weights_compute_the_same(transformer):
    plain = copy.deepcopy(transformer)
    attach(transformer, SETTINGS, 0)
    stirred(transformer)
    before = logits_of(plain)
    plain.load_state_dict(merged(transformer))
    assert torch.allclose(logits_of(plain), logits_of(transformer), atol=1e-5)
    assert (logits_of(plain) - before).abs().max() > 0.01


def test_with_its_earlier_adapters_a_model_is_what_it_was(transformer):
    attach(transformer, replace(SETTINGS, dropout=0.5), 0)
    stirred(transformer)
    transformer.eval()
    before, earlier = logits_of(transformer), copied_adapters(transformer)
    stirred(transformer)
    after = logits_of(transformer)
    with other_adapters(transformer.train(), earlier):  # without dropout, too
        assert torch.equal(logits_of(transformer), before)
    assert torch.equal(logits_of(transformer.eval()), after)
    assert not torch.equal(after, before)


def test_the_gradient_of_b_is_the_matrix_s_own_seen_through_a(transformer):
    """dL/dB = s dL/dW Aᵀ, and dL/dA is nothing while B is."""
    whole = copy.deepcopy(transformer)
    (logits_of(whole) ** 2).sum().backward()
    gradients = {name: parameter.grad for name, parameter in whole.named_parameters()}
    attach(transformer, SETTINGS, 0)
    (logits_of(transformer) ** 2).sum().backward()
    for name, product in adapted(transformer).items():
        parts = gradients[f"{name}.weight"].split([adapter.b.shape[0] for adapter in product.adapters.values()])
        for adapter, gradient in zip(product.adapters.values(), parts, strict=True):
            wanted = product.scale * gradient @ adapter.a.detach().T
            assert (adapter.b.grad - wanted).abs().max() <= 1e-4 * wanted.abs().max()
            assert not adapter.a.grad.any()


def test_a_target_that_is_left_out_has_no_adapters(transformer):
    attach(transformer, LoraSettings(targets=("feedforward",)), 0)
    assert {name.split(".")[2] for name in adapted(transformer)} == {"feedforward"}


def test_adapters_come_back_from_their_folder(transformer, tmp_path):
    plain = copy.deepcopy(transformer)
    attach(transformer, SETTINGS, 0)
    save_peft(tmp_path, stirred(transformer))
    assert load_peft(tmp_path, plain) == SETTINGS
    assert torch.equal(logits_of(plain), logits_of(transformer))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.21 asks for it
@pytest.mark.parametrize("shape", ["llama", "qwen"])
def test_peft_opens_the_folder_over_transformers_model_and_computes_the_same(build, tokenizer, shape, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = build(shape)
    save_model(tmp_path, model, tokenizer)
    attach(model, SETTINGS, 0)
    (tmp_path / "adapters").mkdir()
    save_peft(tmp_path / "adapters", stirred(model), str(tmp_path))
    base = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager", dtype=torch.float32)
    other = PeftModel.from_pretrained(base, tmp_path / "adapters").eval()
    tokens = torch.tensor([[1, 5, 3, 11, 9, 2]])
    with torch.no_grad():
        assert torch.allclose(other(tokens).logits, logits_of(model), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"target_modules": ["q_proj"]}, "q_proj"),
        ({"target_modules": "all-linear"}, "not supported"),
        ({"r": None}, "cannot read"),
        ({"r": 4}, "tensors differ"),
        pytest.param({"r": 1 << 40}, "cannot read", marks=E13),
        pytest.param({"r": 1 << 18}, "tensors differ", marks=E13),
        pytest.param({"r": -3}, "cannot read", marks=E13),
        pytest.param({"lora_alpha": float("nan")}, "cannot read", marks=E13),
        pytest.param({"target_modules": [["q_proj"]]}, "not supported", marks=B8),
        pytest.param({"alpha_pattern": {"q_proj": 8}}, "says alpha_pattern", marks=B8),
        pytest.param({"rank_pattern": {"q_proj": 8}}, "says rank_pattern", marks=B8),
        pytest.param({"init_lora_weights": "pissa"}, "says init_lora_weights 'pissa'", marks=B8),
        pytest.param({"init_lora_weights": "pissa_niter_4"}, "says init_lora_weights", marks=B8),
        pytest.param({"init_lora_weights": "olora"}, "says init_lora_weights 'olora'", marks=B8),
        pytest.param({"init_lora_weights": "loftq"}, "says init_lora_weights", marks=B8),
        pytest.param({"fan_in_fan_out": True}, "says fan_in_fan_out", marks=B8),
        pytest.param({"bias": "all"}, "says bias 'all'", marks=B8),
        pytest.param({"lora_bias": True}, "says lora_bias", marks=B8),
        pytest.param({"layers_to_transform": [0]}, "says layers_to_transform", marks=B8),
        pytest.param({"layer_replication": [[0, 2]]}, "says layer_replication", marks=B8),
        pytest.param({"task_type": "SEQ_CLS"}, "says task_type 'SEQ_CLS'", marks=B8),
        pytest.param({"trainable_token_indices": [1]}, "says trainable_token_indices", marks=B8),
        pytest.param({"revision": "v2"}, "says revision 'v2'", marks=B8),
        pytest.param({"a_setting_of_tomorrow": 1}, "says a_setting_of_tomorrow '1'", marks=B8),
        pytest.param({"peft_type": None}, "no peft_type", marks=B8),
    ],
)
def test_adapters_of_another_kind_are_refused_in_words(build, tmp_path, change, said):
    model = build("llama")
    plain = copy.deepcopy(model)
    attach(model, SETTINGS, 0)
    save_peft(tmp_path, model)
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(ModelError, match=said):
        load_peft(tmp_path, plain)


@pytest.mark.parametrize("start", [True, False, "gaussian", "orthogonal", "eva"])
def test_what_peft_itself_writes_for_plain_adapters_is_read(build, start, tmp_path):
    from peft import EvaConfig, LoraConfig

    model = build("llama")
    attach(model, SETTINGS, 0)
    save_peft(tmp_path, stirred(model))
    names = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    eva = EvaConfig() if start == "eva" else None
    LoraConfig(
        r=3, lora_alpha=5, target_modules=names, task_type="CAUSAL_LM", init_lora_weights=start, eva_config=eva
    ).save_pretrained(tmp_path)
    assert load_peft(tmp_path, build("llama")) == SETTINGS


def test_a_folder_without_adapters_is_refused_in_words(build, tmp_path):
    with pytest.raises(ModelError, match="cannot read the adapters"):
        load_peft(tmp_path, build("llama"))
    model = build("llama")
    attach(model, SETTINGS, 0)
    save_peft(tmp_path, model)
    shutil.copy(tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="cannot read the adapters"):
        load_peft(tmp_path, build("llama"))


def test_what_cannot_have_adapters_says_so(build, with_adapters):
    with pytest.raises(ModelError, match="has adapters already"):
        attach(with_adapters, SETTINGS, 0)
    with pytest.raises(ModelError, match="is a recurrent"):
        attach(build("recurrent"), SETTINGS, 0)


def test_an_unknown_target_is_answered_with_the_nearest():
    with pytest.raises(ModelError, match="did you mean 'attention'"):
        LoraSettings(targets=("atention",))
