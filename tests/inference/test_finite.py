"""Logits that are not finite are an error of the weights, never words."""

import asyncio

import pytest
import torch

from poziomka.core.errors import SamplerError
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.evaluation import evaluate
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task
from poziomka.inference.local import LocalSampler
from poziomka.inference.token_sampling import LARGE, choose
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.config import TransformerSettings
from poziomka.models.kernels import ops as kernels

NAMED = "logits are not finite at policy 'initial': .*{}.* holds NaN or infinity"


@pytest.fixture(params=[torch.float32, torch.bfloat16])
def broken(request, chat):
    """A sampler in whose model one number of a layer is NaN."""
    model = build_model("transformer", TransformerSettings(width=32, layers=2, heads=4), len(chat.tokenizer), 0)
    model = model.to(request.param)
    with torch.no_grad():
        model.blocks[1].feedforward.down.weight[3, 5] = torch.nan
    return LocalSampler(model, chat)


@pytest.mark.fault("A9")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_sampling_names_the_weights_that_are_not_finite(broken, question, temperature):
    with pytest.raises(SamplerError, match=NAMED.format(r"blocks\.1\.feedforward\.down")):
        asyncio.run(broken.extend(question(), SamplingParams(max_tokens=5, temperature=temperature)))


@pytest.mark.fault("A9")
def test_an_evaluation_of_such_weights_is_an_error_and_no_accuracy(broken):
    def source(split, index, level):
        return Problem.ask("any", f"{split}{index}", " 1", "1")

    task = Task("any", source, lambda problem, transcript: Score.wrong(""), trusted=True)
    with pytest.raises(SamplerError, match="logits are not finite"):
        evaluate(broken, task, SamplingParams(max_tokens=5), problems=10)


@pytest.mark.fault("A9")
def test_scoring_with_such_weights_is_an_error(broken, question):
    with pytest.raises(SamplerError, match="logits are not finite"):
        asyncio.run(broken.score(question()))


@pytest.mark.fault("A9")
def test_logits_that_overflow_in_finite_weights_are_an_error(model, chat, question):
    with torch.no_grad():
        model.norm.weight.fill_(3e38)
    with pytest.raises(SamplerError, match="all weights are finite, so a product overflowed"):
        asyncio.run(LocalSampler(model, chat).extend(question(" 1 2 3"), SamplingParams(max_tokens=5)))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("vocabulary", [100, LARGE + 300])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("plain", [False, True])
def test_one_logit_that_is_not_finite_makes_the_log_probability_nan(bad, vocabulary, temperature, plain):
    """What the engine looks at: wherever the logit stands, with the kernels and without."""
    logits = torch.zeros(3, vocabulary)
    logits[0, 0] = logits[1, vocabulary - 1] = bad
    uniform, heat = torch.full((3,), 0.5, dtype=torch.float64), torch.full((3,), temperature)
    if plain:
        with kernels.plain():
            logprobs = choose(logits, uniform, heat)[1]
    else:
        logprobs = choose(logits, uniform, heat)[1]
    assert logprobs.isnan().tolist() == [True, True, False]
