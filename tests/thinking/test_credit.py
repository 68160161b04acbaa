"""Sets of replies that are rewarded as a whole: what each reply is credited with, computed by hand."""

from dataclasses import dataclass
from itertools import product

import pytest

import poziomka as pz
from poziomka.core.errors import SettingsError, TranscriptError
from poziomka.core.problem import Score, Verdict
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.core.strategy import Attempt, Strategy
from poziomka.testing import ScriptedSampler
from poziomka.thinking import BestOf, Judge, Judgement, Majority, RandomBudget, Revise
from poziomka.thinking.credit import SetReward, largest
from poziomka.thinking.ensemble import Member

SIX = pz.Problem(" What?", "6", task="t", key="k")
TASK = pz.Task("t", lambda rng: pz.Problem(" What?", "6"), pz.exact(pz.number), trusted=True)


@dataclass(frozen=True)
class Told(Judge):
    """A judge whose values are given, in the order of the replies."""

    values: tuple[float, ...]

    async def judge(self, transcripts, *, problem=None, seed=0):
        return [Judgement(value) for value in self.values]


def rollout_of(strategy, *replies, task=TASK):
    """One attempt whose model gives these replies in turn, scored."""
    with Scoring(task) as scoring:
        ((rollout,),) = Collector(ScriptedSampler(list(replies)), scoring, strategy).collect([SIX], SamplingParams())
    return rollout


def rewards(strategy, *replies, task=TASK):
    return [branch.score.reward for branch in rollout_of(strategy, *replies, task=task).branches]


def weighted(*values, credit="set"):
    return Majority(len(values), judge=Told(values), reward="vote", credit=credit)


# ------------------------------------------------------------------------------------------------------- majority@k
@pytest.mark.parametrize(("replies", "found"), [("668", 1), ("688", 0), ("868", 0), ("8", 0), ("6", 1)])
def test_every_vote_has_the_reward_of_the_vote(replies, found):
    assert rewards(Majority(len(replies), reward="vote"), *replies) == [found] * len(replies)


def test_the_reward_of_a_vote_is_the_scorers_of_the_elected_reply():
    """There need be no gold answer, and a reward need not be 0 or 1."""
    task = pz.Task("t", lambda rng: SIX, lambda problem, reply: int(reply.answer) / 10, trusted=True)
    assert rewards(Majority(3, reward="vote"), "4", "3", "4", task=task) == [0.4, 0.4, 0.4]


@pytest.mark.parametrize(
    ("replies", "credited"),
    [
        ("686", [1, 0, 0]),  # 0.6 + 0.3 against 0.5: without the first, 8 wins
        ("868", [-1, 0, 0]),  # without the first, 6 wins
        ("666", [0, 0, 0]),  # no vote decides
        ("888", [0, 0, 0]),
    ],
)
def test_a_vote_is_credited_with_what_would_be_lost_without_it(replies, credited):
    assert rewards(weighted(0.6, 0.5, 0.3, credit="leave_one_out"), *replies) == credited


def test_without_a_reply_the_next_trusted_one_votes():
    """Of two replies, one votes; without it, the other one would, and be right as well."""
    strategy = Majority(2, judge=Told((0.9, 0.5)), keep=0.5, reward="vote", credit="leave_one_out")
    assert rewards(strategy, "6", "6") == [0, 0]
    assert rewards(strategy, "6", "8") == [1, 0]


def test_answers_that_are_no_texts_are_compared_as_texts():
    assert rewards(Majority(3, read=lambda reply: [reply.answer], reward="vote"), "8", "6", "6") == [1, 1, 1]


def test_a_vote_by_its_only_member_is_credited_in_full():
    assert rewards(Majority(1, reward="vote", credit="leave_one_out"), "6") == [1]


def test_no_reply_is_rewarded_if_the_check_of_the_elected_one_failed():
    def scorer(problem, reply):
        if reply.answer == "7":
            raise ValueError
        return Score.right("6")

    task = pz.Task("t", lambda rng: SIX, scorer, trusted=True)
    rollout = rollout_of(Majority(3, reward="vote"), "7", "6", "7", task=task)
    assert [branch.score.reward for branch in rollout.branches] == [None, None, None]
    assert [branch.score.verdict for branch in rollout.branches] == [Verdict.ERROR, Verdict.CORRECT, Verdict.ERROR]
    assert rewards(Majority(3, reward="vote"), "6", "7", "6", task=task) == [1, None, 1]


