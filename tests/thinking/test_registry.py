"""A text names a strategy, with its values and the strategies in it, or is refused in one sentence."""

import asyncio

import pytest

import poziomka as pz
from poziomka.core.errors import SettingsError
from poziomka.core.rollouts.conversation import SINGLE_REPLY, SingleReply
from poziomka.core.rollouts.readers import AnswerOf
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.testing import ScriptedSampler
from poziomka.thinking import (
    AdaptiveConsistency,
    BestOf,
    Budget,
    Continue,
    EnvironmentFeedback,
    ExactJudge,
    Logprobs,
    Majority,
    RandomBudget,
    Revise,
    ScorerFeedback,
    SelfAggregation,
    SelfCertainty,
    SelfCritique,
    parts_of,
    strategy_of,
)
from poziomka.thinking.registry import STRATEGIES, reads_gold, reads_logprobs, votes

QUESTION = pz.Transcript.of([pz.Message("user", " What?")])
TASK = pz.Task("t", lambda rng: pz.Problem(" What?", "6"), pz.exact(pz.number), trusted=True)
WRITTEN = {
    "majority:8": Majority(8),
    "majority:votes=8": Majority(8),
    " Majority : 8 , reward = vote ": Majority(8, reward="vote"),
    "majority:8,reward=vote,credit=leave_one_out": Majority(8, reward="vote", credit="leave_one_out"),
    "best_of:8,reward=maximum": BestOf(8, Logprobs(), reward="maximum"),
    "rsa:8,learn=merges": SelfAggregation(8, learn="merges"),
    "random_budget:4-8-16-24": RandomBudget((4, 8, 16, 24)),
    "maj@8": Majority(8),
    "cons@64": Majority(64),
    "self-consistency:8": Majority(8),
    "majority:8,read=number": Majority(8, read=AnswerOf(pz.number)),
    "weighted:8": Majority(8, judge=Logprobs()),
    "deepconf:16,keep=0.25": Majority(16, judge=Logprobs(64), keep=0.25),
    "deepconf:16,judge=logprobs:9": Majority(16, judge=Logprobs(9), keep=0.5),
    "bon:4": BestOf(4, Logprobs()),
    "best-of-n:4,judge=logprobs:3": BestOf(4, Logprobs(3)),
    "adaptive:16": AdaptiveConsistency(16),
    "adaptive:16,threshold=.9,per_round=2": AdaptiveConsistency(16, 0.9, 2),
    "rsa:n=8,k=3,rounds=2": SelfAggregation(8, 3, 2),
    "rsa:8,pick=random": SelfAggregation(8, pick="random"),
    "continue:2": Continue(2),
    "wait:2,word= Hmm": Continue(2, " Hmm"),
    "revise:3,sees=2,pick=majority": Revise(3, 2, pick="majority"),
    "revise:3,pick=best,judge=logprobs": Revise(3, pick="best", judge=Logprobs()),
    "refine:2": Revise(2, feedback=SelfCritique()),
    "refine:2,feedback=environment": Revise(2, feedback=EnvironmentFeedback()),
    "budget:512": Budget(512),
    "budget:none,min=16": Budget(None, 16),
    "budget:512/majority:8": Budget(512, inner=Majority(8)),
    "majority:4/budget:64/continue:2": Majority(4, inner=Budget(64, inner=Continue(2))),
    "majority:4/single": Majority(4, inner=SINGLE_REPLY),
}


@pytest.mark.parametrize(("text", "strategy"), WRITTEN.items())
def test_a_text_is_a_strategy(text, strategy):
    found = strategy_of(text)
    if text == "majority:4/single":
        assert isinstance(found.inner, SingleReply)
        return
    assert found == strategy


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("", "known: "),
        ("majorit:3", "did you mean 'majority'?"),
        ("self-consistensy:3", "did you mean 'self_consistency'?"),
        ("maj", "write majority:8"),
        ("maj:", "an integer"),
        ("maj:x", "an integer"),
        ("maj:1e9999", "an integer"),
        ("maj:" + "9" * 5000, "an integer"),
        ("budget:-5", "0 thinking tokens"),
        ("budget:5,min=9", "most >= least"),
        ("maj:3,kep=2", "did you mean 'keep'?"),
        ("maj:3,votes=2", "twice"),
        ("maj:3,4", "twice"),
        ("maj:3,", "twice"),
        ("maj:3,inner=single", "no value 'inner'"),
        ("maj:3,read=numbr", "did you mean 'number'?"),
        ("maj:3,reward=vots", "did you mean 'vote'?"),
        ("deepconf:3,keep=nan", "share"),
        ("best_of:4,judge=logprob", "did you mean 'logprobs'?"),
        ("best_of:4,judge=logprobs:x", "an integer"),
        ("refine:2,feedback=logprobs", "cannot be 'logprobs'"),
        ("best_of:4,judge=certainty", "needs a sampler"),
        ("oracle:4", "needs a task's scorer"),
        ("single:3", "does not take"),
        ("single/maj:3", "cannot contain"),
        ("maj:0", "at least 1 vote"),
        ("rsa:2,k=3", "at most its population"),
        ("maj:3/", "unknown strategy ''"),
    ],
)
def test_a_wrong_text_is_refused_in_one_sentence(text, near):
    with pytest.raises(SettingsError) as refused:
        strategy_of(text)
    assert near in str(refused.value)
    assert "\n" not in str(refused.value)


