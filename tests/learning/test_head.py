"""A head in chunks gives what one expression over all logits gives: loss, gradient, metrics."""

from array import array
from dataclasses import replace

import pytest
import torch

from poziomka.learning import learner as learning
from poziomka.learning.objectives.kl import DivergenceSettings
from poziomka.learning.objectives.logprob_head import Head
from poziomka.learning.objectives.loss_inputs import LossInputs, terms_of
from poziomka.learning.objectives.losses import CorrectionSettings, SurrogateSettings
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import Example

REINFORCE = terms_of(SurrogateSettings(kind="reinforce"), CorrectionSettings())
WORDS = 9000  # more than the vocabulary up to which one expression is taken
ROWS = 7  # of a chunk: the batches below have several, and a rest


def batch_of(seed=0, count=6, spread=0.3):
    """Texts in part by a policy whose log-probabilities lie near the learner's, in part by a teacher."""
    draw = torch.Generator().manual_seed(seed)
    texts = []
    for _ in range(count):
        length = int(torch.randint(4, 12, (1,), generator=draw))
        who = torch.randint(0, 3, (length,), generator=draw)
        who[0] = 2
        weight = torch.randn(length, generator=draw)
        logq = -9.1 + spread * torch.randn(length, generator=draw)
        texts.append(
            Example(
                array("i", torch.randint(0, WORDS, (length,), generator=draw).tolist()),
                array("f", (weight * (who == 0)).tolist()),
                array("f", (weight.abs() * (who == 1)).tolist()),
                array("f", (logq * (who == 0)).tolist()),
                array("f", ((who == 0) / count).tolist()),
            )
        )
    return Batch.pack(texts)


def taken(learner, batch):
    sums = learner.forward_backward(batch)
    return sums, {name: master.grad for name, master in learner.masters.named.items()}


def demand_equal(one, two, tolerance=1e-5):
    for name, value in vars(one[0]).items():
        assert value == pytest.approx(vars(two[0])[name], rel=1e-4, abs=5e-5), name
    for name, gradient in one[1].items():
        other = two[1][name]
        assert (gradient - other).abs().max() <= tolerance * other.abs().max(), name


@pytest.fixture
def both(build, learner_of, monkeypatch):
    """What a learner finds with its head in chunks, and in one expression."""

    def both(architecture="transformer", temperature=1.0, batch=None, **settings):
        batch = batch_of() if batch is None else batch
        wanted = settings.get("kl")
        reference = build(WORDS, seed=5, architecture=architecture, loud=0.1) if wanted else None
        learner = learner_of(
            build(WORDS, architecture=architecture, loud=0.1), temperature, reference, {"logit_chunk": ROWS} | settings
        )
        chunks = taken(learner, batch)
        monkeypatch.setattr(learning, "SMALL", WORDS)
        return chunks, taken(learner, batch)

    return both


@pytest.mark.parametrize("kind", ["cispo", "ppo", "dapo", "gspo", "dppo", "reinforce"])
def test_chunks_give_the_surrogate_s_loss_and_gradient(both, kind):
    settings = SurrogateSettings(kind=kind, sequence_low=0.1, sequence_high=0.1, trust_region=1e-5)
    batch = batch_of()
    chunks, whole = both(batch=replace(batch, old=batch.logprobs), surrogate=settings)
    demand_equal(chunks, whole)
    assert (whole[0].clipped > 0) == (kind in ("ppo", "dapo", "gspo", "dppo"))


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("kind", ["token", "sequence"])
def test_chunks_give_the_correction_s_loss_and_gradient(both, kind, moved):
    batch = batch_of()
    old = batch.logprobs + 0.1 * torch.randn(batch.logprobs.shape, generator=torch.Generator().manual_seed(1))
    how = {
        "surrogate": SurrogateSettings(kind="gspo"),
        "correction": CorrectionSettings(kind=kind, importance_cap=1.05),
    }
    chunks, whole = both(batch=replace(batch, old=old if moved else None), **how)
    demand_equal(chunks, whole)
    assert whole[0].cut > 0


