"""Losses are the formulas of their papers, and so are their gradients."""

import math

import pytest
import torch

from poziomka.learning.objectives.losses import (
    CorrectionSettings,
    SurrogateSettings,
    correction,
    mismatch_kl,
    next_token,
    over_sequence,
    policy_gradient,
)

RATIOS = [0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 1.27, 1.29, 4.0, 7.0]
OLD = torch.full((len(RATIOS),), -2.0)
WEIGHT = torch.tensor([0.3, -0.2, 0.5, -1.0, 0.7, 0.1, -0.4, 0.6, -0.8, 0.9])


def taken(kind, weight=WEIGHT, ratios=RATIOS, **how):
    """Returns loss, clipped tokens and the gradient of the log-probabilities."""
    logp = (torch.tensor(ratios).log() - 2.0).requires_grad_()
    loss, clipped = policy_gradient(logp, OLD[: len(ratios)], weight, SurrogateSettings(kind=kind, **how))
    (gradient,) = torch.autograd.grad(loss, logp)
    return float(loss.detach()), int(clipped), gradient


def test_reinforce_is_minus_the_weighted_logprob():
    loss, clipped, gradient = taken("reinforce")
    assert loss == pytest.approx(
        -sum(w * (math.log(r) - 2) for w, r in zip(WEIGHT.tolist(), RATIOS, strict=True)), rel=1e-5
    )
    assert torch.equal(gradient, -WEIGHT)
    assert clipped == 0


@pytest.mark.parametrize("cap", [1.0, 5.0])
def test_cispo_weights_the_logprob_with_the_capped_ratio_that_carries_no_gradient(cap):
    loss, clipped, gradient = taken("cispo", importance_cap=cap)
    capped = [min(ratio, cap) for ratio in RATIOS]
    wanted = -sum(c * w * (math.log(r) - 2) for c, w, r in zip(capped, WEIGHT.tolist(), RATIOS, strict=True))
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert torch.allclose(gradient, -torch.tensor(capped) * WEIGHT)
    assert clipped == sum(ratio > cap + 1e-6 for ratio in RATIOS)


@pytest.mark.parametrize(
    ("how", "weights", "cut"),
    [
        (CorrectionSettings(importance_cap=2.0), [0.5, 1.0, 2.0], [False, False, True]),
        (CorrectionSettings(kind="sequence", importance_cap=3.0), [0.5, 1.0, 3.0], [False, False, True]),
        (CorrectionSettings(kind="none"), [1.0, 1.0, 1.0], [False, False, False]),
    ],
)
def test_a_correction_is_the_truncated_ratio_of_learner_and_sampler(how, weights, cut):
    found = correction(torch.tensor([0.5, 1.0, 4.0]).log(), how)
    assert found[0].tolist() == pytest.approx(weights)
    assert found[1].tolist() == cut


def test_cispo_of_fresh_tokens_is_reinforce():
    weight = torch.tensor([0.5, -0.25])
    assert torch.equal(taken("cispo", weight, [1.0, 1.0])[2], taken("reinforce", weight, [1.0, 1.0])[2])


@pytest.mark.parametrize(("kind", "high"), [("ppo", 0.2), ("dapo", 0.28)])
def test_ppo_and_dapo_take_the_lower_of_the_plain_and_the_clipped_ratio(kind, high):
    loss, clipped, gradient = taken(kind, clip_low=0.2, clip_high=0.28)
    total, slopes, count = 0.0, [], 0
    for ratio, weight in zip(RATIOS, WEIGHT.tolist(), strict=True):
        bounded = max(0.8, min(1 + high, ratio))
        total -= min(ratio * weight, bounded * weight)
        cut = bounded * weight < ratio * weight
        slopes.append(0.0 if cut else -ratio * weight)
        count += cut
    assert loss == pytest.approx(total, rel=1e-5)
    assert torch.allclose(gradient, torch.tensor(slopes), atol=1e-6)
    assert clipped == count > 0


@pytest.mark.parametrize(
    ("ratio", "weight", "clipped"),
    [
        (1.25, 1.0, {"ppo"}),
        (1.5, 1.0, {"ppo", "dapo"}),
        (0.5, -1.0, {"ppo", "dapo"}),
        (1.5, -1.0, set()),
        (0.5, 1.0, set()),
    ],
)
def test_a_token_is_clipped_only_where_it_has_gone_far_enough_its_way(ratio, weight, clipped):
    for kind in ("ppo", "dapo"):
        _, count, gradient = taken(kind, torch.tensor([weight]), [ratio])
        assert count == (kind in clipped)
        assert (gradient == 0).item() == (kind in clipped)


