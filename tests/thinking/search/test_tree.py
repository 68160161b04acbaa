"""What every search keeps: limits of tokens, failures of single branches, exact cost, and the result by its seed."""

import asyncio
import math
from dataclasses import replace
from random import Random

import pytest

from poziomka.core.errors import SamplerError, SettingsError, TaskError, TranscriptError
from poziomka.core.problem import Verdict
from poziomka.core.rollout import Cost
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Stop
from poziomka.testing import ScriptedSampler
from poziomka.thinking.budget import Budget
from poziomka.thinking.majority import Majority
from poziomka.thinking.search import DVTS, MCTS, Beam, ParticleFilter, Rebase, Steps, ValueGuided

STEPS = Steps(stops=(";",))
HOME = ("up; left; home", "up; right; home")
TIMEOUT, UNREACHABLE = TranscriptError("the endpoint timed out"), SamplerError("the model cannot be reached")
SEARCHES = [
    lambda size, **more: Beam(candidates=2 * size, width=2, **more),
    lambda size, **more: DVTS(candidates=2 * size, width=2, **more),
    lambda size, **more: Rebase(budget=2 * size, **more),
    lambda size, **more: ParticleFilter(particles=2 * size, **more),
    lambda size, **more: MCTS(simulations=4 * size, width=2 * size, prior="uniform", **more),
    lambda size, **more: ValueGuided(width=2 * size, beta=50, **more),
]
every_search = pytest.mark.parametrize("make", SEARCHES, ids=["beam", "dvts", "rebase", "particles", "mcts", "guided"])


def walker(transcript, sampling):
    """A policy that seldom begins with "up", and then seldom ends with "home"."""
    random = Random(sampling.seed)
    if ";" not in transcript.text:
        return " up;" if random.random() < 0.25 else " down;"
    if transcript.text.count(";") == 1:
        return " left;" if random.random() < 0.5 else " right;"
    return " home" if random.random() < 0.3 else " lost"


def oracle(text):
    """The exact value under the walker's policy; 0 after "down", from which nothing leads home."""
    if text.startswith("down;"):
        return 0.0
    return {"home": 1.0, "lost": 0.0}.get(text.split()[-1], 0.3)


def tokens(transcript):
    return transcript.cost


# --------------------------------------------------------------------------------------------------------------- budget
@every_search
def test_exact_values_find_the_way_where_single_replies_do_not(make, judge, run, said):
    def home(size):
        search = make(size, judge=judge(oracle), steps=STEPS, answer="best")
        found = [run(search, ScriptedSampler(walker), SamplingParams(max_tokens=20, seed=seed)) for seed in range(20)]
        return sum(said(each.branches[each.answer].transcript) in HOME for each in found)

    right = [home(size) for size in (1, 3, 9)]
    single = 20 * 0.25 * 0.3  # 1.5 of 20
    assert right == sorted(right)
    assert single < right[1] < right[2]
    assert right[2] >= 18


def test_an_exact_judge_of_complete_replies_reaches_pass_at_k(judge, run, said):
    """A search of one step is best-of-n: it is right where one of its replies is."""
    search = Beam(judge=judge(lambda text: float(text in HOME)), steps=Steps(depth=1), candidates=6, answer="best")
    right = []
    for seed in range(40):
        sampler = ScriptedSampler(lambda transcript, sampling: HOME[0] if sampling.seed % 5 == 0 else " lost")
        found = run(search, sampler, SamplingParams(max_tokens=20, seed=seed))
        right.append(any(said(branch.transcript) in HOME for branch in found.branches))
        assert (said(found.branches[found.answer].transcript) in HOME) is right[-1]
    assert 20 < sum(right) < 40


@pytest.mark.parametrize(
    "make", [SEARCHES[1], lambda size, **more: MCTS(simulations=4 * size, **more)], ids=["dvts", "mcts"]
)
def test_a_larger_budget_samples_the_same_steps_and_more(make, judge, run, said):
    def replies(size, seed):
        search = make(size, judge=judge(oracle), steps=STEPS)
        found = run(search, ScriptedSampler(walker), SamplingParams(max_tokens=20, seed=seed))
        return [said(branch.transcript) for branch in found.branches if branch.score is None]

    for seed in range(10):
        few, many = replies(2, seed), replies(6, seed)
        assert all(many.count(reply) >= few.count(reply) for reply in few)


