"""Revisions see earlier replies, and feedback on the last one, until there is nothing to improve."""

import asyncio
import re
from dataclasses import dataclass, replace

import pytest

import poziomka as pz
from poziomka.core.environment import Reply
from poziomka.core.errors import SettingsError, TranscriptError
from poziomka.core.problem import Score, Verdict
from poziomka.core.rollout import Cost
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Span
from poziomka.testing import ScriptedSampler
from poziomka.thinking import (
    EnvironmentFeedback,
    Judge,
    Judgement,
    Majority,
    Revise,
    ScorerFeedback,
    SelfCritique,
    Thinker,
)

QUESTION = pz.Transcript.of([pz.Message("user", " What?")])
PROBLEM = pz.Problem(" What?", "3", task="t", key="k")
QUOTED = re.compile(r"Attempt \d+:\n(\S+)")


def upwards(transcript, params):
    """Answers 0, and one more than the last attempt that it is shown."""
    shown = QUOTED.findall(transcript.text)
    return str(int(shown[-1]) + 1) if shown else "0"


def scorer(problem, transcript):
    if transcript.answer == problem.answer:
        return Score.right(transcript.answer)
    return Score.wrong(transcript.answer, "too small")


TASK = pz.Task("t", lambda rng: PROBLEM, scorer, trusted=True)


@dataclass(frozen=True)
class Likes(Judge):
    """A judge that prefers one answer."""

    answer: str

    async def judge(self, transcripts, *, problem=None, seed=0):
        return [Judgement(0.9 if reply.answer == self.answer else 0.2) for reply in transcripts]


def made(strategy, script=upwards, problem=None, open_session=None, **params):
    sampler = ScriptedSampler(script)
    how = SamplingParams(**params)
    attempt = strategy.attempt(sampler, QUESTION, how, open_session=open_session, problem=problem)
    return asyncio.run(attempt), sampler


def answer(attempt):
    return attempt.branches[attempt.answer].transcript.answer


def shown(sampler):
    return [QUOTED.findall(transcript.text) for transcript, _ in sampler.requests]


@pytest.mark.parametrize("revisions", [0, 1, 5])
def test_each_revision_improves_on_the_last(revisions):
    found, _ = made(Revise(revisions))
    assert (answer(found), len(found.branches)) == (str(revisions), revisions + 1)
    assert [branch.role for branch in found.branches] == ["model"] + ["reviser"] * revisions


def test_a_revision_sees_the_last_replies_only():
    _, sampler = made(Revise(4, sees=2))
    assert shown(sampler) == [[], ["0"], ["0", "1"], ["1", "2"], ["2", "3"]]


def test_every_revision_waits_for_the_one_before():
    found, _ = made(Revise(2, ask=lambda replies, feedback: f"{len(replies)}"), ["<think> a </think> 7", "8", "9"])
    assert found.cost == Cost(sampled=5 + 2 + 2, read=1 + 1, latency=5 + 2 + 2)


def test_the_answer_is_the_last_the_most_frequent_or_the_best():
    script = ["7", "8", "7", "9"]
    assert answer(made(Revise(3), script)[0]) == "9"
    assert answer(made(Revise(3, pick="majority"), script)[0]) == "7"
    assert answer(made(Revise(3, pick="best", judge=Likes("8")), script)[0]) == "8"
    assert answer(made(Revise(3, pick="majority", judge=Likes("8")), script)[0]) == "8"  # .9 to .4 and .2


def test_a_correct_reply_is_not_revised():
    with Scoring(TASK) as scoring:
        found, sampler = made(Revise(9, feedback=ScorerFeedback(scoring)), problem=PROBLEM)
    assert (answer(found), len(found.branches)) == ("3", 4)
    assert all("Feedback on the last attempt:\ntoo small" in transcript.text for transcript, _ in sampler.requests[1:])
    assert "3" not in sampler.requests[1][0].text.split()  # the gold answer


def test_gold_answers_give_no_feedback_in_a_chat():
    with Scoring(TASK) as scoring:
        thinker = Thinker(ScriptedSampler(upwards), Revise(2, feedback=ScorerFeedback(scoring)))
        with pytest.raises(SettingsError, match="needs the problem"):
            asyncio.run(thinker.extend(QUESTION, SamplingParams()))


def test_a_check_that_fails_ends_the_revision_and_is_recorded():
    def failing(problem, transcript):
        raise RuntimeError

    with Scoring(replace(TASK, scorer=failing)) as scoring:
        found, _ = made(Revise(3, feedback=ScorerFeedback(scoring)), problem=PROBLEM)
    first, critic = found.branches
    assert (found.failure, found.answer, first.score) == (None, 0, None)
    assert (critic.role, critic.trainable, critic.score.verdict) == ("critic", False, Verdict.ERROR)


