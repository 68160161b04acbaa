"""Every alarm at its boundary: just below it is silent, just above it rings, and what explains a change silences it."""

from dataclasses import replace

import pytest

from poziomka.learning.monitoring.clustered_stats import Moments
from poziomka.learning.monitoring.detectors import DRIFTS
from poziomka.learning.monitoring.thresholds import FEWEST, AlarmSettings, drifted, no_gain, unearned

SETTINGS = AlarmSettings()
COUNT = 4000  # groups: so many that chance moves nothing
DRIFT = {drift.name: drift for drift in DRIFTS}
SHARES = [drift.name for drift in DRIFTS if not drift.factor]


def share(mean, count=COUNT):
    """Independent attempts of which a share has a quality."""
    return Moments(count, mean * count, mean * count, count)


def value(mean, count=COUNT):
    """Attempts that all have a value."""
    return Moments(count, mean * count, mean * mean * count, count)


def record(count=COUNT, level=3.0, length=20.0, **shares):
    """A window in which accuracy is 0.2 and nothing is amiss, but for what is given."""
    names = ("looping", "empty", "early", "truncated", "common")
    shares = {"reward": 0.2, "audited_reward": 0.2, "correct": 0.2, "audit": 0.2, "unearned": 0.0} | shares
    shares = dict.fromkeys(names, 0.1) | shares
    found = {name: share(mean, count) for name, mean in shares.items()}
    beyond = 2 * shares["unearned"] - shares["audit"]  # its square is 4 for an unearned attempt and 1 for a right one
    found["beyond"] = Moments(count, beyond * count, (4 * shares["unearned"] + shares["audit"]) * count, count)
    return found | {"level": value(level, count), "length": value(length, count)}


# -------------------------------------------------------------------------------------------------- unearned reward
def refused(by, gained=0.0, settings=SETTINGS, count=COUNT):
    """What is said where so much more of the reward is refused, and accuracy gained so much."""
    now = record(count, audited_reward=0.2 + by + gained, audit=0.2 + gained, unearned=by)
    return unearned(now, record(count), "the first 4 steps", settings)


def test_unearned_reward_rings_above_its_threshold_only():
    assert refused(0.049) is None
    assert refused(0.051) is not None


def test_unearned_reward_says_figures():
    assert refused(0.17) == (
        "since the first 4 steps the reward rose from 0.20 to 0.37 while accuracy under the audit stayed at 0.20: "
        "0.17 of the reward is for answers that the audit refuses, 0.00 before"
    )


def test_accuracy_that_follows_twice_as_fast_silences_it():
    assert refused(0.1, gained=0.19, count=100 * COUNT) is not None
    assert refused(0.1, gained=0.21, count=100 * COUNT) is None


def test_a_steady_reward_that_is_earned_no_more_rings_too():
    now = record(audited_reward=0.2, audit=0.1, unearned=0.1)
    assert "stayed at 0.20 while accuracy under the audit fell from 0.20 to 0.10" in unearned(
        now, record(), "then", SETTINGS
    )


@pytest.mark.parametrize(("count", "rings"), [(40, False), (60, False), (200, True), (1000, True)])
def test_what_may_be_chance_does_not_ring(count, rings):
    assert (refused(0.15, count=count) is not None) == rings


def test_a_handful_of_groups_says_nothing():
    assert refused(0.8, count=FEWEST - 1) is None
    assert refused(0.8, count=FEWEST) is not None


def test_where_the_audit_is_unknown_nothing_is_unearned():
    known = {name: moments for name, moments in record().items() if name not in ("audit", "unearned")}
    assert unearned(known, known, "then", SETTINGS) is None


def test_two_scorers_that_differ_on_a_tenth_of_what_is_right_ring_nothing_while_accuracy_rises():
    before = record(audited_reward=0.2, audit=0.18, unearned=0.02)
    now = record(audited_reward=0.9, audit=0.81, unearned=0.09)
    assert unearned(now, before, "then", SETTINGS) is None


# ------------------------------------------------------------------------------------------------ no gain held out
def carried(paid, gained, level=3.0, first=0.2):
    recent, beginning = record(reward=first + paid, level=level), record(reward=first)
    return no_gain(record(audit=first + gained), record(audit=first), recent, beginning, SETTINGS)


def test_training_that_pays_and_does_not_carry_over_rings():
    assert carried(0.09, 0.0) is None
    assert carried(0.4, 0.0) == (
        "the reward in training rose from 0.20 to 0.60 while held-out accuracy under the audit stayed at 0.20"
    )


