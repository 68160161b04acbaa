"""Tiny models of every shape, loud enough that what they read matters."""

import pytest
import torch

from poziomka.models.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.models.weights import build_model

torch.set_num_threads(1)

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
