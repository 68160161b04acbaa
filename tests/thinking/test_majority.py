"""A vote counts answers after the thought, and a served strategy that fails is a failed check."""

import asyncio

import poziomka as pz
from poziomka.core.errors import TranscriptError
from poziomka.core.rollouts.evaluation import evaluate
from poziomka.core.strategy import Attempt, Strategy
from poziomka.testing import ScriptedSampler

TOO_LONG = TranscriptError("too long")
QUESTION = pz.Transcript.of([pz.Message("user", " What?")])
TASK = pz.Task("vote", lambda rng: pz.Problem(f" {rng.randrange(10**6)} ?", "7"), pz.exact(pz.number), trusted=True)


def voted(*replies):
    sampler = ScriptedSampler(replies)
    return asyncio.run(pz.Thinker(sampler, pz.Majority(votes=len(replies))).extend(QUESTION, pz.SamplingParams()))


def test_most_votes_win():
    reply = voted("<think> a </think> 7", "<think> b </think> 8", "<think> c </think> 7")
    assert (reply.answer, len(reply.tried)) == ("7", 2)


def test_a_thought_that_never_ends_has_no_vote():
    assert voted("<think> 9", "<think> 9", "<think> c </think> 7").answer == "7"
    assert voted("<think> 9", "<think> 9").answer == ""


def test_a_thinker_is_evaluated_as_a_sampler():
    thinker = pz.Thinker(ScriptedSampler(["7"]), pz.Majority(votes=3))
    found = pz.evaluate(thinker, TASK, problems=20)
    assert str(found).startswith("1.00 [0.8")


class Failing(Strategy):
    """Fails on odd numbers by an error of its sampler, and on some even ones by its own report."""

    async def attempt(self, sampler, prompt, params, *, open_session=None, problem=None):
        assert problem is None
        if int(prompt.text.strip(" ?")) % 2:
            raise TOO_LONG
        return Attempt.failed(prompt, "no reply") if params.seed % 2 else Attempt((pz.Branch(prompt),))


def test_a_strategy_that_fails_is_a_failed_check_and_ends_nothing():
    found = evaluate(pz.Thinker(ScriptedSampler(["7"]), Failing()), TASK, pz.SamplingParams(), problems=20)
    assert 0 < found.failures < 20
    reasons = {rollout.score.why for group in found.groups for rollout in group if rollout.score.reward is None}
    assert reasons <= {"too long", "no reply"}
