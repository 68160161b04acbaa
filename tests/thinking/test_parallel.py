"""Choices among parallel replies: by votes, weighted or not, by a judge, and votes that end when they are decided."""

import asyncio
import math
from dataclasses import dataclass, replace
from itertools import product

import pytest

import poziomka as pz
from poziomka.core.errors import SamplerError, SettingsError, TranscriptError
from poziomka.core.problem import Verdict
from poziomka.core.rollout import Cost
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.core.strategy import Attempt, Strategy
from poziomka.core.transcript import Author
from poziomka.testing import ScriptedSampler
from poziomka.thinking import AdaptiveConsistency, BestOf, Budget, ExactJudge, Judge, Judgement, Majority
from poziomka.thinking.majority import most_trusted
from poziomka.thinking.parallel import stays_majority

QUESTION = pz.Transcript.of([pz.Message("user", " What?")])  # one token
SIX = pz.Problem(" What?", "6", task="t", key="k")
TASK = pz.Task("t", lambda rng: pz.Problem(" What?", "6"), pz.exact(pz.number), trusted=True)


@dataclass(frozen=True)
class Told(Judge):
    """A judge with a value for each answer, or an error; each judgement reads 3 tokens and samples 2."""

    values: dict
    error: Exception | None = None
    size: int | None = None

    @property
    def parameters(self):
        return self.size

    async def judge(self, transcripts, *, problem=None, seed=0):
        if self.error is not None:
            raise self.error
        return [Judgement(self.values[reply.answer], Cost(judged=5, latency=2)) for reply in transcripts]


class Faulty(Strategy):
    """Single replies, of which those that a list of texts names fail."""

    def __init__(self, *texts):
        self.texts = texts

    async def attempt(self, sampler, prompt, params, *, open_session=None, problem=None):
        reply = await sampler.extend(prompt, params)
        if reply.answer in self.texts:
            message = f"{reply.answer} is too long"
            raise TranscriptError(message)
        return Attempt((pz.Branch(reply),))


def made(strategy, script, problem=None, **params):
    sampler = ScriptedSampler(script)
    return asyncio.run(strategy.attempt(sampler, QUESTION, SamplingParams(**params), problem=problem)), sampler


def answer(attempt):
    return attempt.branches[attempt.answer].transcript.answer


# -------------------------------------------------------------------------------------------------------- Majority
def test_a_weighted_vote_sums_the_judges_values():
    judge = Told({"7": 0.2, "8": 0.5, "9": 0.6})
    found, _ = made(Majority(4, judge=judge), ["7", "8", "7", "9"])  # 7: 0.4, 8: 0.5, 9: 0.6
    assert answer(found) == "9"
    found, _ = made(Majority(4, judge=replace(judge, values={"7": 0.31, "8": 0.5, "9": 0.6})), ["7", "8", "7", "9"])
    assert answer(found) == "7"


def test_the_answer_of_equal_weights_is_the_first_sampled():
    assert answer(made(Majority(3, judge=Told({"7": 0.4, "8": 0.4, "9": 0.4})), ["8", "7", "9"])[0]) == "8"
    assert made(Majority(4), ["8", "7", "7", "8"])[0].answer == 0


def test_only_the_most_trusted_replies_vote():
    values = {"7": 0.4, "8": 0.9, "9": 0.7}
    script = ["7", "7", "8", "7", "9"]
    assert answer(made(Majority(5, judge=Told(values)), script)[0]) == "7"  # 1.2
    assert answer(made(Majority(5, judge=Told(values), keep=0.4), script)[0]) == "8"  # 8 and 9 are left
    assert answer(made(Majority(5, judge=Told(values), keep=0.6), ["7", "9", "8", "7", "9"])[0]) == "9"  # 9, 8, 9


@pytest.mark.parametrize(("count", "share", "kept"), [(10, 0.7, 7), (100, 0.07, 7), (3, 0.34, 2), (4, 1, 4)])
def test_a_share_of_replies_is_rounded_up(count, share, kept):
    assert list(most_trusted({n: n / count for n in range(count)}, share)) == list(range(count))[::-1][:kept]


