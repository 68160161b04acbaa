"""Replies that were served are judged later, learned from, and the sampler that served them goes on, wiser."""

import asyncio
import json
import math
from dataclasses import replace

import pytest
import torch

from poziomka.core.errors import LearningError, RunError, SettingsError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.sampler import SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.transcript import Author, Stop, Transcript, compact, compact_floats
from poziomka.inference.local import LocalSampler
from poziomka.learning.learner import LearnerSettings
from poziomka.learning.loops.offline import OfflineSettings, advantages_of, by_problem, learn_from
from poziomka.learning.objectives.losses import CorrectionSettings, SurrogateSettings
from poziomka.learning.session import TrainingSession
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.runs.feedback import Judged, judge, read_scores, rollouts_in
from poziomka.runs.storage.journal import write_journal

SAMPLING = SamplingParams(max_tokens=3)
QUESTIONS = [" a", " b", " a a", " b b", " a b", " b a"]


class Service:
    """What a server does: one sampler, replies by id, a journal of them without scores."""

    def __init__(self, sampler):
        self.sampler = sampler
        self.served = []

    async def reply(self, name, question, **changes):
        problem = Problem.ask("echo", question.strip() or "?", question)
        sampling = replace(SAMPLING, seed=seed_of("served", name), **changes)
        transcript = await self.sampler.extend(Transcript.of(problem.prompt), sampling)
        policy = next(span.policy for span in transcript if span.author is Author.MODEL)
        rollout = Rollout(name, problem, (Branch(transcript),), policy)
        self.served.append(rollout)
        return rollout

    async def serve(self, attempts=3, name="served"):
        await asyncio.gather(
            *(
                self.reply(f"{name}/{question.strip()}/{'x' * attempt}", question)
                for question in QUESTIONS
                for attempt in range(attempts)
            )
        )
        return list(self.served)


def says_a(rollout):
    return float("a" in rollout.transcript.reply.split())


