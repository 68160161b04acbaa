"""Sampler and learner in bfloat16 round otherwise: that is corrected for, and is no step of the policy.

By how much they differ depends on the processor, so the tests shift what the sampler wrote by a known amount.
"""

from array import array
from dataclasses import replace

import pytest
import torch

from poziomka.core.rollouts.collect import collect
from poziomka.core.sampler import SamplingParams
from poziomka.inference.local import LocalSampler
from poziomka.learning.objectives.logprob_head import Head
from poziomka.learning.objectives.loss_inputs import LossInputs
from poziomka.learning.objectives.losses import SurrogateSettings
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import policy_examples
from poziomka.models.transformer import Transformer, TransformerSettings

APART = 0.01  # nats between sampler and learner; above any clip range of "gspo", as much as bfloat16 rounds


def shifted(examples):
    """The examples, with the sampler's log-probabilities of every other one above, of the rest below its own."""
    return [
        replace(example, logprobs=array("f", [logprob + APART * (-1) ** number for logprob in example.logprobs]))
        for number, example in enumerate(examples)
    ]


@pytest.fixture
def sampled(build, chat, echo):
    """Examples that a sampler in bfloat16 wrote, APART from a model in bfloat16, and the model."""
    model = build(vocabulary=len(chat.tokenizer), loud=0.3).to(torch.bfloat16)
    problems = echo.take("train", 0, 6)
    groups = collect(LocalSampler(model, chat), echo, problems, SamplingParams(max_tokens=12), attempts=4, name="s")
    return model, shifted(policy_examples(groups, [[1.0, -1.0, 0.5, -0.5]] * 6))


def gradient(learner, batch):
    sums = learner.forward_backward(batch)
    return sums, torch.cat([master.grad.flatten() for master in learner.masters.masters])


@pytest.mark.fault("A3")
def test_rounding_clips_no_sequence_and_no_token(sampled, learner_of):
    model, examples = sampled
    found = {}
    for kind in ("gspo", "ppo", "reinforce"):
        sums, found[kind] = gradient(
            learner_of(model, learner={"surrogate": SurrogateSettings(kind=kind)}), Batch.pack(examples)
        )
        assert sums.mismatch / sums.policy_tokens > APART**2 / 8  # sampler and learner do differ
        assert sums.clipped == 0, kind
    for kind in ("gspo", "ppo"):
        assert torch.allclose(found[kind], found["reinforce"], rtol=1e-2, atol=1e-4), kind


@pytest.mark.fault("A3")
def test_rounding_is_all_of_a_correction_and_none_of_a_ratio(sampled, learner_of):
    model, examples = sampled
    metrics = learner_of(model, learner={"surrogate": SurrogateSettings(kind="gspo")}).step(Batch.pack(examples), 0.0)
    assert metrics["policy/mismatch_kl"] > APART**2 / 8
    assert metrics["policy/clip_share"] == metrics["policy/moved_kl"] == 0
    assert metrics["policy/correction_mean"] == pytest.approx(1.0, abs=0.1)
    assert metrics["policy/correction_cut_share"] == 0


@pytest.mark.fault("A8")
def test_log_probabilities_of_a_head_in_bfloat16_are_not_rounded():
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 64, generator=draw).bfloat16()
    hidden = torch.randn(40, 64, generator=draw).bfloat16()
    target = torch.randint(0, 300, (40,), generator=draw)
    wanted = torch.log_softmax(hidden.double() @ weight.double().T, -1).gather(1, target[:, None])[:, 0]
    zero, one = torch.zeros(40), torch.ones(40)
    tokens = LossInputs(target, one, one, zero, zero, zero, zero.long())
    found = Head(weight, 7).logprobs(hidden, tokens)
    assert (found.double() - wanted).abs().max() < 1e-4


@pytest.mark.fault("A8")
@pytest.mark.parametrize("tied", [True, False])
def test_logits_of_a_learning_model_in_bfloat16_are_not_rounded(tied):
    torch.manual_seed(0)
    model = Transformer(TransformerSettings(width=32, layers=1, heads=2, tied=tied), 50).bfloat16()
    hidden = 4 * torch.randn(9, 32).bfloat16()
    wanted = hidden.double() @ model.head_weight.double().T
    assert (model.logits(hidden).double() - wanted).abs().max() < 1e-4 * wanted.abs().max()
