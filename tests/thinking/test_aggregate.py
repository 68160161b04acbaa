"""Recursive self-aggregation: subsets of a population are merged by the model, round by round."""

import asyncio
import re

import pytest

import poziomka as pz
from poziomka.core.errors import SettingsError, TranscriptError
from poziomka.core.problem import Verdict
from poziomka.core.rollout import Cost
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.core.seeds import random_of
from poziomka.core.transcript import Author, Span, compact
from poziomka.learning.samples.branches import by_role
from poziomka.testing import ScriptedSampler
from poziomka.thinking import Majority, SelfAggregation
from poziomka.thinking.aggregate import merge
from poziomka.thinking.ensemble import asked_with, written_out

QUESTION = pz.Transcript.of([pz.Message("user", " What?")])
QUOTED = re.compile(r"Attempt \d+:\n(\S+)")


def perfect(first, right="6"):
    """A model whose first replies are given, and that finds the right one among those that it is shown."""
    given = iter(first)

    def script(transcript, params):
        shown = QUOTED.findall(transcript.text)
        if not shown:
            return next(given)
        return right if right in shown else shown[0]

    return ScriptedSampler(script)


def made(strategy, sampler, seed=0):
    return asyncio.run(strategy.attempt(sampler, QUESTION, SamplingParams(seed=seed)))


def answers(attempt):
    return [branch.transcript.answer for branch in attempt.branches]


def test_a_perfect_aggregator_is_right_where_a_right_member_is_drawn():
    """Members of round 1 are right if the right one is in their subset, which is known from the seeds."""
    first = ["1", "2", "6", "3", "4", "5"]
    for seed in range(20):
        found = made(SelfAggregation(6, subset=2, rounds=1), perfect(first), seed)
        draws = [random_of(seed, "aggregate/subset", 1, place).sample(first, 2) for place in range(6)]
        assert answers(found)[6:] == ["6" if "6" in drawn else drawn[0] for drawn in draws]


def test_a_right_minority_of_one_becomes_the_majority():
    right = [made(SelfAggregation(8, subset=4, rounds=4), perfect("61111111"), seed).answer for seed in range(20)]
    assert all(index >= 32 for index in right)  # a member of the last population
    found = [made(SelfAggregation(8, subset=8, rounds=1), perfect("61111111"), seed) for seed in range(3)]
    assert all(attempt.branches[attempt.answer].transcript.answer == "6" for attempt in found)


def test_more_rounds_of_a_perfect_aggregator_are_never_fewer_right_members():
    for seed in range(10):
        found = made(SelfAggregation(8, subset=3, rounds=4), perfect("61211121"), seed)
        right = [answers(found)[8 * number : 8 * number + 8].count("6") for number in range(5)]
        assert right[0] == 1
        assert right[-1] >= right[1]


def test_without_rounds_it_is_the_majority():
    script = ["7", "8", "8", "9"]
    found = made(SelfAggregation(4, rounds=0), ScriptedSampler(script))
    votes = made(Majority(4), ScriptedSampler(script))
    assert (answers(found), found.answer, found.cost) == (answers(votes), votes.answer, votes.cost)


def test_a_random_member_answers_where_that_is_asked():
    chosen = {made(SelfAggregation(5, 2, 1, pick="random"), perfect("12345"), seed).answer for seed in range(40)}
    assert chosen == {5, 6, 7, 8, 9}


def test_the_cost_is_every_populations_and_rounds_wait_for_one_another():
    asks = SelfAggregation(2, subset=2, rounds=2, ask=lambda replies: f"{len(replies)} replies")
    found = made(
        asks, ScriptedSampler(lambda transcript, params: "<think> a </think> 7" if "2" in transcript.text else "7")
    )
    # 2 x "7" END; then 4 x "<think> a </think> 7" END. Prompts: " What?" once, and "2 replies" after it once.
    assert found.cost == Cost(sampled=2 * 2 + 4 * 5, read=1 + 2, latency=2 + 5 + 5)


def test_branches_of_rounds_are_compared_with_one_another():
    found = made(SelfAggregation(3, 2, 2), perfect("123"))
    assert [branch.role for branch in found.branches] == ["model"] * 3 + ["aggregator"] * 6