def test_votes_may_be_attempts_of_any_strategy():
    found, sampler = made(Majority(2, inner=Majority(3)), ["7", "8", "8", "9", "8", "9"])
    assert (answer(found), len(found.branches), len(sampler.requests)) == ("8", 6, 6)
    assert found.answer == 1  # of the first vote, which is the first among equal ones
    assert found.cost == Cost(sampled=12, read=1, latency=2)


def test_a_failed_vote_is_recorded_and_the_others_go_on():
    found, _ = made(Majority(3, inner=Faulty("8")), ["8", "7", "7"])
    assert (found.failure, answer(found)) == (None, "7")
    failed, *others = found.branches
    assert (failed.score.verdict, failed.score.why) == (Verdict.ERROR, "8 is too long")
    assert [branch.score for branch in others] == [None, None]


def test_an_attempt_fails_if_all_votes_fail():
    found, _ = made(Majority(2, inner=Faulty("8")), ["8", "8"])
    assert found.failure == "8 is too long"


@pytest.mark.parametrize("error", [TranscriptError("no room"), SamplerError("no connection"), KeyError("x")])
def test_a_judge_that_fails_fails_its_branches(error):
    found, _ = made(Majority(2, judge=Told({}, error)), ["7", "8"])
    assert str(error) in found.failure
    assert all(branch.score.verdict is Verdict.ERROR for branch in found.branches)


def test_a_judge_that_cannot_judge_at_all_ends_the_call():
    with pytest.raises(SettingsError):
        made(Majority(2, judge=Told({}, SettingsError("it needs a problem"))), ["7", "8"])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1, "0.9", 10**400])
def test_a_value_that_is_no_probability_fails_its_branch_only(bad):
    found, _ = made(BestOf(3, Told({"7": bad, "8": 0.1, "9": 0.0})), ["7", "8", "9"])
    assert (found.failure, answer(found)) == (None, "8")
    assert [branch.score is not None for branch in found.branches] == [True, False, False]


def test_rewards_of_a_vote_are_those_of_all_its_branches():
    found, _ = made(Majority(2, inner=Majority(2), reward="agreement"), ["7", "7", "8", "8"])
    assert [branch.reward for branch in found.branches] == [1, 1, 0, 0]


def test_a_rollout_of_votes_keeps_failed_branches_without_a_reward():
    with Scoring(TASK) as scoring:
        collector = Collector(ScriptedSampler(["8", "6", "6"]), scoring, Majority(3, inner=Faulty("8"), reward="vote"))
        ((rollout,),) = collector.collect([SIX], SamplingParams())
    assert [branch.score.reward for branch in rollout.branches] == [None, 1, 1]
    assert rollout.score.correct


@pytest.mark.parametrize("keep", [0.5, 0.0, math.nan])
def test_a_share_needs_a_judge_and_a_range(keep):
    with pytest.raises(SettingsError):
        Majority(3, keep=keep)


# ---------------------------------------------------------------------------------------------------------- BestOf
def test_an_exact_judge_reaches_pass_at_n():
    with Scoring(TASK) as scoring:
        for script in product("567", repeat=3):
            for count in (1, 2, 3):
                found, _ = made(BestOf(count, ExactJudge(scoring)), script, SIX)
                assert (answer(found) == "6") == ("6" in script[:count])


def test_a_judges_cost_is_weighted_by_its_parameters():
    class Sized(ScriptedSampler):
        @property
        def capabilities(self):
            return replace(super().capabilities, parameters=50)

    judge = Told({"7": 0.1, "8": 0.2}, size=100)
    found = asyncio.run(BestOf(2, judge).attempt(Sized(["7", "8"]), QUESTION, SamplingParams()))
    assert found.cost == Cost(sampled=4, read=1, judged=2 * 5 * 100 / 50, latency=2 + 2)
    assert made(BestOf(2, judge), ["7", "8"])[0].cost.judged == 10  # the policy's size is unknown


def test_an_exact_judge_needs_the_problem():
    with Scoring(TASK) as scoring, pytest.raises(SettingsError):
        made(BestOf(2, ExactJudge(scoring)), ["6", "7"])


