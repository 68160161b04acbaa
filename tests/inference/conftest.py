"""Tiny models whose words depend on what they read, engines over them, and a desk that takes requests."""

import copy
from array import array

import pytest
import torch

from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Message, Transcript
from poziomka.inference.engine import Engine, EngineLimits, SpecialTokens, Request
from poziomka.inference.local import LocalSampler
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings

torch.set_num_threads(1)

SHAPES = {
    "transformer": {"qk_norm": False},
    "llama": {"key_heads": 2, "qk_norm": False},
    "qwen": {"key_heads": 1, "qk_norm": True, "tied": False},
    "recurrent": {},
}


@pytest.fixture
def tokenizer():
    return Tokenizer.of_symbols([str(digit) for digit in range(10)])


@pytest.fixture
def chat(tokenizer):
    return PlainFormat(tokenizer)


@pytest.fixture
def build(tokenizer):
    """Fresh weights are so small that every reply is noise; these are loud enough to be told apart."""

    def build(shape="transformer", seed=0, vocabulary=None):
        kind = "recurrent" if shape == "recurrent" else "transformer"
        settings = TransformerSettings(width=32, layers=2, heads=4, **SHAPES[shape])
        model = build_model(kind, settings, vocabulary or len(tokenizer), seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.15)
        return model.eval()

    return build


@pytest.fixture
def model(build):
    return build()


@pytest.fixture(params=list(SHAPES))
def any_model(request, build):
    return build(request.param)


@pytest.fixture
def engine_of(tokenizer):
    def engine_of(model, **limits):
        marks = SpecialTokens(frozenset([tokenizer.end]), tokenizer.think, tokenizer.close)
        return Engine(copy.deepcopy(model), marks, tokenizer.decode, "v1", EngineLimits(**limits))

    return engine_of


class Desk:
    """Takes requests to an engine and keeps what was written, by name."""

    def __init__(self, engine):
        self.engine = engine
        self.pieces = {}

    def ask(self, name, prefix, thought=0, thinking=False, **sampling):
        def done(pieces):
            assert name not in self.pieces
            self.pieces[name] = pieces

        request = Request(array("i", prefix), SamplingParams(**sampling), thought, thinking, done)
        self.engine.submit(request)
        return request

    def step(self, count):
        for _ in range(count):
            self.engine.step()

    def finish(self):
        while self.engine.busy:
            self.engine.step()
        return self

    def tokens(self, name):
        return [token for piece in self.pieces[name] for token in piece.tokens]

    def logprobs(self, name):
        return [logprob for piece in self.pieces[name] for logprob in piece.logprobs]

    def stop(self, name):
        return self.pieces[name][-1].stop


@pytest.fixture
def desk(engine_of, model):
    """A desk over one engine, as most tests need it."""
    return Desk(engine_of(model))


@pytest.fixture
def desk_of(engine_of):
    return lambda model, **limits: Desk(engine_of(model, **limits))


@pytest.fixture
def question():
    return lambda text=" 1 2 3": Transcript.of([Message("user", text)])


@pytest.fixture
def sampler(model, chat):
    return LocalSampler(model, chat)