def test_next_token_is_minus_the_weighted_logprob():
    logp = torch.tensor([-1.0, -2.0], requires_grad=True)
    loss = next_token(logp, torch.tensor([0.25, 0.5]))
    assert loss.item() == 1.25
    assert torch.autograd.grad(loss, logp)[0].tolist() == [-0.25, -0.5]


def test_the_mismatch_of_equal_policies_is_zero():
    assert float(mismatch_kl(OLD, OLD)) == 0


@pytest.mark.parametrize("gap", [1e-7, 1e-5, 1e-3, 0.1, 2.0])
def test_the_mismatch_is_never_negative_and_half_the_square_of_a_small_gap(gap):
    logq = -torch.rand(1000, generator=torch.Generator().manual_seed(0)) * 5
    for sign in (1, -1):
        logp = logq + sign * gap
        each = mismatch_kl(logp, logq) / 1000
        exact = ((logp - logq).double().expm1() - (logp - logq).double()).mean()
        assert float(each) >= 0
        assert float(each) == pytest.approx(float(exact), rel=0.01, abs=1e-12)


def test_the_mismatch_estimates_the_divergence_of_sampler_from_learner():
    """Over all tokens, weighted with the sampler's probabilities, the estimate is the divergence itself."""
    p, q = torch.softmax(torch.randn(20), 0), torch.softmax(torch.randn(20), 0)
    estimate = sum(float(q[i]) * float(mismatch_kl(p[i].log()[None], q[i].log()[None])) for i in range(20))
    assert estimate == pytest.approx(float((q * (q / p).log()).sum()), rel=1e-4)


def test_gspo_clips_the_ratio_of_a_sequence_and_gives_every_token_its_gradient():
    """Two sequences: one within the bounds, one above them and pushed further up."""
    logp = torch.tensor([-1.0, -2.0, -1.5, -1.0], requires_grad=True)
    logq = torch.tensor([-1.1, -1.9, -2.5, -2.0])
    weight, sequence = torch.tensor([0.5, 0.5, 0.25, 0.25]), torch.tensor([0, 0, 1, 1])
    level = over_sequence((logp - logq).detach(), weight, sequence, mean=True)
    assert torch.allclose(level, torch.tensor([0.0, 0.0, 1.0, 1.0]), atol=1e-6)
    settings = SurrogateSettings(kind="gspo", sequence_low=0.1, sequence_high=0.2)
    loss, clipped = policy_gradient(logp, logq, weight, settings, level)
    assert float(loss.detach()) == pytest.approx(-(1.0 + 0.5 * 1.2), rel=1e-5)
    assert int(clipped) == 2
    assert torch.allclose(torch.autograd.grad(loss, logp)[0], torch.tensor([-0.5, -0.5, 0.0, 0.0]), atol=1e-6)


def test_a_token_without_a_weight_is_no_part_of_its_sequence_s_ratio():
    logp, logq = torch.tensor([-1.0, -3.0]), torch.tensor([-1.5, -1.0])
    found = (over_sequence(logp - logq, torch.tensor([0.5, 0.0]), torch.tensor([0, 0]), mean=m) for m in (True, False))
    assert [each.tolist() for each in found] == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("p", "q", "weight", "kept"),
    [
        (0.5, 0.2, 1.0, False),  # pushed up, and already further up than the bound
        (0.5, 0.2, -1.0, True),  # pushed back
        (0.2, 0.5, -1.0, False),
        (0.2, 0.5, 1.0, True),
        (0.001, 0.0001, 1.0, True),  # a ratio of ten, but hardly any probability has moved
        (0.35, 0.2, 1.0, True),
    ],
)
def test_dppo_leaves_out_tokens_whose_probability_has_moved_too_far_their_way(p, q, weight, kept):
    logp = torch.tensor([p]).log().requires_grad_()
    settings = SurrogateSettings(kind="dppo", trust_region=0.2)
    loss, clipped = policy_gradient(logp, torch.tensor([q]).log(), torch.tensor([weight]), settings)
    wanted = -weight * p / q if kept else 0.0
    assert int(clipped) == (not kept)
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)
    assert float(torch.autograd.grad(loss, logp)[0]) == pytest.approx(wanted, rel=1e-5)