def test_a_failed_check_is_never_chosen():
    def scorer(problem, transcript):
        if transcript.answer == "7":
            raise RuntimeError
        return 0.0

    with Scoring(replace(TASK, scorer=scorer)) as scoring:
        found, _ = made(BestOf(2, ExactJudge(scoring)), ["7", "8"], SIX)
    assert (answer(found), found.branches[0].score.verdict) == ("8", Verdict.ERROR)


def test_strategies_are_compared_on_the_same_replies():
    def script(transcript, params):
        return str(params.seed % 7)

    judge = Told({str(n): 0.1 for n in range(7)})
    attempts = [
        made(one, script, seed=3)[0] for one in (Majority(8), BestOf(8, judge), AdaptiveConsistency(8, threshold=1.0))
    ]
    texts = [[branch.transcript.text for branch in attempt.branches] for attempt in attempts]
    assert texts[0] == texts[1]
    assert texts[2] == texts[0][: len(texts[2])]


# -------------------------------------------------------------------------------------------- AdaptiveConsistency
@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (4, 0), (5, 3), (12, 9), (30, 2)])
def test_the_posterior_is_the_integral_of_the_beta_density(first, second):
    steps = 200_000
    grid = [(step + 0.5) / steps for step in range(steps)]
    density = [math.exp(first * math.log(x) + second * math.log1p(-x)) for x in grid]
    assert stays_majority(first, second) == pytest.approx(sum(density[steps // 2 :]) / sum(density), abs=1e-6)


def test_votes_end_when_the_vote_is_decided():
    found, _ = made(AdaptiveConsistency(16, per_round=1), ["7"] * 16)  # 1 - 1/2^(n + 1) reaches .95 at n = 4
    assert len(found.branches) == 4
    assert found.cost == Cost(sampled=8, read=1, latency=8)
    found, _ = made(AdaptiveConsistency(16, per_round=4), ["7"] * 16)
    assert found.cost == Cost(sampled=8, read=1, latency=2)


def test_votes_go_on_while_the_vote_is_open():
    found, _ = made(AdaptiveConsistency(6, per_round=2), ["7", "8", "8", "7", "9", "9"])
    assert (len(found.branches), answer(found)) == (6, "7")
    assert found.cost == Cost(sampled=12, read=1, latency=6)


def test_votes_end_when_the_rest_cannot_change_them():
    found, _ = made(AdaptiveConsistency(5, threshold=1.0, per_round=1), ["7", "7", "8", "7", "8"])
    assert len(found.branches) == 4  # 3 to 1, and one is left


def test_an_adaptive_vote_with_certainty_is_the_majority():
    for script in product("78", repeat=5):
        one, all_of = (
            made(strategy, script)[0] for strategy in (AdaptiveConsistency(5, threshold=1.0, per_round=1), Majority(5))
        )
        assert answer(one) == answer(all_of)


def test_more_votes_are_never_fewer_branches():
    def script(transcript, params):
        return str(params.seed % 3)

    sizes = [len(made(AdaptiveConsistency(most), script, seed=1)[0].branches) for most in range(1, 24)]
    assert sizes == sorted(sizes)
    assert all(size <= most for most, size in enumerate(sizes, 1))


@pytest.mark.parametrize("wrong", [{"most": 0}, {"most": 4, "per_round": 0}, {"most": 4, "threshold": 0.4}])
def test_an_adaptive_vote_out_of_range_is_refused(wrong):
    with pytest.raises(SettingsError):
        AdaptiveConsistency(**wrong)


# ------------------------------------------------------------------------------------------------------ the engine
def tokens(attempt):
    return [list(branch.transcript.tokens) for branch in attempt.branches], attempt.answer


def test_strategies_repeat_by_seed_on_the_engine(sampler):
    prompt = pz.Transcript.of([pz.Message("user", " 1 2")])
    for strategy in (
        Majority(4),
        AdaptiveConsistency(6, per_round=2),
        Budget(3, inner=Majority(2, inner=AdaptiveConsistency(3))),
    ):
        once, again, other = (
            asyncio.run(strategy.attempt(sampler, prompt, SamplingParams(max_tokens=12, seed=seed)))
            for seed in (1, 1, 2)
        )
        assert tokens(once) == tokens(again) != tokens(other)
        written = sum(branch.transcript.by(Author.MODEL).count(True) for branch in once.branches)
        assert once.cost.sampled == written
