"""A market pays for the positions that a careful reader of its history takes, and luck earns nothing."""

import json
from itertools import product
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.problem import Verdict
from poziomka.core.seeds import random_of
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks.discovery.market import (
    LIMIT,
    SHARE,
    SIGNALS,
    STRENGTHS,
    STRETCH,
    audit,
    best,
    demonstration,
    fitted,
    market,
    mistakes,
    profit,
    returns,
    scorer,
)
from poziomka.testing import check_task

TASK = market()
PROBLEMS = [problem for split in ("train", "test") for problem in TASK.take(split, 0, 40)]
PROBLEM = PROBLEMS[0]
POSITIONS = st.lists(st.integers(-LIMIT, LIMIT), min_size=STRETCH, max_size=STRETCH)


def said(answer, problem=PROBLEM, thought=""):
    reply = Span(Author.MODEL, f" <think> {thought} </think> {answer}", stop=Stop.END)
    return Transcript.of(problem.prompt) + reply


def spelled(positions):
    return " ".join(map(str, positions))


def gold(problem):
    return [int(word) for word in problem.answer.split()]


def test_it_keeps_a_tasks_contract():
    check_task(TASK, problems=4)


def test_splits_share_no_row_of_best_positions():
    train, test = ({problem.answer for problem in TASK.take(split, 0, 400)} for split in ("train", "test"))
    assert not train & test


def test_the_best_positions_earn_most_of_all_on_average():
    for strength, signal in product(STRENGTHS, SIGNALS):
        expected = {position: profit([position], [strength * signal]) for position in range(-LIMIT, LIMIT + 1)}
        assert best([signal], strength) == [max(expected, key=expected.get)]


def test_expected_profit_is_what_realised_profit_tends_to():
    signals, positions, random = [1, -2, 2], [2, -3, 1], random_of("test", "market")
    realised = [profit(positions, returns(random, signals, 1, 3.0)) for _ in range(20_000)]
    assert fmean(realised) == pytest.approx(profit(positions, best(signals, 1)), abs=0.25)


def test_the_history_shows_the_planted_strength():
    assert all(fitted(problem.facts["history"]) == problem.facts["strength"] for problem in PROBLEMS)


def test_a_history_is_longer_where_there_is_more_noise():
    assert [len(TASK.problem("train", 0, level).facts["history"]) for level in (1, 2, 6)] == [8, 16, 48]


def test_what_was_planted_and_the_returns_ahead_are_not_in_the_prompt():
    problem = next(problem for problem in PROBLEMS if len(set(map(abs, problem.facts["returns"]))) > 3)
    assert spelled(problem.facts["signals"]) in problem.prompt[0].content
    assert spelled(problem.facts["returns"]) not in problem.prompt[0].content


def test_demonstrations_earn_everything_by_either_scorer():
    for problem in PROBLEMS:
        thought, answer = demonstration(problem)
        assert scorer(problem, said(answer, problem, thought)).reward == 1.0
        assert audit(problem, said(answer, problem, thought)).reward == 1.0


def test_mistakes_earn_nothing_by_either_scorer():
    for problem in PROBLEMS:
        for answer in mistakes(problem).values():
            assert scorer(problem, said(answer, problem)).reward == 0.0
            assert audit(problem, said(answer, problem)).reward == 0.0


@given(POSITIONS)
def test_a_reward_is_the_share_of_the_optimums_expected_profit(positions):
    score = scorer(PROBLEM, said(spelled(positions)))
    assert score.reward == min(1.0, max(0.0, score.parts["expected"] / score.parts["optimum_expected"]))
    assert score.correct == (score.reward >= SHARE)


@given(POSITIONS, st.sampled_from(PROBLEMS))
def test_the_audit_which_reads_the_prompt_only_agrees_with_the_scorer(positions, problem):
    assert scorer(problem, said(spelled(positions), problem)).correct == (
        audit(problem, said(spelled(positions), problem)).correct
    )


@given(POSITIONS)
def test_no_positions_expect_more_than_the_optimum(positions):
    parts = scorer(PROBLEM, said(spelled(positions))).parts
    assert parts["expected"] <= parts["optimum_expected"]


def test_realised_profit_stands_beside_and_is_not_what_is_rewarded():
    lucky = next(problem for problem in PROBLEMS if scorer(problem, said(problem.answer, problem)).parts["profit"] < 0)
    assert scorer(lucky, said(lucky.answer, lucky)).reward == 1.0


def test_half_the_best_size_earns_three_quarters_and_is_not_right():
    problem = next(problem for problem in PROBLEMS if abs(problem.facts["strength"]) == 2)
    score = scorer(problem, said(spelled([position // 2 for position in gold(problem)]), problem))
    assert (score.reward, score.verdict) == (0.75, Verdict.WRONG)


def test_twice_the_best_size_earns_nothing():
    problem = next(problem for problem in PROBLEMS if abs(problem.facts["strength"]) == 1)
    assert scorer(problem, said(spelled([2 * position for position in gold(problem)]), problem)).reward == 0.0


def test_a_position_beyond_the_limit_is_wrong_even_where_it_is_the_only_one():
    answer = spelled([*gold(PROBLEM)[:-1], LIMIT + 1])
    assert scorer(PROBLEM, said(answer)).verdict is Verdict.WRONG


@pytest.mark.parametrize(
    "change",
    [
        lambda words: words[:-1],
        lambda words: [*words, words[-1]],
        lambda words: [*words[:-1], "nan"],
        lambda words: [*words[:-1], "inf"],
        lambda words: [*words[:-1], "1e0"],
        lambda words: [*words[:-1], "1.0"],
        lambda words: [*words[:-1], "-0"],
        lambda words: [*words[:-1], "01"],
        lambda words: [*words[:-1], "１"],
        lambda words: [*words[:-1], "−1"],
        lambda words: [*words[:-1], "99999"],
        lambda words: [*words, "."],
        lambda words: ["positions:", *words],
        lambda words: ["\n".join(words)],
        lambda words: ["  ".join(words)],
        lambda words: [f"\\boxed{{{' '.join(words)}}}"],
    ],
)
def test_anything_but_the_asked_for_number_of_plain_numbers_is_no_answer(change):
    answer = " ".join(change(PROBLEM.answer.split()))
    assert scorer(PROBLEM, said(answer)).verdict is Verdict.UNPARSED


def test_commas_may_stand_between():
    assert scorer(PROBLEM, said(PROBLEM.answer.replace(" ", ", "))).reward == 1.0


@given(st.text(max_size=100))
def test_no_answer_makes_a_scorer_raise(answer):
    for judge in (scorer, audit):
        assert 0.0 <= judge(PROBLEM, said(answer)).reward <= 1.0


def test_a_problem_read_back_from_a_journal_is_scored_alike():
    facts = json.loads(json.dumps(PROBLEM.facts))
    stored = type(PROBLEM)(PROBLEM.prompt, PROBLEM.answer, task="market", key=PROBLEM.key, facts=facts)
    assert scorer(stored, said(PROBLEM.answer)) == scorer(PROBLEM, said(PROBLEM.answer))