# ----------------------------------------------------------------------------------------------------------- pass@k
@pytest.mark.parametrize(
    ("replies", "set_level", "leave_one_out"),
    [("868", [1, 1, 1], [0, 1, 0]), ("668", [1, 1, 1], [0, 0, 0]), ("888", [0, 0, 0], [0, 0, 0])],
)
def test_replies_have_the_maximum_of_the_set_or_what_it_loses_without_them(replies, set_level, leave_one_out):
    for credit, found in (("set", set_level), ("leave_one_out", leave_one_out)):
        assert rewards(BestOf(3, Told((0.1, 0.2, 0.3)), reward="maximum", credit=credit), *replies) == found


@pytest.mark.parametrize(("values", "found"), [((0.1, 0.9, 0.2), 1), ((0.9, 0.1, 0.2), 0)])
def test_replies_have_the_reward_of_the_one_that_the_judge_chooses(values, found):
    assert rewards(BestOf(3, Told(values), reward="choice"), *"868") == [found] * 3


@pytest.mark.parametrize("credit", ["set", "leave_one_out"])
@pytest.mark.parametrize("chance", [0.1, 0.5, 0.8])
def test_either_credit_has_the_gradient_of_pass_at_k(credit, chance):
    """The exact mean over all outcomes of three replies that are correct with a probability p: d/dp (1 - (1 - p)^3)."""
    members = tuple(Member(pz.Transcript(), index, range(index, index + 1)) for index in range(3))
    credited = SetReward(members, largest, credit)
    gradient = 0.0
    for rights in product((0, 1), repeat=3):
        likelihood = chance ** sum(rights) * (1 - chance) ** (3 - sum(rights))
        found = credited([Score.right("") if right else Score.wrong("") for right in rights])
        slopes = [1 / chance if right else -1 / (1 - chance) for right in rights]  # of the logarithms, by p
        gradient += likelihood * sum(reward * slope for reward, slope in zip(found, slopes, strict=True))
    assert gradient == pytest.approx(3 * (1 - chance) ** 2)


# ---------------------------------------------------------------------------------------------------------- together
def test_all_branches_of_a_member_have_its_reward():
    """Each vote is a reply and its revision, which is the vote."""
    strategy = Majority(2, inner=Revise(1), reward="vote")
    assert rewards(strategy, "8", "8", "6", "6") == [1, 1, 1, 1]
    assert rewards(Majority(2, inner=Revise(1)), "8", "8", "6", "6") == [0, 1, 0, 1]


class Failing(Strategy):
    """Single replies, of which "7" fails."""

    async def attempt(self, sampler, prompt, params, *, open_session=None, problem=None):
        reply = await sampler.extend(prompt, params)
        if reply.answer == "7":
            message = "too long"
            raise TranscriptError(message)
        return Attempt((pz.Branch(reply),))


def test_a_failed_member_has_no_reward_and_the_others_go_on():
    assert rewards(Majority(3, inner=Failing(), reward="vote"), "7", "6", "6") == [None, 1, 1]


def test_differences_beyond_the_range_of_rewards_are_cut():
    members = tuple(Member(pz.Transcript(), index, range(index, index + 1)) for index in range(2))
    scores = [Score(1.0, Verdict.CORRECT), Score(-1.0, Verdict.WRONG)]
    assert SetReward(members, largest, "leave_one_out")(scores) == [1.0, 0.0]


def test_rewards_pass_through_a_strategy_around_a_vote():
    assert rewards(RandomBudget((4,), inner=Majority(3, reward="vote")), "6", "8", "6") == [1, 1, 1]


@pytest.mark.parametrize("wrong", [{"reward": "votes"}, {"credit": "one"}])
def test_unknown_rewards_and_credits_are_refused(wrong):
    with pytest.raises(SettingsError):
        Majority(3, **wrong)
    with pytest.raises(SettingsError):
        BestOf(3, Told(()), **wrong)
