"""Figures of judges against brute force, enumeration and hand-computed values; what a bad judge does to best-of-n."""

import asyncio
import itertools
import math
import random

import pytest

from poziomka.core.errors import SettingsError, TaskError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.evaluation import pass_at
from poziomka.core.rollouts.verdict_form import Labelled
from poziomka.core.transcript import Author, Span, Transcript
from poziomka.testing import ScriptedSampler
from poziomka.thinking.judges.judge import Judge, Judgement
from poziomka.thinking.judges.quality import judged_by, quality_of
from poziomka.thinking.judges.statistics import (
    Judged,
    auc,
    best_of,
    brier,
    calibration_error,
    ceiling,
    rates,
    reliability,
)

RANDOM = random.Random(0)


def sample(count, values, hit=0.5, source=RANDOM):
    return [Judged(source.choice(values), float(source.random() < hit)) for _ in range(count)]


def brute_auc(judged):
    right = [each.value for each in judged if each.correct]
    wrong = [each.value for each in judged if not each.correct]
    return sum((a > b) + (a == b) / 2 for a in right for b in wrong) / (len(right) * len(wrong))


@pytest.mark.parametrize("values", [[0.5], [0.0, 1.0], [0.1, 0.2, 0.2, 0.9], [i / 97 for i in range(98)]])
def test_auc_counts_all_pairs_and_halves_ties(values):
    judged = sample(60, values)
    assert auc(judged) == pytest.approx(brute_auc(judged), abs=1e-12)


def test_a_judge_with_equal_values_has_auc_one_half_exactly():
    assert auc([Judged(0.3, 1.0), Judged(0.3, 0.0), Judged(0.3, 0.0)]) == 0.5
    assert auc([Judged(0.3, 1.0), Judged(0.3, 0.0), Judged(0.1, 1.0), Judged(0.9, 0.0)]) == 0.125  # 0, 1/2, 0, 0 of 4


def test_a_share_of_correct_continuations_counts_on_both_sides():
    # the pairs (right, wrong) of weights: 0.75 · 0.5 won, 0.25 · 0.5 lost, 0.75 · 0.25 and 0.5 · 0.5 tied
    judged = [Judged(0.9, 0.75), Judged(0.1, 0.5)]
    wins = 0.75 * 0.5 + (0.75 * 0.25 + 0.5 * 0.5) / 2
    assert auc(judged) == pytest.approx(wins / (1.25 * 0.75))


def test_without_both_classes_there_is_no_auc_and_no_rate():
    judged = [Judged(0.3, 1.0), Judged(0.4, 1.0)]
    assert math.isnan(auc(judged))
    true, false = rates(judged, 0.35)
    assert true == 0.5
    assert math.isnan(false)


def test_failed_and_undefined_values_are_left_out():
    judged = [Judged(0.9, 1.0), Judged(0.1, 0.0)]
    failed = [Judged(None, 0.0), Judged(math.nan, 1.0)]
    assert auc(judged + failed) == auc(judged) == 1.0
    assert brier(judged + failed) == pytest.approx(0.01)
    quality = quality_of([judged + failed, judged])
    assert (quality.judged, quality.failures) == (4, 2)


def test_calibration_is_that_of_the_bins():
    judged = [Judged(0.05, 0.0), Judged(0.05, 1.0), Judged(0.95, 1.0), Judged(1.0, 1.0), Judged(1.0, 0.0)]
    table = reliability(judged, bins=10)
    assert [each.count for each in table] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 3]
    assert (table[0].value, table[0].correct) == (0.05, 0.5)
    assert table[9].correct == pytest.approx(2 / 3)
    assert math.isnan(table[4].value)
    expected = 2 / 5 * abs(0.05 - 0.5) + 3 / 5 * abs(2.95 / 3 - 2 / 3)
    assert calibration_error(judged) == pytest.approx(expected)
    squares = [0.05**2, 0.95**2, 0.05**2, 0.0, 1.0]
    assert brier(judged) == pytest.approx(sum(squares) / 5)


def test_a_calibrated_judge_has_no_calibration_error():
    judged = [Judged(0.25, float(number == 0)) for number in range(4)] + [Judged(0.75, float(n > 0)) for n in range(4)]
    assert calibration_error(judged) == 0.0


@pytest.mark.parametrize(("p", "t", "f"), [(0.3, 0.9, 0.2), (0.5, 0.5, 0.5), (0.2, 0.3, 0.8)])
def test_the_ceiling_is_the_accuracy_of_sampling_until_accepted(p, t, f):
    source, accepted = random.Random(1), []
    while len(accepted) < 20_000:
        right = source.random() < p
        if source.random() < (t if right else f):
            accepted.append(right)
    assert ceiling(p, t, f) == pytest.approx(sum(accepted) / len(accepted), abs=0.015)
    assert (ceiling(p, t, f) < p) == (f > t)


def test_the_ceiling_of_a_judge_that_accepts_nothing_is_undefined():
    assert math.isnan(ceiling(0.5, 0.0, 0.0))
    assert ceiling(0.5, 1.0, 0.0) == 1.0


def enumerated(judged, n):
    """Best-of-n by all subsets, with each of the equal best chosen equally often."""
    outcomes = []
    for subset in itertools.combinations(judged, n):
        values = [-1.0 if each.value is None else each.value for each in subset]
        best = [each.correct for each, value in zip(subset, values, strict=True) if value == max(values)]
        outcomes.append(sum(best) / len(best))
    return sum(outcomes) / len(outcomes)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_best_of_n_is_that_of_all_subsets(n):
    judged = [*sample(5, [0.1, 0.5, 0.9]), Judged(None, 1.0), Judged(None, 0.0)]
    assert best_of(judged, n) == pytest.approx(enumerated(judged, n), abs=1e-12)