@every_search
def test_a_search_repeats_by_its_seed(make, judge, run):
    search = make(3, judge=judge(oracle), steps=STEPS)
    found = [run(search, ScriptedSampler(walker), SamplingParams(max_tokens=20, seed=seed)) for seed in (1, 1, 2)]
    texts = [[branch.transcript.text for branch in each.branches] for each in found]
    assert texts[0] == texts[1] != texts[2]
    assert (found[0].answer, found[0].spent) == (found[1].answer, found[1].spent)


# --------------------------------------------------------------------------------------------------------------- limits
@every_search
def test_a_delimiter_that_never_comes_ends_at_the_limit_of_tokens(make, judge, run):
    sampler = ScriptedSampler(lambda transcript, sampling: " on" * 50)
    found = run(make(2, judge=judge(lambda text: 0.5), steps=STEPS), sampler, SamplingParams(max_tokens=7))
    assert {tokens(branch.transcript) for branch in found.branches} == {7}
    assert found.failure is None
    assert found.branches[found.answer].transcript.stop is Stop.LENGTH


@every_search
def test_steps_of_a_number_of_tokens_keep_the_limit_of_the_whole_reply(make, judge, run):
    steps = Steps(stops=(), tokens=3)
    sampler = ScriptedSampler(lambda transcript, sampling: " on" * 50)
    found = run(make(2, judge=judge(lambda text: 0.5), steps=steps), sampler, SamplingParams(max_tokens=7))
    assert tokens(found.branches[found.answer].transcript) == 7
    assert {sampling.max_tokens for _, sampling in sampler.requests} <= {3, 1, 7, 4}


def test_the_last_step_is_the_whole_rest(judge, run, said):
    steps = Steps(stops=(";",), depth=2)
    sampler = ScriptedSampler(lambda transcript, sampling: " a;" if ";" not in transcript.text else " b; c; d")
    found = run(Beam(judge=judge(lambda text: 0.5), steps=steps), sampler)
    assert said(found.branches[found.answer].transcript) == "a; b; c; d"


def test_a_stop_string_of_the_request_ends_the_reply(judge, run, said):
    sampler = ScriptedSampler(lambda transcript, sampling: " a;" if ";" not in transcript.text else " b. c;")
    found = run(Beam(judge=judge(lambda text: 0.5), steps=STEPS), sampler, SamplingParams(stop=("b.",)))
    assert said(found.branches[found.answer].transcript) == "a; b."


def test_a_thinking_budget_bounds_the_thought_over_all_steps(judge, run):
    def script(transcript, sampling):
        return "<think> on" + " on" * 20 if "<think>" not in transcript.text else " on" * 20

    steps = Steps(stops=(), tokens=2)
    search = Budget(most=5, inner=Beam(judge=judge(lambda text: 0.5), steps=steps))
    found = run(search, ScriptedSampler(script), SamplingParams(max_tokens=12))
    reply = found.branches[found.answer].transcript
    thought = [span for span in reply if span.author in (Author.MODEL, Author.FORCED)]
    before = "".join(span.text for span in thought).partition("</think>")[0]
    assert (before.count("on"), tokens(reply)) == (5, 12)


def test_replies_can_be_completed_by_another_strategy(judge, run, said):
    """Two steps, and a vote of three for the rest: the vote's branches belong to the tree."""

    def script(transcript, sampling):
        return f" {'ab'[sampling.seed % 2]};" if ";" not in transcript.text else f" {sampling.seed % 3}"

    steps = Steps(stops=(";",), depth=2, rest=Majority(votes=3))
    search = Beam(judge=judge(lambda text: 0.5), steps=steps, candidates=2, width=2)
    found = run(search, ScriptedSampler(script))
    # 2 first steps of 1 token, one of which is continued by 2 votes of 3 replies of 2 tokens
    assert found.spent == Cost(sampled=2 + 2 * 3 * 2, read=2, latency=1 + 2)
    assert Cost.of(found.branches).sampled == found.spent.sampled
    assert len(found.branches) == 1 + 6


# ------------------------------------------------------------------------------------------------------------- failures
def failed(attempt):
    return [branch.score.why for branch in attempt.branches if branch.score and branch.score.verdict is Verdict.ERROR]


