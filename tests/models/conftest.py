"""Tiny models of every shape, loud enough that what they read matters."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from poziomka.models.checkpoints.weights import build_model, save_model
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings

torch.set_num_threads(1)
PEERS = Path(__file__).resolve().parents[3] / "trl-env" / "bin" / "python"

SHAPES = {
    "transformer": {"qk_norm": False},
    "llama": {"key_heads": 2, "qk_norm": False, "inner": 40},
    "qwen": {"key_heads": 1, "qk_norm": True, "tied": False},
    "recurrent": {},
}


@pytest.fixture
def tokenizer():
    return Tokenizer.of_symbols([str(digit) for digit in range(10)])


@pytest.fixture
def build():
    def build(shape="transformer", seed=0):
        kind = "recurrent" if shape == "recurrent" else "transformer"
        model = build_model(kind, TransformerSettings(width=32, layers=2, heads=4, **SHAPES[shape]), 15, seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        return model.eval()

    return build


@pytest.fixture(params=list(SHAPES))
def model(request, build):
    return build(request.param)


@pytest.fixture(params=["transformer", "llama", "qwen"])
def transformer(request, build):
    return build(request.param)


@pytest.fixture
def folder(build, tokenizer, tmp_path):
    """A folder in the hub's layout, which `change` and `reweigh` change."""
    save_model(tmp_path, build("llama"), tokenizer)
    return tmp_path


@pytest.fixture
def change(tmp_path):
    """Changes fields of config.json; None takes one away."""

    def change(**changes):
        path = tmp_path / "config.json"
        config = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))

    return change


@pytest.fixture
def reweigh(tmp_path):
    """Changes the stored tensors, by a function that changes them in a dict."""

    def reweigh(alter):
        tensors = load_file(tmp_path / "model.safetensors")
        alter(tensors)
        save_file(tensors, tmp_path / "model.safetensors")

    return reweigh


@pytest.fixture(scope="session")
def llama_cpp():
    """Runs a script where llama-cpp-python is installed: JSON in, JSON out; skips, loudly, where it is not."""
    python = Path(os.environ.get("POZIOMKA_PEERS", PEERS))
    try:
        installed = subprocess.run([python, "-c", "import llama_cpp"], capture_output=True, check=False).returncode == 0
    except OSError:
        installed = False
    if not installed:
        pytest.skip(
            f"NOT CHECKED against llama.cpp, which {python} has not: python -m venv ENV && ENV/bin/pip install "
            "llama-cpp-python, then set POZIOMKA_PEERS=ENV/bin/python"
        )

    def run(script, given):
        done = subprocess.run(
            [python, "-c", script], input=json.dumps(given), capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    return run
