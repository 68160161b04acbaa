"""The rate rises, stays and falls as its settings say; only matrices decay."""

import pytest
import torch

from poziomka.learning.optimizers import OptimizerSettings, optimizer_of


def rates(steps, **settings):
    schedule = OptimizerSettings(rate=1.0, **settings)
    return [schedule.rate_at(step, (step - 1) / steps) for step in range(1, steps + 1)]


def test_the_rate_rises_linearly_over_the_warmup():
    assert rates(8, warmup=4, decay=0.0) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_without_a_warmup_it_begins_at_its_highest():
    assert rates(3, warmup=0, decay=0.0) == [1.0, 1.0, 1.0]


def test_it_falls_linearly_over_the_last_share():
    assert rates(8, warmup=0, decay=0.5) == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_it_falls_to_the_floor_and_no_further():
    assert rates(8, warmup=0, decay=0.5, floor=0.4) == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.4])


def test_it_may_fall_from_the_first_step_on():
    assert rates(4, warmup=0, decay=1.0) == pytest.approx([1, 0.75, 0.5, 0.25])


def test_warmup_and_fall_multiply():
    assert rates(4, warmup=4, decay=1.0) == pytest.approx([0.25, 0.375, 0.375, 0.25])


def test_only_matrices_decay(build):
    model = build()
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    optimizer = optimizer_of(dict(model.named_parameters()), OptimizerSettings(rate=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        wanted = before[name] * (1 - 0.1 * 0.5) if parameter.dim() > 1 else before[name]
        assert torch.allclose(parameter, wanted)


def test_the_optimizer_has_the_settings_it_was_given(build):
    settings = OptimizerSettings(rate=0.2, beta1=0.8, beta2=0.99, weight_decay=0.1)
    groups = optimizer_of(dict(build().named_parameters()), settings).param_groups
    assert {(group["lr"], group["betas"]) for group in groups} == {(0.2, (0.8, 0.99))}
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