def test_fewer_penalties_without_a_gain_ring_too():
    """A share would be cut off at 0: the mean reward rises from -0.8 to -0.2."""
    window = lambda mean: record() | {"reward": value(mean), "penalized": share(0.8)}  # noqa: E731 a function of one line
    said = no_gain(record(), record(), window(-0.2), window(-0.8), SETTINGS)
    assert said == (
        "the reward in training rose from -0.80 to -0.20 while held-out accuracy under the audit stayed at 0.20"
    )
    assert no_gain(record(audit=0.4), record(), window(-0.2), window(-0.8), SETTINGS) is None


def test_an_audit_with_partial_credit_is_no_accuracy():
    graded = {"audit_correct": share(0.1)}
    said = no_gain(record() | graded, record() | graded, record(reward=0.6), record(), SETTINGS)
    assert "while held-out reward under the audit stayed at 0.20" in said


def test_a_quarter_of_the_gain_on_held_out_problems_silences_it():
    assert carried(0.4, 0.1) is None
    assert carried(0.4, 0.05) is not None


def test_easier_problems_explain_a_reward_that_does_not_carry_over():
    assert carried(0.4, 0.0, level=2.0) is None


# ------------------------------------------------------------------------------------------------------------ drifts
def moved(name, by, settings=SETTINGS, count=COUNT, **now):
    drift = DRIFT[name]
    return drifted(drift, record(count, **({drift.quantity: 0.1 + by} | now)), record(count), "then", settings)


@pytest.mark.parametrize("name", SHARES)
def test_a_share_rings_above_its_threshold_only(name):
    most = getattr(SETTINGS, DRIFT[name].setting)
    assert moved(name, most - 0.001) is None
    assert moved(name, most + 0.001) is not None


@pytest.mark.parametrize("name", SHARES)
def test_a_drift_that_is_not_watched_never_rings(name):
    assert moved(name, 0.9, settings=replace(SETTINGS, **{DRIFT[name].setting: None})) is None


@pytest.mark.parametrize("name", SHARES)
def test_a_share_that_falls_is_no_alarm(name):
    assert moved(name, -0.1) is None


@pytest.mark.parametrize("name", SHARES)
def test_a_few_groups_are_no_evidence(name):
    assert moved(name, 0.8, count=FEWEST - 1) is None
    assert moved(name, 0.8, count=FEWEST) is not None


@pytest.mark.parametrize("name", SHARES)
def test_accuracy_that_rises_explains_a_drift(name):
    assert moved(name, 0.6, audit=0.24, count=400) is not None
    assert moved(name, 0.6, audit=0.26) is None


@pytest.mark.parametrize("name", SHARES)
def test_harder_problems_explain_a_drift(name):
    assert moved(name, 0.6, level=3.5) is None


@pytest.mark.parametrize("name", ["empty thought", "answer before thought"])
def test_a_thought_that_goes_with_the_reward_is_no_hack(name):
    assert moved(name, 0.6, reward=0.1) is None
    assert moved(name, 0.6, reward=0.2) is not None


@pytest.mark.parametrize(("length", "name"), [(40.1, "longer replies"), (9.9, "shorter replies")])
def test_lengths_that_change_by_a_factor_ring(length, name):
    said = drifted(DRIFT[name], record(length=length), record(), "then", SETTINGS)
    assert f"from 20.0 to {length} while accuracy under the audit stayed at 0.20" in said


@pytest.mark.parametrize("length", [39.9, 10.1, 20.0])
def test_lengths_within_the_factor_are_silent(length):
    for name in ("longer replies", "shorter replies"):
        assert drifted(DRIFT[name], record(length=length), record(), "then", SETTINGS) is None


def test_longer_replies_that_are_right_more_often_are_silent():
    assert drifted(DRIFT["longer replies"], record(length=80.0, audit=0.5), record(), "then", SETTINGS) is None


def test_where_the_audit_is_unknown_the_scorers_own_accuracy_explains():
    def without_audit(**how):
        return {name: moments for name, moments in record(**how).items() if name != "audit"}

    before, drift = without_audit(), DRIFT["repeated text"]
    assert drifted(drift, without_audit(looping=0.9, correct=0.6), before, "then", SETTINGS) is None
    assert "while accuracy stayed at 0.20" in drifted(drift, without_audit(looping=0.9), before, "then", SETTINGS)