def test_judges_of_a_sampler_and_a_task_are_named_where_they_are_given():
    sampler = ScriptedSampler(["7"])
    with Scoring(TASK) as scoring:
        parts = parts_of(sampler, scoring)
        assert strategy_of("oracle:4", parts) == BestOf(4, ExactJudge(scoring))
        assert strategy_of("weighted:4,judge=certainty:5", parts) == Majority(4, judge=SelfCertainty(sampler, 5))
        assert strategy_of("refine:4,feedback=scorer", parts) == Revise(4, feedback=ScorerFeedback(scoring))
    with pytest.raises(SettingsError, match="no window"):
        strategy_of("oracle:4,judge=exact:3", parts)
    with pytest.raises(SettingsError):
        strategy_of("oracle:4", parts_of(sampler))


def test_votes_read_answers_as_the_caller_does():
    read = AnswerOf(pz.number)
    assert strategy_of("majority:3/adaptive:2", read=read) == Majority(
        3, read=read, inner=AdaptiveConsistency(2, read=read)
    )
    replies = ["It is 7.", "8", "7"]
    found = asyncio.run(strategy_of("maj:3", read=read).attempt(ScriptedSampler(replies), QUESTION, SamplingParams()))
    assert found.branches[found.answer].transcript.answer == "It is 7."
    assert read(QUESTION) is None


def test_names_are_unique_and_explained():
    names = [name for key, row in STRATEGIES.items() for name in (key, *row.aliases)]
    assert len(names) == len(set(names))
    assert all(row.about for row in STRATEGIES.values())


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_makes_an_attempt_whose_cost_adds_up(name):
    sampler = ScriptedSampler(lambda transcript, params: f"<think> a </think> {params.seed % 3}")
    problem = pz.Problem(" What?", "1", task="t", key="k")
    with Scoring(TASK) as scoring:
        value = {"single": "", "agreement": ":4-4-2", "deepconf_online": ":4,warmup=2"}.get(name, ":4")
        strategy = strategy_of(name + value, parts_of(sampler, scoring))
        found = asyncio.run(strategy.attempt(sampler, QUESTION, SamplingParams(max_tokens=9), problem=problem))
    assert found.failure is None
    assert 0 < found.cost.latency <= found.cost.sampled
    assert found.cost.sampled >= sum(branch.transcript.cost for branch in found.branches)
    assert found.cost.read >= 1


@pytest.mark.parametrize(
    ("text", "gold", "logprobs"),
    [
        ("majority:8", False, False),
        ("oracle:8", True, False),
        ("majority:2/oracle:2", True, False),
        ("beam:4,judge= exact ", True, False),
        ("refine:2,feedback=scorer", True, False),
        ("refine:2,feedback=environment", True, False),  # a reward of the environment ends the revision
        ("refine:2", False, False),
        ("best_of:4", False, True),
        ("budget:9/deepconf:4", False, True),
        ("deepconf_online:20", False, True),
        ("beam:4,judge=certainty", False, True),
        ("best_of:4,judge=logprobs:8", False, True),
        ("mcts:4,judge=exact", True, True),
        ("mcts:4,judge=exact,prior=uniform", True, False),
        ("guided:4,judge=exact,policy=probability", True, True),
    ],
)
def test_a_text_shows_what_its_judges_read(text, gold, logprobs):
    assert (reads_gold(text), reads_logprobs(text)) == (gold, logprobs)


@pytest.mark.parametrize("text", ["majority:8", "budget:9/adaptive:4", "revise:2,pick=majority", "beam:4", "rsa:4"])
def test_a_strategy_that_compares_answers_is_known(text):
    assert votes(text)


@pytest.mark.parametrize("text", ["single", "best_of:4", "revise:2", "beam:4,answer=best", "particles:4"])
def test_a_strategy_without_a_vote_is_known(text):
    assert not votes(text)
