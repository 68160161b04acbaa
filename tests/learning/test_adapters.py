"""A learner of adapters moves nothing else, resumes, and hands merged weights over."""

import copy
from array import array

import pytest
import torch

from poziomka.learning.objectives.kl import DivergenceSettings
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import Example
from poziomka.models.lora import LoraSettings, attach


def batch_of(*, taught=False):
    """A text that the policy wrote, or a teacher."""
    nothing, weight = array("f", [0] * 5), array("f", [0, *[0.25] * 4])
    logprobs = array("f", [0, *[-1.9] * 4])
    weights = [nothing, weight, nothing] if taught else [weight, nothing, logprobs, weight]
    return Batch.pack([Example(array("i", [1, 3, 4, 2, 6]), *weights)])


@pytest.fixture
def adaptable(build):
    def adaptable(dtype=torch.float32, seed=0, vocabulary=7):
        model = build(vocabulary, loud=0.1).to(dtype)
        attach(model, LoraSettings(rank=4), seed)
        return model

    return adaptable


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [7, 9000])
def test_adapters_learn_and_the_matrices_stay(adaptable, learner_of, dtype, vocabulary):
    model = adaptable(dtype, vocabulary=vocabulary)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learner = learner_of(model)
    losses = [learner.step(batch_of(taught=True), 1e-2)["loss/next_token"] for _ in range(10)]
    assert losses[-1] < losses[0]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) != (".adapters." in name), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_learner_of_adapters_goes_on_bit_for_bit(adaptable, learner_of, dtype):
    one, two = learner_of(adaptable(dtype)), learner_of(adaptable(dtype, seed=5))
    for _ in range(3):
        one.step(batch_of(), 1e-2)
    two.restore(one.state())
    for learner in (one, two):
        learner.step(batch_of(), 1e-2)
    assert all(torch.equal(tensor, two.weights()[name]) for name, tensor in one.weights().items())


def test_the_weights_handed_over_are_the_plain_model_s(build, adaptable, learner_of):
    learner, plain = learner_of(adaptable()), build()
    learner.step(batch_of(), 1e-1)
    assert {*learner.weights()} == {*plain.state_dict()}
    plain.load_state_dict(learner.weights())
    tokens = torch.tensor([[1, 3, 4]])
    assert torch.allclose(plain(tokens), learner.model(tokens), atol=1e-5)


@pytest.mark.parametrize("kind", ["k3", "reverse", "forward"])
@pytest.mark.fault("A5")
def test_a_model_with_the_adapters_it_began_with_is_its_own_reference(adaptable, learner_of, kind):
    """Divergence 0 in the first step, and then that from a copy; what a warm start taught the adapters is in both."""
    model = adaptable()
    learner_of(model).step(batch_of(taught=True), 1e-1)
    settings = {"kl": DivergenceSettings(kind=kind, weight=0.5)}
    one, two = (
        learner_of(model, reference=model, learner=settings),
        learner_of(copied := copy.deepcopy(model), reference=copy.deepcopy(copied), learner=settings),
    )
    for step in range(3):
        found, wanted = (learner.step(batch_of(), 1e-2) for learner in (one, two))
        assert (found["loss/divergence"] == 0) == (step == 0)
    assert found == pytest.approx(wanted, rel=1e-5)
    assert found["loss/divergence"] > 0
