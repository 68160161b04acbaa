"""Accuracy, intervals, pass@k and majority voting, against figures worked out elsewhere."""

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.rollouts.evaluation import Estimate, Evaluation, evaluate, paired_gain, pass_at, proportion, wilson
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Transcript, compact
from poziomka.testing import ScriptedSampler

SHARES = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=8)


def rollout(answer, gold="7", key="p"):
    """An attempt that answered; None failed its check, "" could not be read."""
    if answer is None:
        score = Score.failed(Verdict.TIMEOUT, "slow")
    elif not answer:
        score = Score.unparsed("nothing there")
    else:
        score = Score.right(answer) if answer == gold else Score.wrong(answer)
    transcript = Transcript((Span(Author.MODEL, "x", compact([1, 2])),))
    return Rollout("r", Problem.ask("sums", key, "?", gold), (Branch(transcript, score),))


def evaluation(*groups):
    return Evaluation([[rollout(answer, key=f"p{number}") for answer in group] for number, group in enumerate(groups)])


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # statsmodels proportion_confint(method="wilson"), to four places
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (87, 100, 0.7902, 0.9224),
        (1, 1000, 0.0002, 0.0056),
    ],
)
def test_wilsons_interval(successes, trials, low, high):
    estimate = wilson(successes / trials, trials)
    assert (estimate.low, estimate.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_more_confidence_is_a_wider_interval():
    narrow, wide = wilson(0.5, 20, 0.8), wilson(0.5, 20, 0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_an_estimate_prints_its_interval():
    assert str(Estimate(0.866, 0.84, 0.9)) == "0.87 [0.84, 0.90]"


def test_single_attempts_give_nearly_wilsons_interval():
    groups = [[1.0]] * 87 + [[0.0]] * 13
    assert proportion(groups).low == pytest.approx(wilson(0.87, 99).low)


def test_attempts_at_one_problem_are_not_independent():
    clustered = proportion([[1.0] * 8, [0.0] * 8] * 10)
    independent = proportion([[1.0], [0.0]] * 80)
    assert clustered.high - clustered.low > 2 * (independent.high - independent.low)


def test_attempts_that_vary_alike_count_each():
    mixed, single = proportion([[1.0, 0.0]] * 20), wilson(0.5, 20)
    assert mixed.high - mixed.low == pytest.approx(single.high - single.low)


def test_empty_groups_are_left_out():
    assert proportion([[1.0], [], [0.0]]) == proportion([[1.0], [0.0]])


def test_an_estimate_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one judged attempt: received none"):
        proportion([[], []])


@given(SHARES)
def test_an_interval_holds_its_mean_and_lies_in_0_to_1(groups):
    estimate = proportion(groups)
    assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1


def test_a_certain_gain_has_no_width():
    assert paired_gain([[1.0], [1.0]], [[0.5], [0.5]]) == Estimate(0.5, 0.5, 0.5)


def test_a_paired_gain_has_the_normal_interval():
    gain = paired_gain([[1.0], [1.0], [0.0], [1.0]], [[0.0], [1.0], [0.0], [0.0]])
    assert gain.mean == 0.5
    assert gain.high - gain.mean == pytest.approx(1.959964 * 0.288675, abs=1e-6)  # sd of 1, 0, 0, 1 is 0.57735


@pytest.mark.parametrize(("after", "before"), [([[1.0]], [[1.0]]), ([[1.0]] * 2, [[1.0]] * 3)])
def test_a_gain_needs_the_same_problems_twice(after, before):
    with pytest.raises(ValueError, match=f"received {len(after)} and {len(before)}"):
        paired_gain(after, before)


@pytest.mark.parametrize(
    ("correct", "attempts", "k", "chance"),
    [(0, 5, 3, 0.0), (5, 5, 1, 1.0), (1, 2, 1, 0.5), (1, 4, 2, 0.5), (3, 10, 5, 1 - 21 / 252), (8, 10, 3, 1.0)],
)
def test_pass_at_k(correct, attempts, k, chance):
    assert pass_at(correct, attempts, k) == pytest.approx(chance)


@given(st.integers(1, 8), st.data())
def test_pass_at_k_counts_the_choices_that_hold_a_right_one(attempts, data):
    correct, k = data.draw(st.integers(0, attempts)), data.draw(st.integers(1, attempts))
    hits = sum(any(index < correct for index in choice) for choice in combinations(range(attempts), k))
    assert pass_at(correct, attempts, k) == pytest.approx(hits / comb(attempts, k))


@pytest.mark.parametrize(("correct", "attempts", "k"), [(1, 4, 0), (1, 4, 5), (5, 4, 1), (-1, 4, 1)])
def test_pass_at_k_outside_its_range_is_refused(correct, attempts, k):
    with pytest.raises(ValueError, match="needs 1 <= k <= attempts"):
        pass_at(correct, attempts, k)


def test_failed_checks_are_counted_and_in_no_mean():
    result = evaluation(["7", None], [None, None], ["8", ""])
    assert result.failures == 3
    assert result.corrects == [[1.0], [], [0.0, 0.0]]
    assert result.rewards == result.corrects
    assert result.accuracy.mean == 0.5


def test_an_accuracy_of_failed_checks_only_is_refused_with_the_reason():
    with pytest.raises(TaskError, match=r"3 of 3 checks failed \(r: slow\)"):
        _ = evaluation([None, None], [None]).accuracy
    with pytest.raises(TaskError, match="no attempt could be judged"):
        _ = evaluation().accuracy


def test_verdicts_are_counted():
    assert evaluation(["7", None, "8"], ["7", ""]).verdicts() == {"correct": 2, "wrong": 1, "unparsed": 1, "timeout": 1}


def test_tokens_are_the_mean_of_an_attempt():
    assert evaluation(["7", "8"], ["7"]).tokens == 2


def test_thinking_is_the_mean_of_an_attempt():
    assert evaluation(["7", "8"], ["7"]).thinking == 2


def test_the_oracle_picks_a_right_attempt():
    result = evaluation(["7", "8"], ["8", "8"])
    assert result.pass_at(1).mean == 0.25
    assert result.pass_at(2).mean == 0.5


def test_groups_too_small_for_k_are_left_out():
    assert evaluation(["7", "7"], ["8"]).pass_at(2).mean == 1.0


def test_the_majority_decides():
    assert evaluation(["7", "8", "7"], ["8", "7", "8"]).majority_at(3).mean == 0.5


def test_replies_without_an_answer_do_not_vote():
    assert evaluation(["", "", "7"]).majority_at(3).mean == 1.0


def test_a_ballot_without_votes_is_lost():
    assert evaluation(["", "", ""]).majority_at(3).mean == 0.0


def test_attempts_are_cut_into_disjoint_ballots():
    assert evaluation(["7", "7", "8", "8", "7"]).majority_at(2).mean == 0.5


def test_ties_are_broken_without_the_gold_answer():
    result = evaluation(*[["7", "8"]] * 400)
    assert 0.4 < result.majority_at(2).mean < 0.6
    assert result.majority_at(2) == result.majority_at(2)


def source(split, index, level):
    return Problem.ask("sums", f"{split}/{index}", f"{index} ?", str(index))


def scorer(problem, transcript):
    return Score.right("x") if transcript.reply.strip() == problem.answer else Score.wrong("x")


@pytest.mark.parametrize(("size", "count"), [(None, 3), (2, 2)])
def test_a_split_is_evaluated_from_its_start(size, count):
    task = Task("sums", source, scorer, size=size, trusted=True)
    result = evaluate(ScriptedSampler([" 0", " 5", " 2"]), task, SamplingParams(), problems=3)
    assert [group[0].problem.key for group in result.groups] == [f"test/{index}" for index in range(count)]
    assert result.corrects == [[1.0], [0.0], [1.0]][:count]


def test_an_evaluation_repeats_exactly():
    task = Task("sums", source, scorer, trusted=True)
    sampler = ScriptedSampler(lambda transcript, sampling: f" {sampling.seed}")
    first, second = (evaluate(sampler, task, SamplingParams(), problems=2, attempts=2) for _ in range(2))
    assert first.groups == second.groups


# ------------------------------------------------------------------------------- what failed checks leave open
@pytest.mark.fault("A11")
def test_a_failed_check_takes_no_problem_out_of_pass_at_k_and_the_majority():
    one_each = evaluation(["7", None], ["8", None], ["8", None], ["8", "8"])
    assert one_each.pass_at(2).mean == 0.25
    assert one_each.majority_at(2).mean == 0.25


@pytest.mark.fault("A11")
def test_figures_have_bounds_with_every_failed_check_wrong_and_right():
    result = evaluation(["7", None], [None, None], ["8", "8"])
    assert (result.accuracy.mean, result.problems, result.failures) == (0.5, 2, 3)
    assert result.bounds == (pytest.approx(1 / 6), pytest.approx(2 / 3))
    assert (result.pass_at(2, failed=0.0).mean, result.pass_at(2, failed=1.0).mean) == pytest.approx((1 / 3, 2 / 3))
    assert (result.majority_at(2, failed=0.0).mean, result.majority_at(2, failed=1.0).mean) == pytest.approx((0, 2 / 3))


@pytest.mark.fault("A11")
def test_no_estimator_raises_a_bare_exception():
    failed = evaluation([None, "7"], [None, "8"])
    assert failed.pass_at(2).mean == failed.majority_at(2).mean == 0.5
    for measure in (failed.pass_at, failed.majority_at):
        with pytest.raises(TaskError, match="needs as many at each problem: received at most 2"):
            measure(3)
        with pytest.raises(TaskError, match="a figure of 0 attempts"):
            measure(0)
    with pytest.raises(TaskError, match="judged attempts in both lists: received 1"):
        paired_gain([[1.0], []], [[0.0], [1.0]])
    with pytest.raises(TaskError, match="at least one judged attempt"):
        proportion([])
    assert paired_gain([[1.0], [], [1.0]], [[0.0], [1.0], [0.0]]).mean == 1.0


@pytest.mark.parametrize("groups", [[], [[]], [[], []]])
@pytest.mark.parametrize("figure", ["tokens", "thinking", "accuracy", "bounds"])
def test_a_figure_of_no_attempt_is_refused_in_a_sentence(groups, figure):
    with pytest.raises(TaskError, match=r"received none|could be judged"):
        getattr(Evaluation(groups), figure)


def test_a_problem_that_cannot_be_drawn_is_a_failed_check_of_the_evaluation():
    def source(split, index, level):
        return Problem.ask("sums", f"{split}{index}", "?", "7") if index != 1 else 1 // 0

    found = evaluate(
        ScriptedSampler([" 7"]),
        Task("sums", source, lambda problem, transcript: Score.right("7"), trusted=True),
        SamplingParams(),
        problems=3,
        attempts=2,
    )
    assert (found.failures, found.problems, len(found.groups)) == (2, 2, 3)
    assert found.accuracy.mean == 1.0
    assert found.bounds == (pytest.approx(2 / 3), 1.0)


def test_an_evaluation_names_the_replies_that_were_cut_off_if_they_are_most():
    sampler, task = ScriptedSampler(["one two three", "7"]), Task("t", lambda *_: Problem("?"), lambda *_: 0.0, size=4)
    for tokens, said in ((9, ""), (2, "2 of 4"), (1, "4 of 4")):
        found = evaluate(sampler, task, SamplingParams(max_tokens=tokens), split="train")
        cut = [found.cut_off().startswith(said) and bool(found.cut_off()), "raise max_tokens" in str(found)]
        assert cut == [said == "4 of 4"] * 2