def test_best_of_n_with_a_perfect_judge_is_pass_at_n_and_with_a_blind_one_a_single_try():
    corrects = [1, 1, 0, 0, 0, 0, 0]
    for n in range(1, 8):
        assert best_of([Judged(float(c), c) for c in corrects], n) == pytest.approx(pass_at(2, 7, n))
        assert best_of([Judged(0.4, c) for c in corrects], n) == pytest.approx(2 / 7)


@pytest.mark.parametrize("n", [0, 3])
def test_best_of_more_attempts_than_there_are_is_refused(n):
    with pytest.raises(ValueError, match="best-of-n"):
        best_of([Judged(0.1, 1.0)] * 2, n)


def judged_groups(problems, attempts, value_of, seed=0):
    source = random.Random(seed)
    groups = []
    for _ in range(problems):
        hits = [float(source.random() < 0.5) for _ in range(attempts)]
        groups.append([Judged(value_of(source, hit), hit) for hit in hits])
    return groups


def test_a_good_judge_raises_accuracy_and_its_report_has_the_pooled_figures():
    groups = judged_groups(40, 8, lambda source, hit: min(1.0, source.random() * 0.6 + 0.4 * hit))
    quality = quality_of(groups, ns=[4, 8])
    pooled = [each for group in groups for each in group]
    true, false = rates(pooled)
    accuracy = sum(each.correct for each in pooled) / len(pooled)
    assert quality.auc.mean == pytest.approx(brute_auc(pooled))
    assert quality.accuracy.mean == pytest.approx(accuracy)
    assert quality.ceiling.mean == pytest.approx(ceiling(accuracy, true, false))
    assert quality.best_of[4].mean == pytest.approx(sum(best_of(group, 4) for group in groups) / 40)
    assert quality.gain[8].low > 0
    assert quality.harmful == []
    assert quality.auc.low < quality.auc.mean < quality.auc.high


def test_a_bad_judge_makes_best_of_n_worse_than_one_try_and_the_report_says_so():
    groups = judged_groups(40, 8, lambda source, hit: source.random() * 0.6 + 0.4 * (1 - hit))
    quality = quality_of(groups)
    assert list(quality.best_of) == [2, 4, 8]
    assert quality.false_positives.mean > quality.true_positives.mean
    assert quality.ceiling.high < quality.accuracy.mean
    assert quality.harmful == [2, 4, 8]
    assert all(quality.best_of[n].mean < quality.accuracy.mean for n in (2, 4, 8))
    assert str(quality).count("WORSE") == 3


def test_a_judge_that_knows_only_the_problem_ranks_none_of_its_replies():
    easy = [Judged(0.9, float(number < 7)) for number in range(8)]
    hard = [Judged(0.1, float(number < 1)) for number in range(8)]
    quality = quality_of([easy, hard] * 10)
    assert quality.auc.mean > 0.8
    assert quality.auc_within.mean == 0.5
    assert quality.gain[8].mean == pytest.approx(0.0, abs=1e-12)


def test_the_intervals_repeat_by_seed_and_cover_problems_not_replies():
    groups = judged_groups(20, 4, lambda source, hit: source.random())
    assert quality_of(groups, seed=1) == quality_of(groups, seed=1)
    assert quality_of(groups, seed=1).auc != quality_of(groups, seed=2).auc
    narrow = quality_of([[one] for group in groups for one in group] * 4, ns=[1])
    copied = quality_of([group * 4 for group in groups], ns=[1])  # copies of replies add no problem
    assert narrow.accuracy.mean == pytest.approx(copied.accuracy.mean)
    assert narrow.accuracy.high - narrow.accuracy.low < copied.accuracy.high - copied.accuracy.low


def test_nothing_judged_and_too_many_attempts_are_refused():
    with pytest.raises(TaskError):
        quality_of([[Judged(None, 1.0)], []])
    with pytest.raises(SettingsError):
        quality_of([[Judged(0.5, 1.0)] * 3], ns=[4])


def test_problems_with_too_few_attempts_are_left_out_of_best_of_n():
    quality = quality_of([[Judged(0.1, 0.0), Judged(0.9, 1.0)], [Judged(0.5, 0.0)]], ns=[2])
    assert quality.best_of[2].mean == 1.0
    assert quality.gain[2].mean == 0.5
    assert quality.accuracy.mean == 0.25


class Length(Judge):
    """A judge whose value is the number of words over 10; above 1 the value is no probability."""

    async def judge(self, transcripts, *, problem=None, seed=0):
        return [Judgement(len(each.reply.split()) / 10) for each in transcripts]


def test_a_judge_is_asked_problem_by_problem_and_its_faults_are_failures():
    problem = Problem("question")
    replies = [Transcript.of(problem.prompt) + Span(Author.MODEL, " a" * count) for count in (1, 5, 30)]
    labels = [[Labelled(problem, reply, float(n == 1)) for n, reply in enumerate(replies)], []]
    found = asyncio.run(judged_by(Length(), ScriptedSampler(["a"]), labels))
    assert found == [[Judged(0.1, 0.0), Judged(0.5, 1.0), Judged(None, 0.0)], []]


def test_the_figures_are_plain_values():
    plain = quality_of([[Judged(0.1, 0.0), Judged(0.9, 1.0)]] * 3).plain()
    assert plain["auc"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert plain["harmful"] == []
