"""`poziomka export`: a run's newest weights as a GGUF file."""

import json

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers

from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weights import build_model, save_model
from poziomka.models.config import TransformerSettings
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.runs.storage.checkpoint import write_checkpoint


@pytest.fixture
def save(tmp_path):
    """Saves a tiny model that reads bytes; returns it."""
    tokens = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
    inner = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [("a", "b")]))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    inner.add_special_tokens(["<end>"])
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    inner.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    tokenizer = Tokenizer.load(folder)

    def save(folder):
        model = build_model("transformer", TransformerSettings(width=16, heads=2, layers=1), len(tokenizer), 0)
        save_model(folder, model, tokenizer)
        return model

    return save


def test_a_runs_newest_weights_are_written(poziomka, finished, save, tmp_path, monkeypatch):
    monkeypatch.setenv("POZIOMKA_CACHE", str(tmp_path / "cache"))
    saved = []
    write_checkpoint(finished / "checkpoints", 900, lambda folder: saved.append(save(folder)), {}, None)
    status, output, errors = poziomka("export", finished, "--gguf", tmp_path / "model.gguf", "--kind", "f16")
    assert status == 0, errors
    assert f"step-000900 is written to {tmp_path / 'model.gguf'} (" in output
    again = load_pretrained(str(tmp_path / "model.gguf"))
    assert torch.equal(again.model.norm.weight, saved[0].norm.weight)


def test_a_checkpoint_is_written(poziomka, save, tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    save(folder)
    status, output, errors = poziomka("export", folder, "--gguf", tmp_path / "model.gguf")
    assert status == 0, errors
    assert "MiB, f32)" in output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--gguf", "model.gguf"], "it is of kind WordLevel, and only BPE fits"),
        ([], "export needs to know what to write: give --gguf FILE"),
        (["--gguf", "model.gguf", "--kind", "q4"], "unknown kind of weights 'q4'"),
    ],
)
def test_what_cannot_be_written_is_said(words, sentence, poziomka, reference, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, errors = poziomka("export", reference, *words)
    assert (status, errors.count("\n")) == (2, 1)
    assert sentence in errors
    assert not list(tmp_path.glob("*.gguf"))
