"""Advantages are the formulas of their papers; what says nothing is None."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poziomka.core.errors import SettingsError
from poziomka.core.rollout import rewards_of
from poziomka.learning.samples.advantages import (
    ADVANTAGES,
    advantage_named,
    batch_std,
    dr_grpo,
    expert,
    group_std,
    informative,
    rloo,
)


def test_dr_grpo_subtracts_the_mean(group):
    assert dr_grpo([group(1.0, 0.0, 0.0, 0.0)]) == [[0.75, -0.25, -0.25, -0.25]]


def test_group_divides_by_the_groups_standard_deviation(group):
    std = math.sqrt(3) / 4
    wanted = [0.75 / std, -0.25 / std, -0.25 / std, -0.25 / std]
    assert group_std([group(1.0, 0.0, 0.0, 0.0)])[0] == pytest.approx(wanted, rel=1e-5)


def test_batch_divides_by_the_standard_deviation_of_all_centred_rewards(group):
    """Centred: ±0.5 twice, and 0.75 with three times -0.25: the mean square of six is 1.25 / 6."""
    std = math.sqrt((2 * 0.25 + 0.5625 + 3 * 0.0625) / 6)
    found = batch_std([group(1.0, 0.0), group(1.0, 0.0, 0.0, 0.0), group(1.0, 1.0)])
    assert found[0] == pytest.approx([0.5 / std, -0.5 / std], rel=1e-5)
    assert found[1] == pytest.approx([0.75 / std, *[-0.25 / std] * 3], rel=1e-5)


def test_rloo_subtracts_the_mean_of_the_others(group):
    assert rloo([group(1.0, 0.5, 0.0)])[0] == pytest.approx([1.0 - 0.25, 0.5 - 0.5, 0.0 - 0.75])


def test_expert_learns_from_right_attempts_only(group):
    assert expert([group(1.0, 0.0, 1.0), group(0.0, 0.0), group(1.0, None)]) == [
        [1.0, None, 1.0],
        [None, None],
        [1.0, None],
    ]


@pytest.mark.parametrize("name", ["batch", "group", "rloo", "dr_grpo"])
def test_a_group_without_variance_says_nothing(group, name):
    found = advantage_named(name)([group(1.0, 1.0, 1.0), group(0.0, 0.0), group(0.3, 0.3), group(1.0, 0.0)])
    assert found[:3] == [[None] * 3, [None] * 2, [None] * 2]
    assert None not in found[3]


@pytest.mark.parametrize("name", ["batch", "group", "rloo", "dr_grpo"])
def test_groups_without_variance_change_nothing_for_the_others(group, name):
    told = advantage_named(name)([group(1.0, 0.0, 0.0)])[0]
    assert advantage_named(name)([group(1.0, 1.0), group(1.0, 0.0, 0.0), group(0.0, 0.0)])[1] == told


@pytest.mark.parametrize("name", ["batch", "group", "rloo", "dr_grpo"])
def test_failed_checks_are_in_no_mean_and_learn_nothing(group, name):
    failed, judged = advantage_named(name)([group(1.0, None, 0.0, None)]), advantage_named(name)([group(1.0, 0.0)])
    assert [failed[0][0], failed[0][2]] == judged[0]
    assert failed[0][1] is failed[0][3] is None


@pytest.mark.parametrize("name", ["batch", "group", "rloo", "dr_grpo"])
@pytest.mark.parametrize("rewards", [(1.0,), (None, None), (1.0, None), ()])
def test_fewer_than_two_judged_attempts_say_nothing(group, name, rewards):
    assert advantage_named(name)([group(*rewards)]) == [[None] * len(rewards)]


def test_of_no_groups_there_are_no_advantages():
    assert [estimate([]) for estimate in ADVANTAGES.values()] == [[]] * 5


@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=6), min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture makes rollouts and keeps nothing
def test_advantages_are_centred_ordered_and_scaled(group, rewards):
    groups = [group(*values) for values in rewards]
    for name in ("batch", "group", "rloo", "dr_grpo"):
        for values, found in zip(rewards, advantage_named(name)(groups), strict=True):
            if found[0] is not None:
                assert sum(found) == pytest.approx(0, abs=1e-6)
                best = max(range(len(values)), key=values.__getitem__)
                assert found[best] == max(found) > 0
    learned = [value for found in batch_std(groups) for value in found if value is not None]
    if learned and all(max(v) - min(v) > 1e-2 or max(v) - min(v) < 1e-6 for v in rewards):
        assert sum(value**2 for value in learned) / len(learned) == pytest.approx(1, rel=1e-3)


def test_rewards_of_a_group_are_those_that_were_judged(group):
    assert rewards_of(group(1.0, None, 0.25)) == [1.0, 0.25]
    assert informative(group(1.0, None, 0.25))
    assert not informative(group(1.0, None, 1.0))


def test_an_unknown_advantage_is_answered_with_the_nearest():
    with pytest.raises(SettingsError, match="unknown advantage 'grop'; did you mean 'group'"):
        advantage_named("grop")
