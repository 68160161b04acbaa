"""Compaction: a conversation goes on from a summary; its parts are branches, its cost is exact, and it trains."""

import asyncio
from copy import copy
from dataclasses import dataclass, replace
from statistics import fmean

import pytest
import torch

import poziomka as pz
from poziomka.core.environment import Handover, Reply
from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Cost
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.inference.local import LocalSampler
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.loops.rl import Policy, RLSettings, reinforce
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.learning.samples.branches import Line
from poziomka.learning.samples.turns import without_void
from poziomka.learning.session import TrainingSession
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.runs import Run
from poziomka.testing import ScriptedSampler
from poziomka.thinking import Compaction, Majority, strategy_of
from poziomka.thinking.compaction import ASK, length_of, restated

torch.set_num_threads(1)
SAMPLING = pz.SamplingParams(max_tokens=200)


def with_text(prompt, summary, turns):
    return Transcript.of([pz.Message("user", f" {summary}{turns}")])


@dataclass
class Counting:
    """A session that replies with the number of the model's turns in the transcript that it reads."""

    handover: object = Handover("", with_text)
    most: int = 9

    async def reply(self, transcript):
        count = sum(span.author is Author.MODEL for span in transcript)
        return Reply(Span(Author.ENVIRONMENT, f" n{count}"), done=count == self.most)

    def fork(self):
        return replace(self)

    def close(self):
        pass


@dataclass(frozen=True)
class Room:
    session: object
    stop: tuple[str, ...] = ("go",)

    def open(self, problem):
        return copy(self.session)


def a_task(session=None, scorer=lambda problem, transcript: float(transcript.answer == "done")):
    room = Room(Counting() if session is None else session)
    return Task("t", asking, scorer, environment=lambda problem: room, trusted=True)


def ends(problem, transcript):
    return Score.of(float(transcript.text.endswith(" done")))


def asking(split, index, level):
    return Problem.ask("t", f"{split}{index}", " p q", "done")


def rollout_of(script, strategy, task=None, sampling=SAMPLING):
    task = task or a_task()
    with Scoring(task) as scoring:
        ((rollout,),) = Collector(ScriptedSampler(script), scoring, strategy).collect(task.first("test", 1), sampling)
    return rollout


SCRIPT = [" one go", " two go", " three go", " four go", " done"]


def test_a_transcript_that_reaches_the_limit_goes_on_from_the_models_summary():
    rollout = rollout_of(SCRIPT, Compaction(limit=7))
    texts = [branch.transcript.text for branch in rollout.branches]
    assert texts == [
        " p q one go n1 two go n2 three go",
        " three four go n3 done",
        " p q one go n1 two go n2 four go n3 done",
    ]
    assert [branch.parent for branch in rollout.branches] == [None, 0, None]
    assert [branch.trainable for branch in rollout.branches] == [True, True, False]
    assert rollout.answer == 2


def test_every_part_has_the_score_of_the_whole():
    seen = []

    def scorer(problem, transcript):
        seen.append(transcript.text)
        return 0.5

    rollout = rollout_of(SCRIPT, Compaction(limit=7), a_task(scorer=scorer))
    assert seen == [rollout.transcript.text]
    assert [branch.score.reward for branch in rollout.branches] == [0.5] * 3


def test_the_cost_is_that_of_the_parts():
    rollout = rollout_of(SCRIPT, Compaction(limit=7))
    # sampled: one go, two go, three go | four go, done and the end token; read: p q, n1, n2 | three, n3
    assert rollout.cost == Cost(sampled=6 + 4, read=4 + 2, latency=10)
    assert Cost.of(rollout.branches) == replace(rollout.cost, latency=6)


def test_a_prompt_that_parts_share_is_read_once():
    handover = Handover("", lambda prompt, summary, turns: Transcript.of([pz.Message("user", f" p q {summary}")]))
    rollout = rollout_of(SCRIPT, Compaction(limit=7), a_task(Counting(handover)))
    first, second, _ = rollout.branches
    assert (second.parent, second.fork_at) == (0, 2)
    assert first.transcript.tokens[:2] == second.transcript.tokens[:2]
    assert rollout.cost.read == 4 + 2  # of "p q three" only "three" is new


