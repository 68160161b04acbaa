"""Several optimizer steps on a batch: ratios are to the learner before the first, the sampler is corrected apart."""

import itertools
from array import array
from dataclasses import replace

import pytest
import torch

from poziomka.learning.objectives.losses import CorrectionSettings, SurrogateSettings
from poziomka.learning.objectives.step_sums import over_minibatches
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import Example, minibatches

KINDS = ["cispo", "ppo", "dapo", "gspo", "dppo", "reinforce"]
SURROGATE = {
    "importance_cap": 1.05,
    "sequence_low": 0.01,
    "sequence_high": 0.02,
    "trust_region": 0.01,
}  # so that some tokens are clipped


def texts(count=6, seed=0, words=7):
    """Replies with weights of both signs, and log-probabilities of a sampler that is not the learner."""
    draw = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length = int(torch.randint(4, 20, (1,), generator=draw))
        weight = torch.randn(length, generator=draw)
        weight[:2] = 0
        logq = -1.9 + 0.1 * torch.randn(length, generator=draw)
        tokens = torch.randint(0, words, (length,), generator=draw)
        nothing = array("f", [0] * length)
        made.append(
            Example(array("i", tokens.tolist()), array("f", weight.tolist()), nothing, array("f", logq.tolist()))
        )
    return made


def gradient(learner, batch):
    sums = learner.forward_backward(batch)
    return sums, torch.cat([master.grad.flatten() for master in learner.masters.masters])


def surrogate_of(kind, p, old, w, own):
    """The formula of the paper for one sequence; `own` says where a token carries a weight."""
    ratio = (p - old).exp()
    if kind == "reinforce":
        return w * p
    if kind == "cispo":
        return ratio.detach().clamp(max=1.05) * w * p
    if kind == "dppo":
        moved = (p.detach().exp() - old.exp()) * w.sign()
        return torch.where(moved > 0.01, 0.0, ratio * w)
    low, high = {"ppo": (0.8, 1.2), "dapo": (0.8, 1.28), "gspo": (0.99, 1.02)}[kind]
    if kind == "gspo":
        ratio = ((p - old)[own].mean().detach() + p - p.detach()).exp()
    return torch.minimum(ratio * w, ratio.clamp(low, high) * w)


def wanted(model, examples, olds, kind, by):
    """The gradient of the loss, sequence by sequence."""
    loss = torch.zeros(())
    for text, old in zip(examples, olds, strict=True):
        said = torch.log_softmax(model.logits(model(torch.tensor([list(text.tokens)])))[0, :-1], -1)
        p = said.gather(1, torch.tensor(list(text.tokens))[1:, None]).squeeze(1)
        w, q = torch.tensor(text.policy)[1:], torch.tensor(text.logprobs)[1:]
        own, gap = w != 0, old[1:] - q
        trust = {"token": gap.exp(), "sequence": gap[own].sum().exp(), "none": torch.ones(())}[by].clamp(max=1.3)
        loss = loss - surrogate_of(kind, p, old[1:], w * trust, own).sum()
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(model.parameters()))])


def moved(model, examples, size=0.4):
    """Log-probabilities of the learner before it moved to where it stands now."""
    draw = torch.Generator().manual_seed(3)
    olds = []
    for text in examples:
        with torch.no_grad():
            said = torch.log_softmax(model.logits(model(torch.tensor([list(text.tokens)])))[0, :-1], -1)
        own = said.gather(1, torch.tensor(list(text.tokens))[1:, None]).squeeze(1)
        olds.append(torch.cat([torch.zeros(1), own + size * torch.randn(own.shape, generator=draw)]))
    return olds


@pytest.mark.fault("A4")
@pytest.mark.parametrize("by", ["token", "sequence", "none"])
def test_after_a_step_each_surrogate_has_the_gradient_of_its_own_formula(build, learner_of, by):
    model, examples = build(loud=0.1), texts(24)
    olds = moved(model, examples)
    olds[0] += 0.5
    stored = [replace(text, logprobs=array("f", old.tolist())) for text, old in zip(examples, olds, strict=True)]
    batch = replace(Batch.pack(examples), old=Batch.pack(stored).logprobs)
    found = {}
    for kind in KINDS:
        how = {
            "surrogate": SurrogateSettings(kind=kind, **SURROGATE),
            "correction": CorrectionSettings(kind=by, importance_cap=1.3),
        }
        sums, found[kind] = gradient(learner_of(model, learner=how), batch)
        right = wanted(model, examples, olds, kind, by)
        assert (found[kind] - right).abs().max() < 1e-5 * (1 + right.abs().max()), kind
        assert (sums.clipped > 0) == (kind != "reinforce"), kind
        assert (sums.cut > 0) == (by != "none")
    for one, two in itertools.combinations(KINDS, 2):
        assert (found[one] - found[two]).norm() > 1e-3 * found[one].norm(), (one, two)


