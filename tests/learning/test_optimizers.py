"""The rate rises, stays and falls as its settings say; only matrices decay; Muon moves the matrices of the blocks."""

from array import array
from contextlib import nullcontext

import pytest
import torch

from poziomka.core.errors import SettingsError
from poziomka.learning.optim import muon
from poziomka.learning.optim.adamw import RoundedAdamW
from poziomka.learning.optim.optimizers import OptimizerSettings, optimizer_of
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import Example
from poziomka.learning.session import _flatten, _unflatten
from poziomka.models.kernels import ops as kernels


def rates(steps, **settings):
    schedule = OptimizerSettings(learning_rate=1.0, **settings)
    return [schedule.rate_at(step, (step - 1) / steps) for step in range(1, steps + 1)]


def test_the_rate_rises_linearly_over_the_warmup():
    assert rates(8, warmup_steps=4, decay_ratio=0.0) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_without_a_warmup_it_begins_at_its_highest():
    assert rates(3, warmup_steps=0, decay_ratio=0.0) == [1.0, 1.0, 1.0]


def test_it_falls_linearly_over_the_last_share():
    assert rates(8, warmup_steps=0, decay_ratio=0.5) == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_it_falls_to_the_floor_and_no_further():
    assert rates(8, warmup_steps=0, decay_ratio=0.5, min_lr_ratio=0.4) == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.4])


def test_it_may_fall_from_the_first_step_on():
    assert rates(4, warmup_steps=0, decay_ratio=1.0) == pytest.approx([1, 0.75, 0.5, 0.25])


def test_warmup_and_fall_multiply():
    assert rates(4, warmup_steps=4, decay_ratio=1.0) == pytest.approx([0.25, 0.375, 0.375, 0.25])


