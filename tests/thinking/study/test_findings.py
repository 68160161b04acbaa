"""A study ends with results: what was never judged is left out with a note; baselines are those of `Majority`."""

from dataclasses import replace
from statistics import fmean

import pytest

from poziomka.core.errors import SettingsError
from poziomka.core.rollout import Cost
from poziomka.thinking.agreement import agreeing
from poziomka.thinking.study.findings import demand_comparable, findings, table_of, values_of
from poziomka.thinking.study.fitting import fit
from poziomka.thinking.study.frontier import Replies, elections


def test_a_problem_whose_checks_all_failed_is_left_out_of_all_strategies(groups):
    found = findings(groups(["1", "2"], ["!", "!"], ["1", "1"]), {"adaptive:2": groups(["1"], ["1"], ["2"])})
    single, adaptive = found.points
    assert (single.accuracy.mean, adaptive.accuracy.mean) == (0.75, 0.5)
    assert len(found.notes) == 1
    assert "1 of 3" in found.notes[0]
    assert values_of(found)["notes"] == list(found.notes)


def test_a_strategy_without_a_judged_attempt_is_left_out(groups):
    single = groups(["1", "2"], ["1", "1"])
    found = findings(single, {"adaptive:2": groups(["!"], ["!"]), "revise:1": groups(["1"], ["!"])})
    assert [point.name for point in found.points] == ["single", "revise:1"]
    assert "adaptive:2" in found.notes[0]
    assert "broken" in found.notes[0]


def test_a_strategy_with_many_failed_branches_is_noted_and_never_chosen(groups):
    """It is right in each attempt that could be judged: these may be the easy ones."""
    single = groups(["1", "2"], ["1", "2"], ["2", "2"])
    found = findings(single, {"continue:1": groups(["1"], ["!"], ["!"]), "revise:1": groups(["1"], ["2"], ["1"])})
    assert [point.accuracy.mean for point in found.points if point.name == "continue:1"] == [1.0]
    assert "2 of 3 branches of strategy continue:1 failed, so it is not chosen" in found.notes[0]
    assert "broken" in found.notes[0]
    assert "continue:1" not in found.efforts.values()
    assert all("continue:1" not in choice.names for choice in found.choices.values())


def test_a_study_of_one_problem_has_no_paired_gain(groups):
    found = findings(groups(["1", "2"]), {"revise:1": groups(["1"])})
    assert [point.gain for point in found.points] == [None, None]
    assert "revise:1" in table_of(found)


@pytest.mark.parametrize(("row", "tokens"), [(["!", "!"], 10), (["1", "2"], 0)])
def test_replies_that_cannot_be_compared_are_refused_before_strategies_are_sampled(groups, row, tokens):
    with pytest.raises(SettingsError):
        demand_comparable(groups(row, tokens=tokens))


def test_other_problems_than_those_of_the_single_replies_are_refused(groups):
    with pytest.raises(SettingsError):
        findings(groups(["1", "2"], ["1", "1"]), {"revise:1": groups(["1"])})


def test_one_vote_is_exactly_a_single_reply(groups):
    rows = ["1", "2", None, "1", "1", "3", "1", "4"], ["2", "1", "2", "2", "2", "2", "2", "2"]
    assert Replies(groups(*rows)).majority(1) == [0.5, 0.125]


def test_votes_of_the_baseline_read_answers_as_the_strategies_do(groups):
    """A scorer may find the same answer in replies that differ for a vote."""
    single = groups(["1", "1", "2"], ["1", "1", "1"])
    assert findings(single, {}).majority[-1][1].mean == 1.0
    texts = iter(("a", "b", "c", "d", "e", "f"))
    different = findings(single, {}, read=lambda transcript: next(texts))
    assert different.majority[-1][1].mean < 1.0


def test_a_scorer_that_names_no_answer_leaves_the_first_vote(groups):
    """`Majority` answers with the first reply if none has an answer, and so does the baseline."""
    assert elections([(None, True), (None, False)]) == [1.0, 1.0]
    assert elections([(None, False), (None, True), ("1", True)]) == [0.0, 0.0, 1.0]


def test_a_vote_by_agreement_costs_a_reply_to_its_own_problem(groups):
    """The replies to open problems are long: votes that are added there cost more than the mean reply."""
    settled, open_ = ["1"] * 8, ["1", "1", "1", "1", "2", "3", "4", "5"]
    rows = groups(*[settled, settled, open_, open_] * 3)
    lengths = [100, 100, 1900, 1900] * 3
    spent = [
        [replace(each, spent=Cost(sampled=length)) for each in row] for row, length in zip(rows, lengths, strict=True)
    ]
    pool = Replies(spent)
    assert (pool.tokens, pool.lengths) == (1000.0, lengths)
    most = 3 * pool.tokens
    found = fit(pool, probe=2, most=most)
    numbers = [fmean(found.votes[agreeing([answer for answer, _ in order[:2]])] for order in o) for o in pool.orders]
    cost = fmean(number * length for number, length in zip(numbers, lengths, strict=True))
    assert max(found.votes) > 2
    assert cost <= most
    assert fmean(numbers) * pool.tokens < cost  # what the votes would cost at the mean length
    assert 0.7 * cost < found.tokens < 1.4 * cost