@every_search
@pytest.mark.parametrize("value", [math.nan, math.inf, 1.5, None])
def test_a_branch_with_a_value_that_is_no_probability_is_recorded_as_failed(make, value, judge, run, said):
    """Nothing after "down" has a value."""

    def some(text):
        return value if text.startswith("down;") else oracle(text)

    found = run(make(4, judge=judge(some), steps=STEPS), ScriptedSampler(walker), SamplingParams(max_tokens=20))
    assert found.failure is None
    assert failed(found)
    assert said(found.branches[found.answer].transcript).startswith("up;")
    assert found.branches[found.answer].score is None


@every_search
def test_a_judge_that_raises_fails_the_branches_that_it_was_asked_about(make, judge, run):
    search = make(2, judge=judge(lambda text: TaskError("no judge today")), steps=STEPS)
    found = run(search, ScriptedSampler(walker), SamplingParams(max_tokens=20))
    assert found.failure is not None
    assert "no judge today" in found.failure
    assert failed(found) == [found.failure] * len(failed(found))
    assert found.spent.sampled > 0


@every_search
def test_a_step_that_cannot_be_sampled_ends_its_branch_only(make, judge, run, said):
    def script(transcript, sampling):
        if "down;" in transcript.text:
            raise TIMEOUT
        return walker(transcript, sampling)

    search = make(4, judge=judge(lambda text: 0.5), steps=STEPS)
    found = [run(search, ScriptedSampler(script), SamplingParams(max_tokens=20, seed=seed)) for seed in range(8)]
    assert any(failed(each) for each in found)
    ended = [each for each in found if each.failure is None]
    assert ended
    assert all(said(each.branches[each.answer].transcript).startswith("up;") for each in ended)
    assert all(Cost.of(each.branches).sampled == each.spent.sampled for each in found)


@every_search
def test_a_sampler_that_cannot_sample_at_all_ends_the_collection(make, judge, run):
    def script(transcript, sampling):
        raise UNREACHABLE

    with pytest.raises(SamplerError):
        run(make(2, judge=judge(oracle), steps=STEPS), ScriptedSampler(script))


def test_a_prior_without_log_probabilities_is_refused(judge, run):
    class Silent(ScriptedSampler):
        async def extend(self, transcript, sampling, on_token=None):
            reply = await super().extend(transcript, sampling, on_token)
            return replace(reply, spans=tuple(replace(span, logprobs=None) for span in reply))

    with pytest.raises(SettingsError):
        run(MCTS(judge=judge(oracle), steps=STEPS), Silent(walker))
    with pytest.raises(SettingsError):
        run(ValueGuided(judge=judge(oracle), steps=STEPS, policy="probability"), Silent(walker))


# ----------------------------------------------------------------------------------------------------------------- cost
@every_search
def test_every_sampled_token_belongs_to_one_branch(make, judge, run):
    class Counting(ScriptedSampler):
        sampled = 0

        async def extend(self, transcript, sampling, on_token=None):
            reply = await super().extend(transcript, sampling, on_token)
            self.sampled += reply.cost - transcript.cost
            return reply

    for seed in range(5):
        sampler = Counting(walker)
        search = make(3, judge=judge(oracle, cost=Cost(judged=5), parameters=10), steps=STEPS)
        found = run(search, sampler, SamplingParams(max_tokens=20, seed=seed))
        assert found.spent.sampled == sampler.sampled == Cost.of(found.branches).sampled
        assert found.spent.read == 2
        assert found.spent.judged == 5 * sum(map(len, search.judge.asked))
        assert found.spent.latency <= found.spent.sampled


def test_the_tokens_of_a_judge_are_weighted_by_its_parameters(judge, run):
    class Small(ScriptedSampler):
        @property
        def capabilities(self):
            return replace(super().capabilities, parameters=10)

    scores = judge(oracle, cost=Cost(judged=5), parameters=40)
    found = run(Beam(judge=scores, steps=STEPS), Small(walker))
    assert found.spent.judged == 4 * 5 * sum(map(len, scores.asked))


def test_a_prompt_that_the_model_wrote_in_part_was_read_and_not_sampled(judge, run, question):
    earlier = asyncio.run(ScriptedSampler([" Left or right?"]).extend(question, SamplingParams()))
    search = DVTS(judge=judge(lambda text: 0.5), steps=STEPS, candidates=2, width=1)
    sampler = ScriptedSampler(lambda transcript, sampling: " left")
    found = asyncio.run(search.attempt(sampler, earlier, SamplingParams(max_tokens=9)))
    assert found.spent == Cost(sampled=4, read=2 + 4, latency=2)
    assert [(branch.parent, branch.fork_at) for branch in found.branches] == [(None, 0), (0, 6)]
