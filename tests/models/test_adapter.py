"""Models that are no family of ours run through transformers, or are refused."""

import ast
import io
from array import array
from pathlib import Path

import pytest
import torch
import transformers

from poziomka.core.errors import ModelError
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import Example
from poziomka.models.base import Packing
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weights import load_weights, save_model
from poziomka.models.hf_model import HFModel
from poziomka.models.text.tokenizer import Tokenizer
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
    assert isinstance(found.model, HFModel)
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


def test_missing_weights_are_not_made_up(save, change, tmp_path):
    save("gpt2", **KINDS["gpt2"])
    change(n_layer=3)
    with pytest.raises(ModelError, match=r"do not fit its config.json: .*h\.2\."):
        load_pretrained(str(tmp_path))


def test_without_transformers_the_extra_is_named(save, tmp_path, monkeypatch):
    save("gpt2", **KINDS["gpt2"])
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ModelError, match=r"'gpt2', which is no family of ours; .*pip install 'poziomka\[hub\]'"):
        load_pretrained(str(tmp_path))


# --------------------------------------------------------------------------------------------------- code of a folder
CODE = """
from pathlib import Path
from transformers import GPT2Config, GPT2LMHeadModel
Path({mark!r}).touch()
class Config(GPT2Config):
    model_type = "strange"
class Model(GPT2LMHeadModel):
    config_class = Config
"""


