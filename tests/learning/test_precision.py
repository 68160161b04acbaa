"""Weights in bfloat16 learn what fp32 would, and a run goes on from its masters."""

import pytest
import torch

from poziomka.learning.optim.master_weights import Masters
from poziomka.learning.samples.batch import Batch


@pytest.fixture
def rough(build):
    """A model in bfloat16."""
    return lambda **how: build(loud=0.1, **how).bfloat16()


@pytest.fixture
def batches(build):
    from array import array

    from poziomka.learning.samples.weighting import Example

    def batch(seed):
        draw = torch.Generator().manual_seed(seed)
        texts = []
        for _ in range(8):
            length = int(torch.randint(4, 20, (1,), generator=draw))
            tokens = array("i", torch.randint(0, 7, (length,), generator=draw).tolist())
            nothing, weight = array("f", [0.0] * length), array("f", [0.0, *[0.02] * (length - 1)])
            texts.append(Example(tokens, nothing, weight, nothing))
        return Batch.pack(texts)

    return batch


def test_steps_too_small_for_a_weight_add_up_in_its_master(rough, learner_of, batches):
    learner = learner_of(rough())
    name = "blocks.0.attention.qkv.weight"
    before = learner.masters.named[name].detach().clone()
    for _ in range(20):
        learner.step(batches(0), 1e-6)
    moved = (learner.masters.named[name].detach() - before).abs()
    assert 1e-6 < float(moved.median()) < 3e-5
    weight = dict(learner.model.named_parameters())[name]
    assert weight.dtype == torch.bfloat16
    assert torch.equal(weight, learner.masters.named[name].bfloat16())


def test_a_model_in_bfloat16_learns_what_one_in_fp32_learns(rough, learner_of, batches):
    one, two = learner_of(rough()), learner_of(rough().float())
    for _ in range(30):
        rounded, exact = (learner.step(batches(0), 3e-3)["loss/next_token"] for learner in (one, two))
    assert exact < 1.5
    assert rounded == pytest.approx(exact, rel=0.03)


def test_gradients_of_many_parts_add_up_in_fp32(rough, learner_of, batches):
    model, batch = rough(), batches(0)
    whole, parts = learner_of(model), learner_of(model, learner={"microbatch_tokens": 1})
    whole.forward_backward(batch)
    parts.forward_backward(batch)
    for name, master in parts.masters.named.items():
        assert master.grad.dtype == torch.float32
        assert torch.allclose(master.grad, whole.masters.named[name].grad, rtol=0.1, atol=5e-3), name
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_learner_in_bfloat16_goes_on_bit_for_bit_from_a_state(rough, learner_of, batches):
    one = learner_of(rough())
    for seed in range(3):
        one.step(batches(seed), 1e-3)
    two = learner_of(rough(seed=9))
    two.model.load_state_dict(one.weights())
    two.restore(one.state())
    for seed in range(3, 6):
        for learner in (one, two):
            learner.step(batches(seed), 1e-3)
    for name, master in one.masters.named.items():
        assert torch.equal(master, two.masters.named[name])
        assert torch.equal(one.weights()[name], two.weights()[name])


def test_masters_without_a_saved_state_start_from_the_weights(rough, learner_of):
    learner, other = learner_of(rough()), rough(seed=9)
    learner.model.load_state_dict(other.state_dict())
    learner.restore(learner_of(other).state())
    for name, weight in learner.model.named_parameters():
        assert torch.equal(learner.masters.named[name], weight.float())


def test_weights_in_fp32_are_their_own_masters(build):
    model = build()
    masters = Masters(model.named_parameters())
    assert all(one is two for one, two in zip(masters.masters, model.parameters(), strict=True))


def test_what_does_not_learn_has_no_master(rough):
    model = rough()
    model.embedding.weight.requires_grad_(requires_grad=False)
    masters = Masters(model.named_parameters())
    assert "embedding.weight" not in masters.named
    assert masters.gradient_of(model.embedding.weight) is None