@pytest.mark.parametrize("kind", ["k3", "reverse", "forward"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunks_give_the_divergence_s_loss_and_gradient(both, kind, temperature):
    chunks, whole = both(temperature=temperature, kl=DivergenceSettings(kind=kind, weight=50.0))
    demand_equal(chunks, whole)
    assert whole[0].divergence > 1e-3


@pytest.mark.parametrize("kind", ["cispo", "gspo"])
def test_a_head_of_which_nothing_is_known_is_taken_in_chunks_too(both, kind):
    demand_equal(*both("recurrent", surrogate=SurrogateSettings(kind=kind), kl=DivergenceSettings(kind="reverse")))


@pytest.mark.parametrize("kind", ["reverse", "forward"])
def test_a_divergence_over_the_vocabulary_is_the_formula_s(build, learner_of, kind):
    model, reference, batch = build(loud=0.1), build(seed=5, loud=0.1), batch_of(count=1)
    batch.tokens.remainder_(7)
    weight = 0.5
    settings = {"kl": DivergenceSettings(kind=kind, weight=weight)}
    sums, found = taken(learner_of(model, reference=reference, learner=settings), batch)
    p, q = (torch.log_softmax(each.logits(each(batch.tokens))[0, :-1], -1) for each in (model, reference))
    first, second = (p, q.detach()) if kind == "reverse" else (q.detach(), p)
    every = (first.exp() * (first - second)).sum(1)
    loss = weight * every[batch.match_weight[0, 1:] != 0].sum()
    assert sums.divergence == pytest.approx(float(loss.detach()), rel=1e-4)
    plain = taken(learner_of(model), batch)[1]
    wanted = torch.autograd.grad(loss, list(model.parameters()))
    for (name, parameter), each in zip(model.named_parameters(), wanted, strict=True):
        assert torch.allclose(found[name] - plain[name], each, atol=1e-5), (name, parameter.shape)


def tokens_of(target, temperature=1.0):
    zero, one = torch.zeros(len(target)), torch.ones(len(target))
    return LossInputs(target, one * temperature, one, zero, zero, zero, zero.long())


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_log_probabilities_are_right_however_far_apart_the_logits(scale):
    """At a scale of 100 most probabilities are below what fp32 can hold."""
    draw = torch.Generator().manual_seed(0)
    weight, hidden = torch.randn(50, 4, generator=draw), scale * torch.randn(20, 4, generator=draw)
    target = torch.randint(0, 50, (20,), generator=draw)
    wanted = torch.log_softmax((hidden @ weight.T).double() / 0.9, -1)
    head, tokens = Head(weight, ROWS), tokens_of(target, 0.9)
    passed = head.backward(hidden, tokens, REINFORCE, None)
    for logp in (head.logprobs(hidden, tokens), passed.logp):
        assert torch.allclose(logp.double(), wanted.gather(1, target[:, None])[:, 0], rtol=1e-5, atol=1e-5)
    assert torch.allclose(passed.entropy.double(), -(wanted.exp() * wanted).sum(1), rtol=1e-4, atol=1e-4 * scale)


def test_a_head_in_bfloat16_has_the_gradient_of_fp32_up_to_its_rounding():
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 64, generator=draw).bfloat16()
    hidden = (0.3 * torch.randn(40, 64, generator=draw)).bfloat16()
    tokens, terms = (
        tokens_of(torch.randint(0, 300, (40,), generator=draw)),
        REINFORCE,
    )
    rough, exact = torch.zeros(300, 64), torch.zeros(300, 64)
    found = Head(weight, ROWS).backward(hidden, tokens, terms, rough)
    wanted = Head(weight.float(), 40).backward(hidden.float(), tokens, terms, exact)
    assert torch.nn.functional.cosine_similarity(rough.flatten(), exact.flatten(), 0) > 0.9999
    assert torch.nn.functional.cosine_similarity(found.hidden.float().flatten(), wanted.hidden.flatten(), 0) > 0.9999
