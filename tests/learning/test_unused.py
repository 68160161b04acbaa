"""Rows of the head without a token have no probability, in the sampler and in the learner alike."""

import asyncio
import math
from array import array

import pytest
import tokenizers
import torch
from tokenizers import models

from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Message, Transcript
from poziomka.inference.local import LocalSampler
from poziomka.learning import learner as learning
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.objectives.kl import DivergenceSettings
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import Example
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weights import build_model, save_model
from poziomka.models.config import TransformerSettings
from poziomka.models.text.tokenizer import Tokenizer

pytestmark = pytest.mark.fault("B5")
TOKENS, ROWS = 15, 64


def build(rows=ROWS, *, architecture="transformer", **shape):
    model = build_model(architecture, TransformerSettings(width=16, layers=1, heads=2, **shape), rows, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.1)
    return model.eval()


@pytest.fixture(params=["tied", "untied", "recurrent"])
def loaded(request, tmp_path):
    kind = "recurrent" if request.param == "recurrent" else "transformer"
    tokenizer = Tokenizer.of_symbols([str(digit) for digit in range(10)])
    save_model(tmp_path, build(architecture=kind, tied=request.param != "untied"), tokenizer)
    return load_pretrained(str(tmp_path))


def reply(loaded, **sampling):
    prompt = Transcript.of([Message(Author.USER, "1 2 3")])
    sampler = LocalSampler(loaded.model, loaded.chat)
    return asyncio.run(
        sampler.extend(prompt, SamplingParams(**({"tokens": 200, "min_thinking_tokens": 200} | sampling)))
    )


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.0}, {"temperature": 3.0}, {"top_p": 0.99}])
def test_a_sampler_never_writes_them(loaded, sampling):
    assert max(reply(loaded, seed=1, **sampling).tokens) < TOKENS


@torch.no_grad()
def test_the_tokens_have_all_the_probability(loaded):
    logits = loaded.model.logits(loaded.model(torch.tensor([[1, 5, 9]])))
    assert logits.isfinite().all()
    shares = logits.softmax(-1)
    assert torch.equal(shares[..., TOKENS:], torch.zeros_like(shares[..., TOKENS:]))
    assert torch.allclose(shares[..., :TOKENS].sum(-1), torch.ones(1, 3))


def test_the_learner_says_the_sampler_s_log_probabilities(loaded):
    written = next(span for span in reply(loaded, seed=2, min_thinking_tokens=0) if span.author is Author.MODEL)
    read = loaded.chat.read(Transcript.of([Message(Author.USER, "1 2 3")]))
    prompt, tokens = list(read.tokens), list(written.tokens)
    zeros = [0.0] * len(prompt)
    logprobs = array("f", [*zeros, *written.logprobs])
    weights = array("f", [*zeros, *[1.0] * len(tokens)])
    nothing = array("f", bytes(4 * len(weights)))
    batch = Batch.pack([Example(array("i", prompt + tokens), weights, nothing, logprobs)])
    metrics = Learner(loaded.model, LearnerSettings()).step(batch, 1e-9)
    assert metrics["policy/mismatch_kl"] < 1e-9
    assert 0 < metrics["policy/entropy"] <= math.log(TOKENS) + 1e-6


@pytest.mark.parametrize("kind", ["none", "reverse", "forward"])
@pytest.mark.parametrize("way", ["one expression", "chunks"])
def test_nothing_is_learned_by_them_and_every_figure_is_a_number(kind, way, monkeypatch):
    monkeypatch.setattr(learning, "SMALL", ROWS if way == "one expression" else 8)
    model, reference = build(), build(rope_base=100.0)
    for each in (model, reference):
        each.leave_out(range(TOKENS, ROWS))
    settings = LearnerSettings(kl=DivergenceSettings(kind=kind, weight=0.1), logit_chunk=3)
    learner = Learner(model, settings, reference=reference)
    tokens = array("i", [1, 5, 9, 3, 7, 2])
    each = array("f", [0.0, *[1.0] * 5])
    nothing = array("f", bytes(4 * 6))
    sums = learner.forward_backward(Batch.pack([Example(tokens, each, nothing, array("f", [0.0, *[-2.0] * 5]), each)]))
    assert all(math.isfinite(value) for value in vars(sums).values())
    assert sums.entropy <= 5 * math.log(TOKENS)
    gradient = learner.masters.named["embedding.weight"].grad
    assert torch.equal(gradient[TOKENS:], torch.zeros_like(gradient[TOKENS:]))
    assert gradient[:TOKENS].abs().max() > 0


def test_ids_inside_a_vocabulary_that_are_no_token_are_among_them():
    names = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "<think>": 3, "</think>": 4, "a": 7}
    tokenizer = Tokenizer(tokenizers.Tokenizer(models.WordLevel(names, unk_token=None)))
    assert tokenizer.unused(10) == [5, 6, 8, 9]
