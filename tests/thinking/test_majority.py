"""A vote counts answers after the thought, and a served strategy that fails is a failed check."""

import asyncio

import pytest

import poziomka as pz
from poziomka.core.errors import TranscriptError
from poziomka.core.rollout import Cost
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.evaluation import evaluate
from poziomka.core.rollouts.readers import AnswerOf
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.strategy import Attempt, Strategy
from poziomka.core.transcript import Author
from poziomka.runs.storage.journal import read_journal, write_journal
from poziomka.testing import ScriptedSampler
from poziomka.thinking.registry import parts_of, strategy_of

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


@pytest.mark.parametrize(
    "text",
    [
        "single",
        "majority:4",
        "weighted:4,judge=certainty",
        "deepconf:5,judge=certainty:2/budget:3",
        "best_of:3,judge=certainty",
        "adaptive:5,per_round=2",
        "majority:1,judge=certainty",
        "beam:4,judge=certainty,steps=2",
        "dvts:4,judge=certainty,steps=2",
        "rebase:4,judge=certainty,steps=2",
        "particles:3,judge=certainty,steps=2",
        "mcts:5,judge=certainty,steps=2",
        "rsa:n=4,k=2,rounds=2",
        "refine:2",
    ],
)
def test_a_thinker_costs_what_its_strategy_costs(text, tmp_path):
    def script(transcript, params):
        return " ".join(["<think>", *"abc"[: 1 + params.seed % 3], "</think>", str(params.seed % 4)])

    sampler, problems = ScriptedSampler(script), TASK.first("train", 3)
    with Scoring(TASK) as scoring:
        strategy = strategy_of(text, parts_of(sampler))
        direct = Collector(sampler, scoring, strategy).collect(problems, pz.SamplingParams(max_tokens=9))
        served = Collector(pz.Thinker(sampler, strategy), scoring).collect(problems, pz.SamplingParams(max_tokens=9))
    costs = [[rollout.cost for rollout in group] for group in served]
    assert costs == [[rollout.cost for rollout in group] for group in direct]
    write_journal(tmp_path / "step-000000.parquet", served)
    read = read_journal(tmp_path / "step-000000.parquet").groups
    assert [[rollout.cost for rollout in group] for group in read] == costs
    assert [Cost.of(group[0].branches) for group in read] == [group[0] for group in costs]


def test_judges_of_later_turns_are_added_once():
    sampler = ScriptedSampler(["7"])
    thinker = pz.Thinker(sampler, strategy_of("best_of:3,judge=certainty", parts_of(sampler)))
    first = asyncio.run(thinker.extend(QUESTION, pz.SamplingParams()))
    asked = first + pz.Span(Author.USER, " And now?")
    second = asyncio.run(thinker.extend(asked, pz.SamplingParams()))
    judged = [reply.correction.judged for reply in (first, second)]
    assert judged[0] == Cost.of([pz.Branch(first)]).judged > 0
    assert judged[1] > 2 * judged[0]  # the judge reads the first turn again


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


def test_replies_of_equal_text_cost_as_many_tokens_through_a_thinker():
    reply = voted("7", "7", "7", "7")
    assert reply.cost == 8
    assert [sum(span.cost for span in tried.spans) for tried in reply.tried] == [2, 2, 2]


def whole(answer):
    """A reader that raises on any text but an integer."""
    return int(answer)


def test_a_reader_that_raises_on_a_reply_leaves_it_without_a_vote():
    task = pz.Task("whole", lambda rng: pz.Problem(f"{rng.randrange(99)} ?", "7"), pz.exact(whole), trusted=True)
    sampler = ScriptedSampler(lambda transcript, params: "seven" if params.seed % 2 else "7")
    with Scoring(task) as scoring:
        for text in ("majority:6", "adaptive:6", "beam:4,judge=exact,steps=line"):
            strategy = strategy_of(text, parts_of(sampler, scoring), AnswerOf(whole))
            (group,) = Collector(sampler, scoring, strategy).collect(task.first("train", 1), pz.SamplingParams())
            verdicts = [branch.score.verdict.value for branch in group[0].branches]
            assert set(verdicts) == {"correct", "error"}
            assert group[0].score.correct
