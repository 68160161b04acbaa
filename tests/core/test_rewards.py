"""Rewards from -1 to 1, and weighted sums of several: what is right stays a question of the verdict alone."""

import asyncio
import os

import pytest

import poziomka as pz
from poziomka.core.errors import TaskError
from poziomka.core.problem import Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.rollouts.scoring import Scoring, judge
from poziomka.core.rollouts.weighted import RESERVED
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.monitoring.detectors import DRIFTS, METRICS, attempts_in, record_of
from poziomka.learning.monitoring.stop_conditions import describe
from poziomka.learning.samples.advantages import batch_std, informative
from poziomka.runs.storage.journal import read_journal, write_journal
from poziomka.tasks.tools import with_tools
from poziomka.testing import trial
from poziomka.testing.trial import FIRST

PROBLEM = pz.Problem("How many?", answer="12", task="count", key="one")


def replied(text, problem=PROBLEM):
    return pz.Transcript.of(problem.prompt) + pz.Span(pz.Author.MODEL, text)


def brief(problem, transcript):
    """A penalty of a tenth for each word after the first, at most 1."""
    return -min(1.0, 0.1 * max(0, len(transcript.answer.split()) - 1))


def raising(problem, transcript):
    message = "no dictionary"
    raise OSError(message)


def rollout(score, number=0, problem=PROBLEM, reply="12"):
    return Rollout(f"train/{problem.key}/{number}", problem, (Branch(replied(reply, problem), score),))


def scored(reward, *, correct=False, number=0, **more):
    verdict = Verdict.CORRECT if correct else Verdict.WRONG
    return rollout(Score(reward, verdict, "12", "", more.pop("parts", {})), number, **more)


# ----------------------------------------------------------------------------------------------------- the sum
def test_a_reward_may_be_negative_and_is_then_wrong():
    score = Score.of(-0.5)
    assert (score.reward, score.verdict) == (-0.5, Verdict.WRONG)


def test_a_weighted_reward_has_the_verdict_of_its_first_part_and_names_all_parts():
    scorer = pz.weighted(correct=(pz.exact(pz.number), 1.0), brevity=(brief, 0.2))
    right, wrong = (scorer(PROBLEM, replied(text)) for text in ("The answer is 12", "It is 13"))
    assert right == Score(1 - 0.2 * 0.3, Verdict.CORRECT, "12", "12 is right", right.parts)
    assert right.parts == {"correct": 1.0, "brevity": pytest.approx(-0.3)}
    assert wrong.verdict is Verdict.WRONG
    assert wrong.reward == pytest.approx(-0.04)
    assert wrong.parts == {"correct": 0.0, "brevity": pytest.approx(-0.2)}


def test_parts_of_parts_and_reasons_are_kept_by_name():
    inner = pz.weighted(correct=(pz.exact(pz.number), 1.0), brevity=(brief, 0.1))
    told = lambda problem, transcript: Score(0.5, Verdict.WRONG, None, "half polite")  # noqa: E731 a function of one line
    score = pz.weighted(task=(inner, 0.8), polite=(told, 0.2))(PROBLEM, replied("12"))
    assert score.parts == {"task": 1.0, "task.correct": 1.0, "task.brevity": 0.0, "polite": 0.5}
    assert (score.why, score.reward) == ("12 is right; polite: half polite", pytest.approx(0.9))


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_part_that_raises_fails_the_whole_check(place):
    parts = {"correct": (pz.exact(pz.number), 0.5), "style": (raising, 0.5)}
    order = parts if place == "last" else dict(reversed(parts.items()))
    score = judge(pz.weighted(**order), PROBLEM, replied("12"))
    assert (score.reward, score.verdict, score.parts) == (None, Verdict.ERROR, {})
    assert "the part 'style' of the reward has none: the scorer raised OSError: no dictionary" in score.why


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (Score.failed(Verdict.TIMEOUT, "late"), Verdict.TIMEOUT),
        (Score.failed(Verdict.ERROR, "down"), Verdict.ERROR),
        (Score(None, Verdict.WRONG), Verdict.ERROR),
    ],
)
def test_a_part_without_a_reward_is_a_failed_check_even_with_a_negative_weight(score, verdict):
    scorer = pz.weighted(correct=(pz.exact(pz.number), 1.0), style=(lambda *_: score, -0.5))
    found = judge(scorer, PROBLEM, replied("12"))
    assert (found.reward, found.verdict) == (None, verdict)


