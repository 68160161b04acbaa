"""A tiny model that thinks and answers, and a task of sums over its vocabulary."""

import pytest
import torch

from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.answers import read_integer
from poziomka.core.task import Task
from poziomka.inference.local import LocalSampler
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings

torch.set_num_threads(1)


def scorer(problem, transcript):
    value = read_integer(transcript.reply)
    if value is None:
        return Score.unparsed("no number")
    return Score.right(str(value)) if str(value) == problem.answer else Score.wrong(str(value))


@pytest.fixture
def task():
    def source(split, index, level):
        first, second = index % 5, index // 5 % 5
        return Problem.ask("sums", f"{first},{second}", f" {first} {second}", str(first + second))

    return Task("sums", source, scorer, size=25, trusted=True)


@pytest.fixture(params=["transformer", "recurrent"])
def sampler(request):
    tokenizer = Tokenizer.of_symbols([str(digit) for digit in range(10)])
    model = build_model(request.param, TransformerSettings(width=32, layers=2, heads=4), len(tokenizer), 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.15)
    return LocalSampler(model, PlainFormat(tokenizer))