@pytest.fixture
def coded(save, change, tmp_path, monkeypatch):
    """Gives a folder's config.json other fields, beside code that leaves a mark; `y` waits on standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 4))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    save("gpt2", **KINDS["gpt2"])
    mark = tmp_path / "ran"
    (tmp_path / "code.py").write_text(CODE.format(mark=str(mark)))

    def coded(**changes):
        change(**changes)
        return mark

    return coded


@pytest.mark.fault("E1")
@pytest.mark.parametrize("kind", ["strange", "mbart"])  # unknown; known, but not as such a model
def test_a_folders_code_is_never_run_whatever_is_typed(kind, coded, tmp_path, capsys):
    names = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    mark = coded(model_type=kind, auto_map=names)
    with pytest.raises(ModelError) as raised:
        load_pretrained(str(tmp_path))
    assert not mark.exists()
    assert "run the custom code" not in capsys.readouterr().out
    assert "trust_remote_code" not in str(raised.value)
    if kind == "strange":
        assert "code that comes with a model is never run" in str(raised.value)


@pytest.mark.fault("E1")
def test_code_beside_a_model_that_transformers_knows_is_left_alone(coded, tmp_path):
    mark = coded(auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"})
    assert isinstance(load_pretrained(str(tmp_path)).model, HFModel)
    assert not mark.exists()


@pytest.mark.fault("E1")
@pytest.mark.parametrize("part", [None, "text_config"])
def test_an_attention_that_is_code_on_the_hub_is_refused(part, coded, tmp_path):
    named = {"attn_implementation": "somebody/attention"}
    coded(**(named if part is None else {part: named}))
    with pytest.raises(ModelError, match="names code on the hub in attn_implementation"):
        load_pretrained(str(tmp_path))


@pytest.mark.fault("E1")
def test_no_call_into_transformers_leaves_the_question_open():
    root = Path(__file__).parents[2]
    asked = []
    for folder in ("poziomka", "benchmarks", "examples", "recipes"):
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                if node.func.attr in ("from_pretrained", "from_config") and "Auto" in ast.unparse(node.func):
                    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                    if given.get("trust_remote_code") != "False":
                        asked.append(f"{path.relative_to(root)}:{node.lineno}")
    assert not asked


# -------------------------------------------------------------------------------------------------------- positions
@pytest.mark.fault("B9")
def test_a_text_beyond_the_positions_is_refused_in_a_sentence(save, tmp_path):
    save("gpt2", **KINDS["gpt2"])
    model = load_pretrained(str(tmp_path)).model
    assert model.context == 64
    model(torch.ones(1, 64, dtype=torch.long))
    with pytest.raises(ModelError, match="a text of 65 tokens does not fit this GPT2LMHeadModel"):
        model(torch.ones(1, 65, dtype=torch.long))
    memory = model.memory(2, 4)
    model(torch.ones(2, 60, dtype=torch.long), memory, counts=torch.tensor([60, 3]))
    model(torch.ones(2, 8, dtype=torch.long), memory, counts=torch.tensor([4, 8]))  # padding may lie beyond
    with pytest.raises(ModelError, match="a text of 65 tokens"):
        model(torch.ones(2, 1, dtype=torch.long), memory)


@pytest.mark.fault("B9")
def test_texts_packed_into_a_row_longer_than_the_positions_are_read(save, tmp_path):
    save("gpt2", **KINDS["gpt2"])
    model = load_pretrained(str(tmp_path)).model
    tokens = torch.randint(3, 61, (2, 150), generator=torch.Generator().manual_seed(0))
    sequence, position = torch.full((2, 150), -1), torch.zeros(2, 150, dtype=torch.long)
    for row, lengths in enumerate(([60, 50], [40])):
        start = 0
        for number, length in enumerate(lengths):
            sequence[row, start : start + length] = 10 * row + number
            position[row, start : start + length] = torch.arange(length)
            start += length
    found = model(tokens, packing=Packing(sequence, position))
    assert torch.allclose(found[0, 60:110], model(tokens[:1, 60:110])[0], atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- learning
@pytest.mark.fault("A7")
def test_dropout_is_off_while_it_learns_unless_asked_for(save, tmp_path):
    save("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5, **KINDS["gpt2"])
    model = load_pretrained(str(tmp_path)).model
    tokens = [1, 9, 20, 33, 4, 2]
    with torch.no_grad():
        logp = torch.log_softmax(model.logits(model(torch.tensor([tokens]))), -1)[0]
    sampled = [0.0, *logp[:-1].gather(1, torch.tensor(tokens[1:]).unsqueeze(1)).squeeze(1).tolist()]
    weights = [0.0, *[1.0] * (len(tokens) - 1)]
    nothing = array("f", bytes(4 * len(tokens)))
    batch = Batch.pack([Example(array("i", tokens), array("f", weights), nothing, array("f", sampled))])
    metrics = Learner(model, LearnerSettings()).step(batch, 1e-9)
    assert metrics["policy/mismatch_kl"] < 1e-9
    asked = Learner(model, LearnerSettings(dropout=True)).step(batch, 1e-9)
    assert asked["policy/mismatch_kl"] > 1e-3


@pytest.mark.fault("B1")
def test_weights_saved_with_another_end_are_taken_back(save, tmp_path):
    """A run that trains such a model goes on, though its checkpoints name the ends of the chat template."""
    save("gpt2", **KINDS["gpt2"])
    found = load_pretrained(str(tmp_path))
    (tmp_path / "saved").mkdir()
    save_model(tmp_path / "saved", found.model, found.tokenizer.ending_with(7))
    load_weights(tmp_path / "saved", load_pretrained(str(tmp_path)).model)


# ------------------------------------------------------------------------------------------------------------- sizes
@pytest.mark.fault("E13")
@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("n_layer", 100_000, "says n_layer 100,000, and its weights are"),
        ("vocab_size", 10**12, "describes a model of"),
        ("n_embd", 1 << 20, "describes a model of"),
        ("n_positions", 1 << 30, "describes a model of"),
        ("n_embd", -16, "cannot read it as a causal model"),
    ],
)
def test_sizes_that_the_weights_do_not_bear_out_are_refused(name, value, match, save, change, tmp_path):
    save("gpt2", **KINDS["gpt2"])
    change(**{name: value})
    with pytest.raises(ModelError, match=match):
        load_pretrained(str(tmp_path))