def test_a_sum_outside_the_range_is_a_failed_check_that_names_its_terms():
    scorer = pz.weighted(correct=(pz.exact(pz.number), 1.0), bonus=(lambda *_: 1.0, 0.2))
    score = judge(scorer, PROBLEM, replied("12"))
    assert (score.reward, score.verdict) == (None, Verdict.ERROR)
    assert "from -1 to 1: received 1.2 = correct 1 × 1 + bonus 1 × 0.2; lower the weights" in score.why
    assert judge(scorer, PROBLEM, replied("13")).reward == pytest.approx(0.2)


def test_rounding_does_not_push_a_sum_over_the_edge():
    full = lambda problem, transcript: 1.0  # noqa: E731 a function of one line
    scorer = pz.weighted(a=(full, 0.7), b=(full, 0.2), c=(full, 0.1 + 1e-12))
    assert scorer(PROBLEM, replied("12")).reward == 1.0


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "needs a part"),
        ({"correct": brief}, r"is \(scorer, weight\)"),
        ({"correct": (brief, 0.0)}, "above 0"),
        ({"correct": (brief, "1")}, "above 0"),
        ({"correct": (brief, 1.0), "style": (brief, float("nan"))}, "a finite number"),
        ({"mean": (brief, 1.0)}, "reward/mean exists already"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(parts, said):
    with pytest.raises(TaskError, match=said):
        pz.weighted(**parts)


def test_no_part_can_hide_a_metric():
    ours = {name for name in (*describe([[scored(0.0)]]), *METRICS.values()) if name.startswith("reward/")}
    assert ours == {f"reward/{name}" for name in RESERVED}


# ------------------------------------------------------------------------------------- worker, journal, metrics
def test_parts_are_judged_in_a_worker_and_stand_in_the_journal_and_the_metrics(tmp_path):
    seen = lambda problem, transcript: float(os.getpid() != parent)  # noqa: E731 a function of one line
    parent = os.getpid()
    task = pz.Task("count", lambda *_: PROBLEM, pz.weighted(correct=(pz.exact(pz.number), 0.5), apart=(seen, 0.25)))
    with Scoring(task, workers=1) as scoring:
        scores = [asyncio.run(scoring.score(PROBLEM, replied(text))) for text in ("12", "13")]
    assert [score.reward for score in scores] == [0.75, 0.25]
    group = [rollout(score, number) for number, score in enumerate(scores)]
    write_journal(tmp_path / "a.parquet", [group])
    assert [r.score for r in read_journal(tmp_path / "a.parquet").rollouts] == scores
    metrics = describe([group])
    assert {name: metrics[f"reward/{name}"] for name in ("mean", "pass_rate", "correct", "apart")} == {
        "mean": 0.5,
        "pass_rate": 0.5,
        "correct": 0.5,
        "apart": 1.0,
    }


def test_a_part_named_like_a_metric_and_one_that_is_not_finite_are_left_out():
    group = [scored(0.5, parts={"mean": 7.0, "loss": float("nan")}), scored(0.5, number=1, parts={"loss": 2.0})]
    metrics = describe([group])
    assert (metrics["reward/mean"], metrics["reward/loss"]) == (0.5, 2.0)


# -------------------------------------------------------------------------------------------- negative rewards
def test_accuracy_counts_verdicts_and_not_rewards():
    group = [scored(-0.25, correct=True), scored(0.9, number=1), rollout(Score.failed(Verdict.ERROR, "down"), 2)]
    found = pz.Evaluation([group])
    assert (found.accuracy.mean, found.failures, found.bounds) == (0.5, 1, (pytest.approx(1 / 3), pytest.approx(2 / 3)))
    assert found.pass_at(1).mean == pytest.approx(1 / 3)
    metrics = describe([group])
    assert (metrics["reward/mean"], metrics["reward/pass_rate"]) == (pytest.approx(0.325), 0.5)


def test_advantages_of_negative_rewards_are_those_of_shifted_ones():
    penalties = [scored(-1.0), scored(-0.5, number=1), rollout(Score.failed(Verdict.ERROR, "down"), 2)]
    shifted = [scored(0.0), scored(0.5, number=1), rollout(Score.failed(Verdict.ERROR, "down"), 2)]
    assert informative(penalties)
    assert batch_std([penalties]) == batch_std([shifted])
    assert batch_std([penalties])[0][2] is None


def test_a_problem_is_retired_by_correct_attempts_and_not_by_reward():
    source = lambda split, index, level: pz.Problem("?", "1", task="t", key=f"{split}-{index}")  # noqa: E731 a function of one line
    task = pz.Task("t", source, pz.exact(pz.number), size=2, splits=("train", "validation", "test"))
    curriculum = Curriculum(task, seed=0, retire_at=0.9)
    problems = [task.problem("train", index) for index in (0, 1)]
    curriculum.learn([[scored(0.5, correct=True, problem=problems[0])], [scored(0.95, problem=problems[1])]])
    assert curriculum.retired == {0}


def test_calls_never_make_a_negative_reward_better():
    class Tools:
        tools = ("calculator",)
        stop = ()

        def open(self, problem):
            raise NotImplementedError

    call = pz.Span(pz.Author.ENVIRONMENT, "4")
    scorer = lambda problem, transcript: Score(-0.4, Verdict.CORRECT, "4")  # noqa: E731 a function of one line
    task = with_tools(pz.Task("t", lambda *_: PROBLEM, scorer, size=1), Tools(), cost=0.5)
    called = replied("<tool_call>") + call + pz.Span(pz.Author.MODEL, "4")
    assert task.score(PROBLEM, called).reward == -0.4


def test_alarms_count_no_penalty_as_reward():
    attempts = [scored(-0.25), scored(0.5, number=1), scored(1.0, correct=True, number=2)]
    opinions = {r.id: Score(-1.0, Verdict.WRONG) for r in attempts[:2]} | {attempts[2].id: Score.right("12")}
    found = attempts_in([attempts], opinions)
    assert [attempt.unearned for attempt in found[0]] == [0.0, 0.5, 0.0]
    record = record_of(found)
    assert {name: round(record[name].mean, 3) for name in ("reward", "penalized", "audit", "audit_correct")} == {
        "reward": 0.417,
        "penalized": 0.333,
        "audit": 0.333,
        "audit_correct": 0.333,
    }
    assert 0 <= record["audit_correct"].share(0.95).low <= 1


def test_an_empty_thought_with_the_lowest_reward_is_still_an_example():
    drift = next(drift for drift in DRIFTS if drift.name == "empty thought")
    ((attempt,),) = attempts_in([[scored(-1.0, reply="<think> </think> 12")]], {})
    assert attempt.signs.empty
    assert drift.shows(attempt) > 0


# --------------------------------------------------------------------------------------------- trial of a scorer
def adding(rng):
    one, other = rng.randrange(10, 99), rng.randrange(10, 99)
    return pz.Problem(f"What is {one} + {other}?", answer=str(one + other))


def test_the_trial_accepts_penalties_and_finds_a_bonus_for_wrong_answers():
    exact, signed = pz.exact(pz.number), lambda problem, transcript: 2 * (transcript.answer == problem.answer) - 1.0
    penalty = pz.weighted(correct=(exact, 1.0), brevity=(brief, 0.2))
    bonus = pz.weighted(correct=(exact, 0.8), short=(lambda _, reply: float(len(reply.answer) < 20), 0.2))
    broken = [
        trial(pz.Task("a", adding, scorer), problems=1, seconds=60, effort=FIRST).broken
        for scorer in (penalty, signed, bonus)
    ]
    assert broken[:2] == [(), ()]
    assert "received wrong with reward 0.2" in broken[2][0]