def test_below_the_limit_it_is_a_plain_conversation():
    script = [*SCRIPT[:2], " done"]
    plain, compacted = (rollout_of(script, how) for how in (strategy_of("single"), Compaction(limit=1000)))
    assert replace(compacted.transcript, spans=_timeless(compacted)) == replace(
        plain.transcript, spans=_timeless(plain)
    )
    assert len(compacted.branches) == 1
    assert compacted.spent is None


def _timeless(rollout):
    return tuple(replace(span, seconds=0.0) for span in rollout.transcript)


def test_there_are_as_many_parts_as_the_limit_asks_for_and_each_has_a_seed():
    sampler = ScriptedSampler([" a go"] * 40)
    task = a_task()
    with Scoring(task) as scoring:
        ((rollout,),) = Collector(sampler, scoring, Compaction(limit=4)).collect(task.first("test", 1), SAMPLING)
    *parts, whole = rollout.branches
    assert [len(part.transcript.heard) for part in parts] == [1, 2, 2, 2, 2]
    assert [part.parent for part in parts] == [None, *range(4)]
    assert {part.judged_as for part in parts} == {5}
    assert whole.transcript.text == " p q" + "".join(f" a go n{count}" for count in range(1, 10))
    assert len({sampling.seed for _, sampling in sampler.requests}) == 5


def test_the_last_turns_are_repeated():
    rollout = rollout_of(SCRIPT, Compaction(limit=7, keep=1))
    assert rollout.branches[1].transcript.text == " three two go n2 four go n3 done"
    rollout = rollout_of(SCRIPT, Compaction(limit=7, keep=5))
    assert rollout.branches[1].transcript.text.startswith(" three one go n1 two go n2 four")


def test_a_session_without_a_handover_has_the_model_asked_in_words():
    script = [" one go", " It is all known.", " done"]
    task = a_task(Silent())
    rollout = rollout_of(script, Compaction(limit=4, keep=1), task)
    first, second, _ = (branch.transcript for branch in rollout.branches)
    assert first.text == f" p q one go n1{ASK} It is all known."
    assert second.text == restated(
        Transcript.of([pz.Message("user", " p q")]), "It is all known.", " one go n1"
    ).text + (" done")


class Silent(Counting):
    def __getattribute__(self, name):
        if name == "handover":
            raise AttributeError(name)
        return super().__getattribute__(name)


@dataclass(frozen=True)
class Case:
    """A conversation that cannot go on."""

    script: tuple[str, ...]
    why: str
    session: object = None
    limit: int = 4
    branches: int = 1


def appended(prompt, summary, turns):
    return prompt + Span(Author.USER, f" {summary}")


def raising(prompt, summary, turns):
    message = "no room"
    raise RuntimeError(message)


