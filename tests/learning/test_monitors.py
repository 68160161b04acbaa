"""What a step says of itself is counted right, and a hopeless run is stopped."""

import pytest

from poziomka.core.errors import LearningError
from poziomka.core.problem import Verdict
from poziomka.core.transcript import Author, Span, Stop, compact, compact_floats
from poziomka.learning.monitoring.stop_conditions import StopConditions, describe


@pytest.fixture
def forced(rollout):
    def forced(reward):
        return rollout(
            reward,
            spans=[
                Span(Author.USER, "", compact([1])),
                Span(Author.MODEL, "", compact([5] * 4), compact_floats([-1] * 4), Stop.LENGTH, "v1"),
                Span(Author.FORCED, " </think>", compact([4])),
                Span(Author.MODEL, "", compact([6, 2]), compact_floats([-1] * 2), Stop.END, "v1"),
            ],
        )

    return forced


def test_rewards_and_verdicts_are_counted(group, rollout):
    groups = [group(1.0, 0.0, None, 0.5), group(1.0, 1.0), [rollout(None, verdict=Verdict.TIMEOUT)] * 2]
    metrics = describe(groups)
    assert metrics["reward/mean"] == pytest.approx(3.5 / 5)
    assert metrics["reward/pass_rate"] == pytest.approx(3 / 5)
    assert metrics["verdict/failures"] == pytest.approx(3 / 8)
    assert metrics["groups/zero_variance"] == pytest.approx(2 / 3)


def test_every_verdict_is_counted_errors_and_time_outs_apart(group, rollout):
    metrics = describe([group(1.0, 0.0, None), [rollout(None, verdict=Verdict.TIMEOUT)] * 2])
    counts = {name: count for name, count in metrics.items() if name.startswith("verdict/") and "failures" not in name}
    assert counts == {
        "verdict/correct": 1.0,
        "verdict/wrong": 1.0,
        "verdict/unparsed": 0.0,
        "verdict/truncated": 0.0,
        "verdict/error": 1.0,
        "verdict/timeout": 2.0,
    }


def test_lengths_are_told_by_outcome(group, rollout):
    cut = rollout(0.0, own=9, verdict=Verdict.TRUNCATED)
    unread = rollout(0.0, own=5, verdict=Verdict.UNPARSED)
    metrics = describe([[*group(1.0, 0.0, lengths=[2, 3]), cut, unread]])
    assert (metrics["length/correct"], metrics["length/wrong"], metrics["length/truncated"]) == (2, 4, 9)
    assert metrics["tokens/sampled"] == 2 + 3 + 9 + 5


def test_forced_ends_are_told(group, forced):
    metrics = describe([[forced(1.0), *group(0.0, 0.0, 1.0)]])
    assert metrics["policy/forced_share"] == 0.25
    assert metrics["length/thinking"] == (4 + 3 * 3) / 4


def test_what_did_not_occur_is_left_out(group):
    metrics = describe([group(None, None)])
    assert not {"reward/mean", "reward/pass_rate", "length/correct", "length/wrong", "length/truncated"} & set(metrics)
    assert metrics["verdict/failures"] == 1


# ------------------------------------------------------------------------------------------------------------- Watch
def test_steps_with_variance_are_not_spoken_of(group):
    assert StopConditions(1, 0.0).look([group(1.0, 0.0), group(1.0, 1.0)]) == []


def test_steps_without_variance_are_counted_until_patience_ends(group):
    watch = StopConditions(3, 0.0)
    for _ in range(2):
        assert watch.look([group(1.0, 1.0)]) == ["no group had attempts of different reward: this step learns nothing"]
    with pytest.raises(LearningError, match=r"for 3 steps \(all rewards near 1\.00\)"):
        watch.look([group(1.0, 1.0)])


def test_a_step_with_variance_restores_the_patience(group):
    watch = StopConditions(2, 0.0)
    for rewards in ((0.0, 0.0), (1.0, 0.0), (0.0, 0.0)):
        watch.look([group(*rewards)])
    with pytest.raises(LearningError, match="for 2 steps"):
        watch.look([group(0.0, 0.0)])


def test_without_a_bound_patience_never_ends(group):
    watch = StopConditions(None, 0.0)
    for _ in range(100):
        watch.look([group(0.0, 0.0)])
    assert watch.silent == 100


def test_failed_checks_within_the_bound_are_told_and_left_out(group):
    (sentence,) = StopConditions(None, 0.5).look([group(1.0, 0.0, None, None)])
    assert sentence == "2 of 4 checks failed (r2: it broke); they are left out"


def test_checks_that_did_not_return_in_time_are_told_apart(group, rollout):
    (sentence,) = StopConditions(None, 0.9).look(
        [[*group(1.0, 0.0, None), rollout(None, name="late", verdict=Verdict.TIMEOUT)]]
    )
    assert sentence == "2 of 4 checks failed, 1 by the time limit (r2: it broke); they are left out"


def test_failed_checks_beyond_the_bound_stop_the_run(group):
    with pytest.raises(LearningError, match=r"3 of 4 checks failed \(r1: it broke\); more than 50%"):
        StopConditions(None, 0.5).look([group(1.0, None, None, None)])


def test_where_nothing_was_judged_that_is_said(group):
    with pytest.raises(LearningError, match="nothing judged"):
        StopConditions(1, 1.0).look([group(None, None)])