def judgements(path, rollouts, reward=says_a):
    """Writes the file that somebody fills in later."""
    lines = [json.dumps({"id": r.id, "reward": reward(r), "why": "looked at"}) for r in rollouts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def judged(rollouts, reward=says_a):
    def scored(rollout):
        value = reward(rollout)
        score = Score.failed(Verdict.ERROR, "broke") if value is None else Score(value, Verdict.WRONG)
        first, *others = rollout.branches
        return replace(rollout, branches=(replace(first, score=score), *others))

    return Judged([scored(rollout) for rollout in rollouts])


@pytest.fixture
def progress(open_run, build, chat, learner_of):
    return TrainingSession(open_run(), learner_of(build(loud=0.05)), chat.tokenizer)


@pytest.fixture
def sampler(progress, chat):
    """Writes with the run's weights, as a server does."""
    sampler = LocalSampler(progress.learner.model, chat)
    progress.publish_weights(sampler)
    return sampler


@pytest.fixture
def served(sampler):
    return asyncio.run(Service(sampler).serve())


def likelihood(sampler, rollout):
    scores = asyncio.run(sampler.score(rollout.transcript))
    return sum(score for score, own in zip(scores, rollout.transcript.by(Author.MODEL), strict=True) if own)


# -------------------------------------------------------------------------------------------- from serving to serving
def test_what_was_served_and_judged_later_changes_what_the_same_sampler_says(progress, sampler, tmp_path):
    service = Service(sampler)
    served = asyncio.run(service.serve())
    write_journal(tmp_path / "served" / "monday.parquet", [served])  # no scores yet
    scores = judgements(tmp_path / "monday.jsonl", served)
    good = next(rollout for rollout in served if says_a(rollout))
    bad = next(rollout for rollout in served if not says_a(rollout))
    before = likelihood(sampler, good), likelihood(sampler, bad)

    rollouts, _ = rollouts_in(tmp_path / "served")
    metrics = learn_from(progress, sampler, judge(rollouts, read_scores(scores)))

    after = likelihood(sampler, good), likelihood(sampler, bad)
    assert after[0] > before[0]
    assert after[1] < before[1]
    again = asyncio.run(service.reply("tuesday", " a"))
    assert again.policy == "step-000001" == sampler.policy
    assert metrics["rollouts/used"] == len(served)
    assert progress.run.latest().step == 1


def test_a_reply_under_way_goes_on_with_the_new_weights_in_a_span_of_its_own(progress, sampler, served):
    async def serving():
        reply = asyncio.create_task(Service(sampler).reply("long", " a b", max_tokens=400, min_thinking_tokens=300))
        steps = sampler.engine.counters.steps
        while sampler.engine.counters.steps < steps + 3:  # noqa: ASYNC110 the engine has no event to wait for
            await asyncio.sleep(0)
        learn_from(progress, sampler, judged(served))
        return await reply

    spans = [span for span in asyncio.run(serving()).transcript if span.author is Author.MODEL]
    assert [span.policy for span in spans[:2]] == ["step-000000", "step-000001"]
    assert spans[0].stop is Stop.SWAP


def test_the_step_is_logged_kept_and_saved_like_any_other(progress, served):
    learn_from(progress, None, judged(served))
    (line,) = progress.run.metrics()
    assert (line["stage"], line["step"]) == ("offline", 1)
    for name in (
        "reward/mean",
        "policy/mismatch_kl",
        "optim/grad_norm",
        "time/learning_seconds",
        "compute/learn_flops",
    ):
        assert line[name] is not None, name
    journal = progress.run.journal("step-000001")
    assert len(journal.rollouts) == len(served)
    assert journal.advantages
    assert progress.run.latest().step == 1


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("steps", [1, 2])
def test_a_kill_before_the_end_leaves_the_run_where_it_stood(
    progress, served, open_run, build, chat, learner_of, steps
):
    learn_from(progress, None, judged(served[: len(served) // 2]))

    def die(stage, line):
        if line["step"] == 1 + steps:
            raise Killed

    progress.listener = die
    saved = {name: tensor.clone() for name, tensor in progress.learner.weights().items()}
    with pytest.raises(Killed):
        learn_from(progress, None, judged(served), OfflineSettings(steps=steps))
    again = TrainingSession(open_run(), learner_of(build(seed=3)), chat.tokenizer)
    again.restore()
    assert again.step == 1
    assert [line["step"] for line in again.run.metrics()] == [1]
    assert all(torch.equal(saved[name], tensor) for name, tensor in again.learner.weights().items())
    assert learn_from(again, None, judged(served))["rollouts/used"] > 0
    assert again.step == 2


def test_several_updates_come_from_the_same_rollouts(progress, served):
    learn_from(progress, None, judged(served), OfflineSettings(steps=3, mismatch=10.0))
    first, *_, last = progress.run.metrics()
    assert [line["step"] for line in progress.run.metrics()] == [1, 2, 3]
    assert first["policy/moved_kl"] == 0 < last["policy/moved_kl"]
    assert progress.run.latest().step == 3


def test_several_updates_end_where_the_writers_are_too_far_behind(progress, served):
    learn_from(progress, None, judged(served), OfflineSettings(steps=9, mismatch=1e-3))
    assert progress.step == 1
    assert any("1 of 9 updates were taken" in note for note in progress.run.notes)
    assert progress.run.latest().step == 1


# -------------------------------------------------------------------------------------------------------- older weights
def test_older_weights_count_with_an_importance_weight_and_their_age_is_told(progress, sampler, served):
    learn_from(progress, sampler, judged(served))
    more = asyncio.run(Service(sampler).serve(name="later"))
    old = [replace(rollout, id=f"old/{rollout.id}") for rollout in served]
    metrics = learn_from(progress, sampler, judged([*more, *old]))
    assert metrics["policy/age_most"] == 1
    assert 0 < metrics["policy/age_mean"] < 1
    assert metrics["policy/age_unknown"] == 0
    assert metrics["policy/mismatch_kl"] > 1e-6


def test_weights_too_far_away_are_refused_and_nothing_changes(progress, build, chat):
    stranger = LocalSampler(build(seed=9, loud=0.6), chat, "somebody-else")
    served = asyncio.run(Service(stranger).serve())
    written = judged(served, lambda rollout: float(len(rollout.id) % 2))
    before = {name: tensor.clone() for name, tensor in progress.learner.weights().items()}
    with pytest.raises(
        LearningError, match=r"written by somebody-else, .* nats a token from step-000000 where 0\.1 is"
    ):
        learn_from(progress, None, written)
    assert progress.step == 0
    assert progress.run.metrics() == []
    assert all(torch.equal(before[name], tensor) for name, tensor in progress.learner.weights().items())
    metrics = learn_from(progress, None, written, OfflineSettings(mismatch=100.0))
    assert metrics["policy/age_unknown"] == 1
    assert "policy/age_mean" not in metrics


def test_another_temperature_than_the_learners_shows_as_mismatch(progress, sampler):
    progress.learner.temperature = 0.3
    served = asyncio.run(Service(sampler).serve())  # at temperature 1
    with pytest.raises(LearningError, match="at the learner's temperature"):
        learn_from(progress, None, judged(served), OfflineSettings(mismatch=1e-3))


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (LearnerSettings(surrogate=SurrogateSettings(kind="reinforce")), "'reinforce' is right for tokens that these"),
        (LearnerSettings(correction=CorrectionSettings(kind="none")), "correction.kind is 'none'"),
    ],
)
def test_a_learner_that_corrects_nothing_is_refused(progress, served, how, sentence):
    progress.learner.settings = how
    with pytest.raises(SettingsError, match=sentence):
        learn_from(progress, None, judged(served))


def test_a_policy_that_the_run_has_not_reached_is_refused(progress, sampler, served):
    wait_for(sampler.load_weights("step-000007", progress.learner.weights()))
    later = asyncio.run(Service(sampler).serve())
    with pytest.raises(LearningError, match="written by step-000007, and this run stands at step-000000"):
        learn_from(progress, None, judged(later))


def test_another_tokenizer_is_refused(progress, served):
    progress.tokenizer = Tokenizer.of_symbols(["b", "a"])
    with pytest.raises(LearningError, match=r"was written with tokenizer \w+, and this run's is"):
        learn_from(progress, None, judged(served))


# ------------------------------------------------------------------------------------------------------ who is left out
def test_a_failed_check_is_never_a_reward(progress, served):
    broken = judged(served, lambda r: None if r.id.endswith("/") else says_a(r))
    metrics = learn_from(progress, None, broken)
    assert metrics["rollouts/failed"] == len(QUESTIONS)
    assert metrics["rollouts/used"] == len(served) - len(QUESTIONS)
    assert any("their check failed, which is never a reward" in note for note in progress.run.notes)


def test_the_unjudged_and_those_without_tokens_are_left_out_and_said(progress, served):
    bare = replace(served[0], branches=(replace(judged(served[:1]).rollouts[0].branches[0], transcript=Transcript()),))
    some = [bare, *judged(served[1:10]).rollouts, *served[10:]]
    metrics = learn_from(progress, None, Judged(some))
    assert metrics["rollouts/unjudged"] == len(served) - 10
    assert metrics["rollouts/without_tokens"] == 1
    assert metrics["rollouts/used"] == 9


def test_a_rollout_is_learned_from_once(progress, served):
    learn_from(progress, None, judged(served))
    with pytest.raises(LearningError, match="this run has learned from them before"):
        learn_from(
            progress, None, judged([r for r in served if r.id in progress.run.journal("step-000001").advantages])
        )


def test_equal_rewards_teach_nothing_and_say_so(progress, served):
    with pytest.raises(LearningError, match="among 18 rollouts no two that compare differ in reward"):
        learn_from(progress, None, judged(served, lambda r: 1.0))
    with pytest.raises(LearningError, match=r"no rollout is left; 18 of 18 rollouts left out: not judged yet"):
        learn_from(progress, None, Judged(served))
    assert progress.step == 0


def test_lone_attempts_are_compared_within_their_task(rollout):
    def lone(name, key, reward, task="sums"):
        made = rollout(reward, name=name)
        return replace(made, problem=Problem.ask(task, key, " 1"))

    alone = [lone("x", "1", 1.0), lone("y", "2", 0.0), lone("z", "3", 0.5, "games")]
    mates = [lone("u", "9", 1.0), lone("v", "9", 0.0)]
    found = advantages_of(by_problem([*alone, *mates]), "dr_grpo")
    assert found == [[0.5], [-0.5], [None], [0.5, -0.5]]


# ---------------------------------------------------------------------------------------------- scores that come later
def test_scores_are_joined_by_id_and_what_does_not_fit_is_counted(served, tmp_path):
    lines = [
        {"id": served[0].id, "reward": 0.25, "why": "half right", "answer": 7},
        {"id": "nobody", "reward": 1},
        {"id": served[1].id, "reward": 0},
        {"id": served[1].id, "reward": 1},
        {"id": served[2].id, "reward": 1.5},
        {"id": served[3].id, "reward": True},
        {"id": served[4].id},
        {"id": served[5].id, "reward": None, "why": "the checker broke"},
        {"id": served[6].id, "reward": 1, "verdict": "timeout"},
        {"id": served[7].id, "reward": 0, "verdict": "truncated"},
        {"id": served[8].id, "reward": 0, "verdict": "fine"},
        {"reward": 1},
        [1],
    ]
    path = tmp_path / "scores.jsonl"
    path.write_text("\n".join([*map(json.dumps, lines), "", '{"id": "cut']), encoding="utf-8")
    found = judge(served, read_scores(path))
    scores = [rollout.branches[0].score for rollout in found.rollouts]
    assert (scores[0].reward, scores[0].why, scores[0].answer) == (0.25, "half right", "7")
    assert (scores[1].reward, scores[1].verdict) == (1.0, Verdict.CORRECT)
    assert scores[5] == Score.failed(Verdict.ERROR, "the checker broke")
    assert scores[7].verdict is Verdict.TRUNCATED
    assert [score is None for score in scores[:9]] == [False, False, True, True, True, False, True, False, True]
    assert found.counts == {"scores/unknown": 1, "scores/duplicate": 1, "scores/refused": 8}
    said = " ".join(found.notes)
    for words in (
        "line 5 of scores.jsonl",
        "5 more lines are no scores",
        "('nobody') was not in the",
        "the last score",
    ):
        assert words in said


def test_a_later_score_replaces_the_journals(served, tmp_path):
    first = judged(served[:2], lambda r: 0.0).rollouts
    path = judgements(tmp_path / "scores.jsonl", served[:1], lambda r: 1.0)
    found = judge(first, read_scores(path))
    assert [rollout.score.reward for rollout in found.rollouts] == [1.0, 0.0]


def test_a_folder_of_journals_is_read_and_the_first_of_two_with_one_id_counts(served, tmp_path):
    write_journal(tmp_path / "a.parquet", [served[:3]])
    write_journal(tmp_path / "b.parquet", [served[2:5]])
    (tmp_path / ".tmp-c.parquet").write_bytes(b"half")
    rollouts, twice = rollouts_in(tmp_path)
    assert rollouts == served[:5]
    assert twice == [served[2].id]


def test_missing_files_are_said(tmp_path):
    with pytest.raises(RunError, match=r"holds no \.parquet file"):
        rollouts_in(tmp_path)
    with pytest.raises(RunError, match="there is no journal"):
        rollouts_in(tmp_path / "none.parquet")
    with pytest.raises(RunError, match="cannot read the scores"):
        read_scores(tmp_path / "none.jsonl")


@pytest.mark.fault("E14")
@pytest.mark.parametrize(("token", "branch"), [(999_999, 0), (-1, 0), (999_999, 1)])
def test_a_rollout_with_a_token_outside_the_vocabulary_is_left_out_and_named(progress, served, token, branch):
    spans = list(served[0].transcript.spans)
    spans[-1] = replace(spans[-1], tokens=compact([token, *spans[-1].tokens[1:]]))
    harmed = with_spans(served[0], spans)
    harmed = replace(harmed, branches=(*served[0].branches[:branch], *harmed.branches))
    metrics = learn_from(progress, None, judged([harmed, *served[1:]]))
    assert metrics["rollouts/damaged"] == 1
    assert metrics["rollouts/used"] == len(served) - 1
    assert f"rollout {harmed.id!r} holds the token {token}, outside the vocabulary" in progress.run.notes[-1]


@pytest.mark.fault("E14")
@pytest.mark.parametrize("value", [math.nan, -math.inf, 3.0])
def test_a_rollout_whose_logprobs_are_none_is_left_out_and_named(progress, served, value):
    spans = list(served[0].transcript.spans)
    spans[-1] = replace(spans[-1], logprobs=compact_floats([value, *spans[-1].logprobs[1:]]))
    harmed = with_spans(served[0], spans)
    metrics = learn_from(progress, None, judged([harmed, *served[1:]]))
    assert metrics["rollouts/damaged"] == 1
    assert f"rollout {harmed.id!r} holds {value:g} as the logarithm" in progress.run.notes[-1]


def with_spans(rollout, spans):
    transcript = replace(rollout.transcript, spans=tuple(spans))
    return replace(rollout, branches=(replace(rollout.branches[0], transcript=transcript),))