# -------------------------------------------------------------------------------------------------------- critique
def criticised(transcript, params):
    if "name its first mistake" not in transcript.text:
        return upwards(transcript, params)
    return (
        "<think> hm </think> Correct."
        if QUOTED.findall(transcript.text) == [] and "\n2\n" in transcript.text
        else "low"
    )


def test_the_models_critique_is_feedback_until_it_finds_no_mistake():
    found, sampler = made(Revise(9, feedback=SelfCritique()), criticised)
    assert (answer(found), len(found.branches)) == ("2", 3)
    assert len(sampler.requests) == 6
    assert sampler.requests[2][0].text.count("Feedback on the last attempt:\nlow") == 1


def test_a_critique_costs_its_tokens_and_its_latency():
    script = ["7", "low", "<think> a </think> 8", "correct"]
    found, sampler = made(Revise(2, feedback=SelfCritique("{attempt} ?"), ask=lambda replies, said: said), script)
    assert answer(found) == "8"
    assert found.cost.sampled == 2 + 2 + 5 + 2
    assert found.cost.latency == 2 + 2 + 5 + 2
    # " What?"; "7", "?" after it; "low"; "a", "8", "?": a paragraph belongs to the word after it
    assert found.cost.read == 1 + 2 + 1 + 3
    assert len({params.seed for _, params in sampler.requests}) == 4


def test_a_critique_that_fails_ends_the_revision():
    class Mute(ScriptedSampler):
        async def extend(self, transcript, sampling, on_token=None):
            if "first mistake" in transcript.text:
                message = "too long"
                raise TranscriptError(message)
            return await super().extend(transcript, sampling, on_token)

    found = asyncio.run(Revise(2, feedback=SelfCritique()).attempt(Mute(["7"]), QUESTION, SamplingParams()))
    assert (found.failure, answer(found), found.branches[1].score.why) == (None, "7", "too long")


# ----------------------------------------------------------------------------------------------------- environment
class Checker:
    """A session that tells whether a call was high enough."""

    after_end = True

    async def reply(self, transcript):
        if transcript.heard:
            return None
        right = transcript.reply.strip() == "3"
        span = Span(Author.ENVIRONMENT, " checked")
        return Reply(span, reward=float(right), done=True, feedback=None if right else "go higher")

    def fork(self):
        return Checker()

    def close(self):
        pass


def test_the_environments_reply_is_feedback_and_its_reward_ends_the_revision():
    found, sampler = made(Revise(9, feedback=EnvironmentFeedback()), open_session=Checker)
    assert len(found.branches) == 4
    assert found.branches[-1].transcript.heard[-1].reward == 1
    assert all("Feedback on the last attempt:\ngo higher" in transcript.text for transcript, _ in sampler.requests[1:])


def test_without_an_environment_there_is_no_feedback_and_revision_goes_on():
    found, _ = made(Revise(2, feedback=EnvironmentFeedback()))
    assert answer(found) == "2"


# -------------------------------------------------------------------------------------------------------- failures
def test_a_revision_that_fails_is_recorded_and_the_next_one_sees_the_last_that_did_not():
    class Once(ScriptedSampler):
        failed = False

        async def extend(self, transcript, sampling, on_token=None):
            if QUOTED.findall(transcript.text) == ["1"] and not self.failed:
                self.failed = True
                message = "too long"
                raise TranscriptError(message)
            return await super().extend(transcript, sampling, on_token)

    found = asyncio.run(Revise(3).attempt(Once(upwards), QUESTION, SamplingParams()))
    assert [branch.score is not None for branch in found.branches] == [False, False, True, False]
    assert (found.failure, answer(found)) == (None, "2")


def test_revisions_of_votes_and_votes_of_revisions():
    found, _ = made(Revise(1, inner=Majority(3)))
    assert (answer(found), len(found.branches)) == ("1", 6)
    found, _ = made(Majority(3, inner=Revise(2)))
    assert (answer(found), len(found.branches)) == ("2", 9)
    assert found.cost.latency == 3 * 2


def test_the_same_seed_repeats_on_the_engine(sampler):
    prompt = pz.Transcript.of([pz.Message("user", " 1 2")])
    strategy = Revise(2, ask=lambda replies, feedback: " 4")
    once, again, other = (
        asyncio.run(strategy.attempt(sampler, prompt, SamplingParams(max_tokens=8, seed=seed))) for seed in (1, 1, 2)
    )
    tokens = [[branch.transcript.tokens for branch in attempt.branches] for attempt in (once, again, other)]
    assert tokens[0] == tokens[1] != tokens[2]
    assert once.cost.latency == once.cost.sampled


@pytest.mark.parametrize("wrong", [{"revisions": -1}, {"sees": 0}, {"pick": "lst"}, {"pick": "best"}])
def test_a_revision_out_of_range_is_refused(wrong):
    with pytest.raises(SettingsError):
        Revise(**{"revisions": 1, **wrong})
