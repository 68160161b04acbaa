"""Changes are told from chance: moments add up, and intervals are those of the papers they come from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.rollouts.evaluation import proportion
from poziomka.learning.monitoring.clustered_stats import Moments, change_of_mean, change_of_share

GROUPS = st.lists(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=3, max_size=3), min_size=1, max_size=12)


@given(GROUPS)
def test_a_share_is_the_proportion_of_evaluation(groups):
    found, wanted = Moments.of(groups).share(0.95), proportion(groups)
    assert (found.mean, found.low, found.high) == pytest.approx((wanted.mean, wanted.low, wanted.high), abs=1e-6)


@given(GROUPS, GROUPS)
def test_moments_of_two_steps_are_those_of_both_together(one, two):
    together, sum_ = Moments.of([*one, *two]), Moments.of(one) + Moments.of(two)
    assert sum_.plain() == pytest.approx(together.plain())


def test_what_a_checkpoint_keeps_reads_back_the_same():
    moments = Moments.of([[0.1, 0.3], [1.0, 0.7], []])
    assert Moments(*moments.plain()) == moments


def test_nothing_measured_is_no_estimate():
    with pytest.raises(ValueError, match="at least one value"):
        Moments.of([[], []]).share(0.95)


@pytest.mark.parametrize(
    ("after", "before", "low", "high"),
    [  # Newcombe 1998, table II, method 10: (a) 56/70 - 48/80, (e) 5/56 - 0/29, (h) 10/10 - 0/10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_the_interval_of_a_change_is_newcombes(after, before, low, high):
    def independent(right, count):
        return Moments(count, float(right), float(right), count)

    found = change_of_share(independent(*after), independent(*before), 0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)  # clustered: count - 1 in place of count


def test_a_change_of_a_mean_has_a_normal_interval():
    change = change_of_mean(Moments.of([[9.0], [11.0], [10.0], [10.0]]), Moments.of([[4.0]] * 4), 0.95)
    assert change.mean == 6.0
    assert (change.low, change.high) == pytest.approx((6 - 1.96 * (1 / 6) ** 0.5, 6 + 1.96 * (1 / 6) ** 0.5), abs=1e-3)