def test_only_matrices_decay(build):
    model = build()
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    optimizer = optimizer_of(dict(model.named_parameters()), OptimizerSettings(learning_rate=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        wanted = before[name] * (1 - 0.1 * 0.5) if parameter.dim() > 1 else before[name]
        assert torch.allclose(parameter, wanted)


def test_the_optimizer_has_the_settings_it_was_given(build):
    settings = OptimizerSettings(learning_rate=0.2, beta1=0.8, beta2=0.99, weight_decay=0.1)
    groups = optimizer_of(dict(build().named_parameters()), settings).param_groups
    assert {(group["lr"], group["betas"]) for group in groups} == {(0.2, (0.8, 0.99))}
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]


def test_muon_moves_the_matrices_of_the_blocks_and_adamw_the_rest(build):
    model = build()
    found = optimizer_of(dict(model.named_parameters()), OptimizerSettings(kind="muon"))
    muon, adamw = found.parts
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    moved = {names[id(parameter)] for group in muon.param_groups for parameter in group["params"]}
    assert moved == {
        f"blocks.0.{name}.weight"
        for name in ("attention.qkv", "attention.out", "feedforward.gate_up", "feedforward.down")
    }
    left = {names[id(parameter)] for group in adamw.param_groups for parameter in group["params"]}
    assert moved | left == set(names.values())


def test_a_step_of_muon_is_orthogonal_and_as_large_as_one_of_adamw():
    """Singular values near 1, times 0.2 √64: a root mean square near 0.2 of the rate."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(64, 32))
    weight.grad = torch.randn(64, 32, generator=draw)
    optimizer_of({"blocks.0.out.weight": weight}, OptimizerSettings(kind="muon", learning_rate=1.0)).step()
    moved = weight.detach() / (0.2 * 8)
    spread = torch.linalg.svdvals(moved)
    assert 0.5 < float(spread.min()) < float(spread.max()) < 1.3
    assert 0.15 < float(weight.detach().square().mean().sqrt()) < 0.25


def muon_steps(kind, draw, **settings):
    weights = [torch.nn.Parameter(torch.randn(shape, generator=draw)) for shape in ((48, 32), (32, 48), (32, 32))]
    optimizer = kind(weights, lr=0.1, weight_decay=0.1, **settings)
    for _ in range(3):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=draw)
        optimizer.step()
    return [weight.detach() for weight in weights]


def test_muon_in_bfloat16_is_that_of_pytorch_and_in_float32_it_is_near(monkeypatch):
    theirs = muon_steps(torch.optim.Muon, torch.Generator().manual_seed(0), adjust_lr_fn="match_rms_adamw")
    for dtype, tolerance in ((torch.bfloat16, 0.0), (torch.float32, 0.02)):
        monkeypatch.setattr(muon, "precision", lambda weight, dtype=dtype: dtype)
        ours = muon_steps(muon.Muon, torch.Generator().manual_seed(0))
        far = max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))
        assert far <= tolerance
        assert (far > 0) == (dtype is torch.float32)


def test_muon_computes_in_float32_only_on_processors_without_bfloat16_instructions(monkeypatch):
    weight = torch.zeros(2, 2)
    for has, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(muon, "multiplies_bfloat16", lambda has=has: has)
        assert muon.precision(weight) is dtype


@pytest.mark.parametrize("how", [{"kind": "muon"}, {"moments": "bfloat16"}, {"kind": "muon", "moments": "bfloat16"}])
def test_a_learner_goes_on_bit_for_bit_from_a_checkpoint(build, learner_of, how):
    """Through the names under which a checkpoint holds the state."""
    for dtype in (torch.float32, torch.bfloat16):
        one = learner_of(build(loud=0.1).to(dtype), **how, weight_decay=0.1)
        batch = Batch.pack([Example(array("i", [1, 3, 4]), *[array("f", [0, 0.5, 0.5])] * 3)])
        for _ in range(3):
            one.step(batch, 1e-2)
        two = learner_of(build(seed=9).to(dtype), **how, weight_decay=0.1)
        two.model.load_state_dict(one.weights())
        two.restore(_unflatten(_flatten(one.state()), two.state()))
        for learner in (one, two):
            learner.step(batch, 1e-2)
        for name, master in one.masters.named.items():
            assert torch.equal(master, two.masters.named[name])


def steps_of(make, count=20):
    """Takes steps with some weights by made-up gradients; returns the weights."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(300, 70, generator=draw))
    optimizer = make([{"params": [weight], "weight_decay": 0.1}])
    for _ in range(count):
        weight.grad = 1e-3 * torch.randn(300, 70, generator=draw) + 3e-4
        optimizer.step()
    return weight.detach(), optimizer


@pytest.mark.parametrize("plain", [True, False])
def test_moments_in_bfloat16_move_weights_as_those_in_fp32_do(plain):
    wanted, _ = steps_of(lambda groups: torch.optim.AdamW(groups, 1e-3, (0.9, 0.95)))
    started, _ = steps_of(lambda groups: torch.optim.AdamW(groups, 0.0, (0.9, 0.95)))
    with kernels.plain() if plain else nullcontext():
        found, optimizer = steps_of(lambda groups: RoundedAdamW(groups, 1e-3, (0.9, 0.95)))
    assert (found - wanted).norm() < 0.01 * (wanted - started).norm()
    (state,) = optimizer.state.values()
    assert {name: each.dtype for name, each in state.items()} == {
        "step": torch.float32,
        "exp_avg": torch.bfloat16,
        "exp_avg_sq": torch.bfloat16,
    }


def test_the_kernel_of_adamw_takes_the_plain_steps():
    with kernels.plain():
        wanted, _ = steps_of(lambda groups: RoundedAdamW(groups, 1e-2, (0.9, 0.95)), 3)
    found, _ = steps_of(lambda groups: RoundedAdamW(groups, 1e-2, (0.9, 0.95)), 3)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-4)  # a moment may round to the neighbour


def test_second_moments_in_bfloat16_must_not_be_too_slow():
    with pytest.raises(SettingsError, match=r"beta2 is 0\.999.*too coarse.*0\.99 or less"):
        OptimizerSettings(moments="bfloat16", beta2=0.999)