def test_the_prompt_shows_thoughts_and_answers_without_tags():
    found = made(SelfAggregation(1, 1, 1), ScriptedSampler(["<think> b c </think> 7", "8"]))
    text = found.branches[1].transcript.spans[0].text
    assert text.startswith(" What?\n\nHere is what was tried")
    assert text.endswith("Attempt 1:\nb c\n7")


class Refusing(ScriptedSampler):
    """Cannot continue prompts that quote one of some words."""

    refused = ("6",)

    async def extend(self, transcript, sampling, on_token=None):
        if any(word in QUOTED.findall(transcript.text) for word in self.refused):
            message = "the prompt is too long"
            raise TranscriptError(message)
        return await super().extend(transcript, sampling, on_token)


def test_a_merge_that_fails_is_recorded_and_the_others_go_on():
    found = made(SelfAggregation(4, 1, 1), Refusing(["6", "7", "8", "7", "9", "9", "9", "9"]), seed=1)
    failed = [branch for branch in found.branches if branch.score is not None]
    assert failed
    assert len(found.branches) == 8
    assert all(branch.score.verdict is Verdict.ERROR for branch in failed)
    assert (found.failure, found.branches[found.answer].transcript.answer) == (None, "9")


def test_where_all_merges_fail_the_population_before_answers():
    sampler = Refusing(["7", "7"])
    sampler.refused = ("7",)
    found = made(SelfAggregation(2, 2, 2), sampler)
    assert (found.failure, found.answer, len(found.branches)) == (None, 0, 6)


def test_the_same_seed_repeats_on_the_engine(sampler):
    """A model of digits merges with a request that its vocabulary has."""
    prompt = pz.Transcript.of([pz.Message("user", " 1 2")])
    asks = SelfAggregation(3, 2, 2, ask=lambda replies: " 5" * len(replies))
    once, again, other = (
        asyncio.run(asks.attempt(sampler, prompt, SamplingParams(max_tokens=8, seed=seed))) for seed in (1, 1, 2)
    )
    assert [b.transcript.tokens for b in once.branches] == [b.transcript.tokens for b in again.branches]
    assert [b.transcript.tokens for b in once.branches] != [b.transcript.tokens for b in other.branches]
    assert all(branch.score is None for branch in once.branches)
    assert asyncio.run(SelfAggregation(3, 2, 1).attempt(sampler, prompt, SamplingParams(max_tokens=8))).answer < 3


@pytest.mark.parametrize(
    "wrong", [{"subset": 4}, {"subset": 0}, {"rounds": -1}, {"pick": "rondom"}, {"rounds": 0, "learn": "merges"}]
)
def test_an_aggregation_out_of_range_is_refused(wrong):
    with pytest.raises(SettingsError):
        SelfAggregation(**{"population": 3, "subset": 2, **wrong})


# --------------------------------------------------------------------------------------------------------- prompts
def test_a_request_joins_the_last_message_or_becomes_one():
    assert [span.text for span in asked_with(QUESTION, "more")] == [" What?\n\nmore"]
    read = pz.Transcript((Span(Author.USER, " What?", compact([1])),), "t")
    assert [span.text for span in asked_with(read, "more")] == [" What?", "more"]
    assert asked_with(read, "more").tokenizer == "t"


def test_a_quoted_reply_cannot_open_a_thought():
    reply = QUESTION + Span(Author.MODEL, "<think> a <think> b </think> c")
    assert written_out(reply) == "a  b\nc"
    assert "<think>" not in merge([reply])


def test_training_may_learn_from_the_merges_only():
    """Each branch has the scorer's reward, and those of the first population are left out of the batch."""
    task = pz.Task("t", lambda rng: pz.Problem(" What?", "6"), pz.exact(pz.number), trusted=True)
    for learn, trained in (("merges", 2), ("all", 4)):
        sampler = perfect(["1", "6"])
        with Scoring(task) as scoring:
            collector = Collector(sampler, scoring, SelfAggregation(2, subset=2, rounds=1, learn=learn))
            groups = collector.collect([pz.Problem(" What?", "6", task="t", key="k")], SamplingParams())
        lines = [line for lines in by_role(groups) for line in lines]
        assert [branch.score.reward for branch in groups[0][0].branches] == [0, 1, 1, 1]
        assert [line.index for line in lines] == list(range(4))[-trained:]