CASES = {
    "a handover that raises": Case((" one go", " two go"), "no room", session=Counting(Handover("", raising))),
    "a handover that returns no transcript": Case(
        (" one go", " two go"), "received a str", session=Counting(Handover("", lambda *_: "x"))
    ),
    "a handover of another type": Case((), "of type Handover", session=Counting("x")),
    "a prompt longer than the limit": Case(
        (" one go", " two go", " done"), "raise the limit", Counting(Handover("", appended)), limit=2, branches=3
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_conversation_that_cannot_go_on_is_a_recorded_failure(case):
    rollout = rollout_of(list(case.script) or [" x"], Compaction(case.limit), a_task(case.session))
    assert {branch.score.verdict for branch in rollout.branches} == {Verdict.ERROR}
    assert rollout.score.reward is None
    assert case.why in rollout.score.why
    assert len(rollout.branches) >= case.branches


def test_a_handover_that_raises_leaves_the_summary_in_the_cost_once():
    rollout = rollout_of([" one go", " two go"], Compaction(4), a_task(Counting(Handover("", raising))))
    assert rollout.cost == Cost(sampled=4, read=3, latency=4)
    assert rollout.transcript.text == " p q one go n1 two go"


@pytest.mark.parametrize(("said", "why"), [("go", "is empty"), (" a b c d go", "within 3 tokens")])
@pytest.mark.parametrize("turns", [2, 4])
def test_a_summary_that_cannot_be_used_is_a_mistake_of_the_model(said, why, turns):
    script = [" one go", " two go", " three go", " four go", " five go"]
    rollout = rollout_of([*script[: turns + turns // 3], said], Compaction(limit=6, summary=3))
    assert rollout.score.verdict is Verdict.UNPARSED
    assert {branch.score.reward for branch in rollout.branches} == {0}
    assert why in rollout.score.why
    assert f"after {turns} turns" in rollout.score.why


def test_a_summary_that_leaves_no_room_is_a_mistake_of_the_model():
    rollout = rollout_of([" one go", " a b c d e go", " done"], Compaction(limit=4))
    assert rollout.score.verdict is Verdict.UNPARSED
    assert "5 tokens, of a limit of 4" in rollout.score.why
    assert len(rollout.branches) == 3


def test_a_session_that_fails_later_is_recorded_with_the_parts_so_far_and_their_cost():
    class Failing(Counting):
        async def reply(self, transcript):
            if sum(span.author is Author.MODEL for span in transcript) == 3:
                message = "the disk is gone"
                raise OSError(message)
            return await super().reply(transcript)

    rollout = rollout_of(SCRIPT, Compaction(limit=7), a_task(Failing()))
    assert rollout.score.verdict is Verdict.ERROR
    assert "the disk is gone" in rollout.score.why
    assert rollout.cost.sampled == 6 + 2
    assert rollout.branches[0].transcript.text == " p q one go n1 two go n2 three go"


@pytest.mark.parametrize(("most", "branches"), [(2, 1), (3, 1), (4, 1), (6, 1), (7, 3), (10, 3)])
def test_max_tokens_bounds_turns_and_summaries_together(most, branches):
    rollout = rollout_of(SCRIPT, Compaction(limit=7), sampling=replace(SAMPLING, max_tokens=most))
    assert rollout.cost.sampled == most
    assert len(rollout.branches) == branches
    assert rollout.score.verdict in (Verdict.WRONG, Verdict.CORRECT, Verdict.TRUNCATED)


def test_a_model_that_ends_its_reply_instead_of_the_summary_has_answered():
    rollout = rollout_of([" <think> one go", " two go", " </think> done"], Compaction(limit=7))
    assert len(rollout.branches) == 1
    assert rollout.score.correct


@pytest.mark.parametrize("wrong", [{"limit": 1}, {"limit": 9, "summary": 0}, {"limit": 9, "keep": -1}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError):
        Compaction(**wrong)


def test_it_has_a_text_and_nests():
    assert strategy_of("compaction:64,keep=2") == Compaction(64, keep=2)
    nested = strategy_of("majority:3/compaction:7")
    assert nested == Majority(3, inner=Compaction(7))
    following = {" p q": " one go", " n1": " two go", " n2": " three go", " three": " four go", " n3": " done"}
    rollout = rollout_of(lambda transcript, sampling: following[transcript.spans[-1].text], nested, a_task(scorer=ends))
    assert len(rollout.branches) == 9
    assert [branch.judged_as for branch in rollout.branches] == [2, 2, None, 5, 5, None, 8, 8, None]
    assert all(branch.score.correct for branch in rollout.branches)
    assert rollout.cost == Cost(sampled=30, read=2 + 1 + 3 * 3, latency=10)  # prompts once, and each reply


def test_without_an_environment_it_is_a_single_reply():
    attempt = asyncio.run(
        Compaction(8).attempt(ScriptedSampler([" hi"]), Transcript.of([pz.Message("user", "?")]), SAMPLING)
    )
    assert [branch.transcript.text for branch in attempt.branches] == ["? hi"]


def test_a_part_is_void_only_if_the_whole_conversation_is():
    right = rollout_of([" <think> one go", " two go", " three go", " four go", " </think> done"], Compaction(limit=7))
    cut = replace(right, branches=(*right.branches[:2], right.branches[0]))
    lines = [Line(right, 0), Line(right, 1)]
    assert without_void([lines], [[1.0, 1.0]]) == [[1.0, 1.0]]
    assert without_void([[Line(cut, 0), Line(cut, 1)]], [[1.0, 1.0]]) == [[None, None]]


def test_a_journal_keeps_the_parts(tmp_path):
    rollout = rollout_of(SCRIPT, Compaction(limit=7))
    with Run.open(tmp_path / "run", {"name": "kept"}) as run:
        run.keep("x", [[rollout]])
        ((found,),) = run.journal("x").groups
    assert [branch.judged_as for branch in found.branches] == [2, 2, None]
    assert found.cost == rollout.cost


# ------------------------------------------------------------------------------------------------------------ training
def calls(problem, transcript):
    """The share of four turns that were made."""
    return Score(min(4, len(transcript.heard)) / 4, Verdict.WRONG)


@dataclass(frozen=True)
class Nodding:
    handover: Handover = Handover("", lambda prompt, summary, turns: prompt)  # noqa: RUF009 it is frozen

    async def reply(self, transcript):
        return Reply(Span(Author.ENVIRONMENT, " b"), done=len(transcript.heard) == 3)

    def fork(self):
        return self

    def close(self):
        pass


@pytest.mark.slow
def test_the_unchanged_loop_trains_through_it(tmp_path):
    room = Room(Nodding(), ("a",))
    task = Task(
        "turns",
        lambda split, index, level: Problem.ask("turns", f"{split}{index}", " b"),
        calls,
        environment=lambda problem: room,
        trusted=True,
        symbols=("a", "b"),
    )
    tokenizer = Tokenizer.of_symbols(task.symbols)
    model = build_model("transformer", TransformerSettings(width=32, layers=1, heads=2), len(tokenizer), 0)
    optimizer = OptimizerSettings(learning_rate=1e-2, warmup_steps=0, decay_ratio=0.0, max_grad_norm=1.0)
    learner = Learner(model, LearnerSettings(optimizer=optimizer), 1.0, None)
    sizes = {"steps": 20, "prompts_per_step": 8, "group_size": 4, "max_tokens": 16, "max_thinking_tokens": None}
    settings = RLSettings(**sizes, drop_solved_above=None, void="keep")
    with Run.open(tmp_path / "run", {"name": "compaction"}) as run:
        progress = TrainingSession(run, learner, tokenizer, 1000)
        policy = Policy(LocalSampler(model, PlainFormat(tokenizer)), Compaction(limit=6))
        reinforce(progress, policy, task, Curriculum(task, seed=0, retire_at=None), settings)
        first, last = (
            [rollout for group in run.journal(f"step-{step:06d}").groups for rollout in group] for step in (1, 20)
        )
        advantages = run.journal("step-000001").advantages
    made = [fmean(len(rollout.transcript.heard) for rollout in rollouts) for rollouts in (first, last)]
    assert made[1] > made[0] + 0.5
    parts = [(rollout, index) for rollout in first for index, branch in enumerate(rollout.branches) if branch.trainable]
    assert any(index for _, index in parts)  # some attempts were summarised
    assert all(f"{rollout.id}#{len(rollout.branches) - 1}" not in advantages for rollout in first if rollout.spent)
    assert any(f"{rollout.id}#{index}" in advantages for rollout, index in parts if index)


def test_text_without_token_ids_is_measured_by_its_characters():
    spans = [Span(Author.USER, "x" * 40), Span(Author.MODEL, "y" * 40, stop=Stop.END, usage=7)]
    assert length_of(Transcript(tuple(spans))) == 10 + 7
