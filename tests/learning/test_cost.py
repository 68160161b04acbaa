"""What a step is said to cost is what PyTorch counts of its products, and what the engine reads and writes."""

from array import array

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from poziomka.core.rollouts.collect import collect
from poziomka.core.sampler import SamplingParams
from poziomka.inference.local import LocalSampler
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.samples.weighting import Example
from poziomka.models.flops import sampling_flops
from poziomka.models.transformer import Transformer, TransformerSettings

PROMPT, OWN, ATTEMPTS, GROUPS = 9, 7, 4, 2  # 16 tokens each: eight fill a row of 128


def examples(learned=OWN):
    """Groups of attempts of one length at a prompt; the last tokens of each are learned from."""
    found = []
    for group in range(GROUPS):
        prompt = [group + 1] * PROMPT
        for attempt in range(ATTEMPTS):
            weights = [0.0] * (PROMPT + OWN - learned) + [0.1] * learned
            tokens = array("i", prompt + [attempt + 5] * OWN)
            found.append(Example(tokens, array("f", weights), array("f", [0.0] * 16), array("f", [-1.0] * 16)))
    return found


def learner_of(layout, vocabulary):
    torch.manual_seed(0)
    model = Transformer(TransformerSettings(width=32, layers=2, heads=4, key_heads=2), vocabulary)
    return Learner(model, LearnerSettings(layout=layout))


def addmm(_total, one, other, **_how):
    return 2 * one[0] * one[1] * other[1]


def counted(learner, batch):
    """Returns the operations of products with weights, and of the core of attention."""
    in_place = {torch.ops.aten.addmm_: addmm}  # PyTorch counts the others itself
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        learner.forward_backward(batch)
    found = {str(name): flops for name, flops in counter.get_flop_counts()["Global"].items()}
    assert {*found} <= {"aten.mm", "aten.addmm", "aten.addmm_", "aten.bmm", "aten.baddbmm"}
    core = found.pop("aten.bmm") + found.pop("aten.baddbmm")
    return sum(found.values()), core


@pytest.mark.parametrize("vocabulary", [50, 8200], ids=["small", "in chunks"])
@pytest.mark.parametrize("learned", [OWN, 2])
@pytest.mark.parametrize("layout", ["rows", "shared"])
def test_a_steps_flops_are_those_of_its_products(layout, learned, vocabulary):
    learner = learner_of(layout, vocabulary)
    batch = learner.pack(examples(learned))
    assert batch.real_share == 1.0
    products, _ = counted(learner, batch)
    work = learner.model.work
    looks = sum(work(end).looks - work(start).looks for start, end in batch.stretches)
    assert learner.flops(batch) == products + 3 * looks


def test_of_the_core_of_attention_the_half_counts_that_is_looked_at():
    """Of a square of 128 tokens, which is computed, they look at (128 + 1) / (2 * 128)."""
    learner = learner_of("rows", 50)
    one = Example(array("i", [1] * 128), array("f", [0.1] * 128), array("f", [0.0] * 128), array("f", [-1.0] * 128))
    batch = learner.pack([one])
    _, core = counted(learner, batch)
    assert 3 * learner.model.work(128).looks == core * 129 / 256


def test_a_shared_prompt_costs_once():
    rows, shared = (learner_of(layout, 50) for layout in ("rows", "shared"))
    once = rows.model.work(PROMPT - 1)  # its last token is each attempt's own
    found = rows.flops(rows.pack(examples())) - shared.flops(shared.pack(examples()))
    assert found == 3 * (ATTEMPTS - 1) * GROUPS * (once.places + once.looks)


def test_a_batch_without_a_weight_costs_nothing():
    learner = learner_of("rows", 50)
    assert learner.flops(learner.pack(examples(0))) == 0


def test_sampling_costs_what_the_engine_reads_and_writes(build, chat, echo):
    model = build()
    sampler = LocalSampler(model, chat)
    (group,) = collect(sampler, echo, echo.take("train", 0, 1), SamplingParams(max_tokens=9), attempts=3, name="cost")
    counters, work = sampler.engine.counters, model.work
    prompt = counters.read  # all but its last token, once
    looks = [work(len(rollout.transcript) - 1).looks - work(prompt).looks for rollout in group]
    found = sampling_flops(model, [group]) - work(prompt).looks - sum(looks)
    assert found == (counters.read + counters.written) * work(1).places + counters.written * work(1).head