@pytest.mark.fault("A4")
def test_epochs_part_the_surrogates_that_one_step_does_not(build, learner_of):
    ends = {}
    for epochs, kind in itertools.product((1, 3), KINDS):
        how = {"surrogate": SurrogateSettings(kind=kind, **SURROGATE)}
        learner = learner_of(build(loud=0.1), learner=how)
        (batch,) = learner.with_old([Batch.pack(texts())])
        steps = [learner.step(batch, 1e-2) for _ in range(epochs)]
        assert steps[0]["policy/moved_kl"] == steps[0]["policy/clip_share"] == 0
        assert all(step["policy/moved_kl"] > 0 for step in steps[1:])
        ends[epochs, kind] = torch.cat([weight.flatten() for weight in learner.weights().values()])
    for one, two in itertools.combinations(KINDS, 2):
        assert torch.allclose(ends[1, one], ends[1, two], atol=1e-5)
        assert (ends[3, one] - ends[3, two]).abs().max() > 1e-4, (one, two)


# -------------------------------------------------------------------------------------------- sampler and learner apart
@pytest.mark.parametrize(("cap", "cut"), [(1.0, True), (1e6, False)])
def test_a_correction_is_truncated_at_its_cap_and_counted(build, learner_of, cap, cut):
    how = {"correction": CorrectionSettings(importance_cap=cap)}
    metrics = learner_of(build(loud=0.1), learner=how).step(Batch.pack(texts()), 0.0)
    assert (metrics["policy/correction_cut_share"] > 0) == cut
    assert metrics["policy/correction_mean"] <= cap


def test_one_step_with_cispo_is_what_it_was_before_there_was_a_correction(build, learner_of):
    """-min(p / q, 5) w log p, with p the learner's probability now."""
    model, examples = build(loud=0.1), texts()
    loss = torch.zeros(())
    for text in examples:
        said = torch.log_softmax(model.logits(model(torch.tensor([list(text.tokens)])))[0, :-1], -1)
        p = said.gather(1, torch.tensor(list(text.tokens))[1:, None]).squeeze(1)
        c = (p.detach() - torch.tensor(text.logprobs)[1:]).exp().clamp(max=5.0)
        loss = loss - (c * torch.tensor(text.policy)[1:] * p).sum()
    right = torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(model.parameters()))])
    assert torch.allclose(gradient(learner_of(model), Batch.pack(examples))[1], right, atol=1e-5)


# --------------------------------------------------------------------------------------------------- old probabilities
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("words", [7, 9000])
@pytest.mark.parametrize("layout", ["rows", "shared"])
@pytest.mark.parametrize("architecture", ["transformer", "recurrent"])
def test_before_the_first_step_every_ratio_is_one_exactly(build, learner_of, dtype, words, layout, architecture):
    model = build(words, architecture=architecture, loud=0.1).to(dtype)
    how = {"layout": layout, "microbatch_tokens": 40, "surrogate": SurrogateSettings(kind="gspo")}
    learner = learner_of(model, learner=how)
    (batch,) = learner.with_old([learner.pack(texts(40, words=words))])
    assert len(list(batch.split(40))) > 1
    metrics = learner.step(batch, 0.0)
    assert metrics["policy/moved_kl"] == metrics["policy/clip_share"] == 0


# --------------------------------------------------------------------------------------------------------- minibatches
def test_groups_are_dealt_whole_and_those_without_an_advantage_are_left_out():
    groups = [[f"a{number}", f"b{number}"] for number in range(7)]
    advantages = [[1.0, -1.0] if number != 3 else [None, None] for number in range(7)]
    parts = minibatches(groups, advantages, 4, seed=1)
    assert [len(part) for part, _ in parts] == [2, 2, 1, 1]
    assert sorted(group[0] for part, _ in parts for group in part) == ["a0", "a1", "a2", "a4", "a5", "a6"]
    assert parts == minibatches(groups, advantages, 4, seed=1) != minibatches(groups, advantages, 4, seed=2)


def test_one_minibatch_is_the_batch_and_nothing_to_learn_is_one_empty_one():
    groups, advantages = [["a"], ["b"]], [[None], [1.0]]
    assert minibatches(groups, advantages, 1, seed=0) == [(groups, advantages)]
    assert minibatches(groups, [[None], [None]], 3, seed=0) == [([], [])]


def test_tokens_of_minibatches_are_added_up_and_the_rest_is_averaged():
    steps = [{"tokens/trained": 5.0, "loss/policy": 1.0}, {"tokens/trained": 7.0, "loss/policy": 2.0}]
    assert over_minibatches(steps) == {"tokens/trained": 12.0, "loss/policy": 1.5}
