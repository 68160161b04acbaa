"""Reinforcement from nothing: checked answers raise the reward, random ones do not, and it says what it does."""

import asyncio
from dataclasses import replace
from statistics import fmean

import pytest
import torch

from poziomka.core.errors import LearningError, SettingsError
from poziomka.core.problem import Score
from poziomka.core.rollouts.collect import collect, wait_for
from poziomka.core.rollouts.evaluation import evaluate
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.splits import SPLITS
from poziomka.core.transcript import Author
from poziomka.inference.local import LocalSampler
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.learner import Learner
from poziomka.learning.loops.rl import Policy, RLSettings, reinforce
from poziomka.learning.objectives.losses import SurrogateSettings
from poziomka.learning.session import Interrupted, TrainingSession

SETTINGS = {
    "steps": 30,
    "prompts_per_step": 8,
    "group_size": 8,
    "max_tokens": 1,
    "max_thinking_tokens": 0,
    "drop_solved_above": None,
}


class Stage:
    """A run of its own: a fresh tiny model, its sampler, its learner, and the settings to reinforce with."""

    def __init__(self, run, model, chat, task, learner, settings, every=1000):
        self.progress = TrainingSession(run, learner, chat.tokenizer, every)
        self.sampler = LocalSampler(model, chat)
        self.curriculum = Curriculum(task, seed=0, retire_at=settings.drop_solved_above)
        self.progress.extra["curriculum"] = self.curriculum.state
        self.task, self.settings = task, settings

    def go(self, sampler=None, **how):
        reinforce(self.progress, Policy(sampler or self.sampler), self.task, self.curriculum, self.settings, **how)
        return self

    def column(self, name):
        return [line.get(name) for line in self.progress.run.metrics()]

    @property
    def weights(self):
        return self.progress.learner.weights()


@pytest.fixture
def stage(open_run, build, chat, echo, learner_of):
    def stage(name="run", task=echo, every=1000, seed=0, kind="cispo", rate=1e-2, **changes):
        model = build(seed=seed)
        settings = RLSettings(**(SETTINGS | changes))
        how = {"surrogate": SurrogateSettings(kind=kind)}
        learner = learner_of(model, settings.temperature, learner=how, learning_rate=rate, max_grad_norm=1.0)
        return Stage(open_run(name), model, chat, task, learner, settings, every)

    return stage


def accuracy(stage, task):
    wait_for(stage.sampler.load_weights("now", stage.weights))
    return evaluate(
        stage.sampler, task, SamplingParams(max_tokens=1, max_thinking_tokens=0), problems=60, attempts=4
    ).accuracy.mean


def judged_by(task, reward):
    """The task with another reward: of the rollout's words and log-probabilities, which never repeat."""

    def scorer(problem, transcript):
        chance = seed_of("coin", str([list(span.logprobs or ()) for span in transcript])) % 1000 / 1000
        return reward(chance)

    return replace(task, scorer=scorer)


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


# ---------------------------------------------------------------------------------------------------------- it learns
@pytest.mark.parametrize(
    ("advantage", "aggregation", "kind"),
    [
        ("batch", "prompt", "cispo"),
        ("group", "sequence", "ppo"),
        ("rloo", "token", "dapo"),
        ("dr_grpo", "constant", "reinforce"),
        ("expert", "prompt", "reinforce"),
    ],
)
def test_checked_answers_raise_the_reward(stage, echo, advantage, aggregation, kind):
    learning = stage(advantage=advantage, aggregation=aggregation, kind=kind, patience=None)
    before = accuracy(learning, echo)
    learning.go()
    assert before < 0.5
    assert accuracy(learning, echo) > 0.9


def test_random_rewards_do_not(stage, echo):
    learning = stage(task=judged_by(echo, lambda chance: Score.right("") if chance < 0.3 else Score.wrong("")))
    before = accuracy(learning, echo)
    learning.go()
    assert fmean(learning.column("groups/zero_variance")) < 0.5, "there was something to learn from"
    assert accuracy(learning, echo) < before + 0.25


def test_a_recurrent_model_learns_by_the_same_loop(open_run, build, chat, echo, learner_of):
    model = build(architecture="recurrent")
    settings = RLSettings(**SETTINGS)
    learning = Stage(
        open_run(), model, chat, echo, learner_of(model, learning_rate=1e-2, max_grad_norm=1.0), settings
    ).go()
    assert accuracy(learning, echo) > 0.9


def test_fresh_attempts_have_no_mismatch_and_nothing_is_clipped(stage):
    learning = stage(steps=10).go()
    assert all(gap < 1e-9 for gap in learning.column("policy/mismatch_kl") if gap is not None)
    assert not any(learning.column("policy/clip_share"))


@pytest.mark.fault("A4")
def test_minibatches_and_epochs_are_optimizer_steps_against_one_old_policy(stage):
    learning = stage(steps=3, minibatches=2, epochs=2, prompts_per_step=16, kind="ppo").go()
    informative = [round(16 * (1 - share)) for share in learning.column("groups/zero_variance")]
    assert learning.progress.learner.taken == sum(2 * min(2, groups) for groups in informative) > 3
    assert learning.progress.step == 3
    assert all(gap > 0 for gap in learning.column("policy/moved_kl"))
    assert all(gap < 1e-9 for gap in learning.column("policy/mismatch_kl"))
    assert learning.column("tokens/learned_from") == [2 * 8 * groups for groups in informative]


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_at_another_temperature_there_is_no_mismatch_either(stage, temperature):
    learning = stage(steps=5, temperature=temperature).go()
    assert all(gap < 1e-9 for gap in learning.column("policy/mismatch_kl") if gap is not None)


# ------------------------------------------------------------------------------------------------------- what it says
def test_every_step_is_logged_and_kept(stage):
    learning = stage(steps=3).go()
    assert learning.column("step") == [1, 2, 3]
    assert set(learning.column("stage")) == {"reinforce"}
    for name in (
        "reward/mean",
        "reward/pass_rate",
        "groups/zero_variance",
        "policy/entropy",
        "optim/grad_norm",
        "policy/clip_share",
        "policy/mismatch_kl",
        "policy/forced_share",
        "length/thinking",
        "length/truncated",
        "tokens/sampled",
        "tokens/trained",
        "perf/packing_efficiency",
        "compute/reinforce_flops",
        "time/sampling_seconds",
        "time/packing_seconds",
        "time/learning_seconds",
    ):
        assert all(value is not None for value in learning.column(name)), name
    assert [path.stem for path in learning.progress.run.journals()] == [f"step-00000{step}" for step in (1, 2, 3)]


def test_forced_ends_are_counted_and_cost_the_policy_nothing(stage):
    learning = stage(steps=2).go()
    assert learning.column("policy/forced_share") == [1.0, 1.0]
    learned = learning.column("tokens/learned_from")
    variance = learning.column("groups/zero_variance")
    assert learned == [round((1 - share) * 8) * 8 for share in variance]  # one token an attempt


def test_the_flops_are_those_of_tokens_sampled_and_trained(stage):
    learning = stage(steps=3).go()
    spent = learning.progress.spent
    both = spent["compute/sampling_flops"] + spent["compute/training_flops"]
    assert spent["compute/reinforce_flops"] == pytest.approx(both)
    assert spent["compute/sampled_tokens"] == 3 * 8 * 8


def test_what_comes_after_a_step_comes_before_it_is_saved(stage):
    learning = stage(steps=3, every=1)
    seen = []

    def after(step):
        newest = learning.progress.run.latest()
        seen.append((step, len(learning.column("step")), newest.step if newest else 0))

    learning.go(after=after)
    assert seen == [(1, 1, 0), (2, 2, 1), (3, 3, 2)]


# ----------------------------------------------------------------------------------------------------- it repeats
def test_two_runs_are_the_same_bit_for_bit(stage):
    assert same(stage("one", steps=4).go().weights, stage("two", steps=4).go().weights)


@pytest.mark.parametrize("how", [{}, {"minibatches": 2, "epochs": 2}])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(stage, how):
    whole, stopped = stage("whole", steps=6, **how).go(), stage("stopped", steps=6, **how)

    def stop(step):
        stopped.progress.stop = step == 3

    with pytest.raises(Interrupted):
        stopped.go(after=stop)
    resumed = stage("stopped", steps=6, seed=4, **how)
    state = resumed.progress.restore()
    resumed.curriculum.restore(state["curriculum"])
    resumed.go(start=3)
    assert same(whole.weights, resumed.weights)
    assert resumed.column("reward/mean") == whole.column("reward/mean")


# --------------------------------------------------------------------------------------------------- when it stops
def test_it_ends_after_its_steps_with_a_checkpoint(stage):
    learning = stage(steps=2).go()
    assert learning.progress.run.latest().step == 2


def test_it_ends_when_its_flops_are_spent(stage):
    one = stage("one", steps=1).go().progress.spent["compute/reinforce_flops"]
    learning = stage("two", steps=1000, flops=2.5 * one).go()
    assert 2 <= learning.progress.step <= 4
    assert learning.progress.spent["compute/reinforce_flops"] >= 2.5 * one
    assert learning.progress.run.latest().step == learning.progress.step
    spent = learning.progress.step
    learning.go(start=spent)
    assert learning.progress.step == spent


def test_groups_without_variance_teach_nothing_and_end_the_run_when_patience_does(stage, echo):
    learning = stage(task=judged_by(echo, lambda chance: Score.wrong("")), patience=3)
    before = {name: tensor.clone() for name, tensor in learning.weights.items()}
    with pytest.raises(LearningError, match="for 3 steps"):
        learning.go()
    assert same(before, learning.weights)
    assert learning.progress.run.latest().step == 3
    assert sum("this step learns nothing" in note for note in learning.progress.run.notes) == 2


def test_a_scorer_that_fails_too_often_ends_the_run(stage, echo):
    def broken(chance):
        if chance < 0.5:
            raise ZeroDivisionError
        return Score.right("")

    learning = stage(task=judged_by(echo, broken))
    with pytest.raises(LearningError, match=r"checks failed .*ZeroDivisionError.* more than 10%"):
        learning.go()
    assert learning.progress.run.latest().step == 1


def test_a_check_that_fails_now_and_then_is_said_and_left_out(stage, echo):
    def shaky(chance):
        if chance < 0.05:
            raise ZeroDivisionError
        return Score.right("") if chance < 0.5 else Score.wrong("")

    learning = stage(task=judged_by(echo, shaky), steps=3, failures=0.5).go()
    assert any("they are left out" in note for note in learning.progress.run.notes)
    assert any(share > 0 for share in learning.column("verdict/failures"))


class Deaf(Sampler):
    """Never adopts what it is given; an older policy goes on writing."""

    def __init__(self, inner):
        self.inner = inner

    async def extend(self, transcript, sampling, on_token=None):
        return await self.inner.extend(transcript, sampling)

    async def load_weights(self, version, weights):
        pass

    async def release_weights(self):
        pass


def test_attempts_by_other_weights_are_refused(stage):
    learning = stage()
    with pytest.raises(LearningError, match=r"wrote with initial instead of step-000000: it did not load"):
        learning.go(Deaf(learning.sampler))
    assert learning.progress.step == 0


class Restless(Deaf):
    """Adopts newer weights in the middle of every reply."""

    async def extend(self, transcript, sampling, on_token=None):
        reply = asyncio.create_task(self.inner.extend(transcript, sampling))
        steps = self.inner.engine.counters.steps
        while self.inner.engine.counters.steps < steps + 2:  # noqa: ASYNC110 the engine has no event to wait for
            await asyncio.sleep(0)
        await self.inner.load_weights("newer", self.inner.engine.weights())
        return await reply

    async def load_weights(self, version, weights):
        await self.inner.load_weights(version, weights)


def test_attempts_that_other_weights_ended_are_refused(stage):
    learning = stage(max_tokens=12, max_thinking_tokens=None, prompts_per_step=1, group_size=2)
    with pytest.raises(LearningError, match="wrote with newer instead of step-000000"):
        learning.go(Restless(learning.sampler))


def test_a_learner_at_another_temperature_is_refused(stage, build, learner_of):
    learning = stage(temperature=0.8)
    learning.progress.learner = learner_of(build(), 1.0)
    with pytest.raises(SettingsError, match=r"the learner's temperature is 1\.0, the sampling's 0\.8"):
        learning.go()


def test_an_unknown_advantage_is_refused_before_anything_is_trained():
    with pytest.raises(SettingsError, match="unknown advantage 'batsh'; did you mean 'batch'"):
        RLSettings(advantage="batsh")


def test_problems_that_are_solved_are_retired(stage, echo):
    learning = stage(task=replace(echo, size=64, splits=SPLITS), drop_solved_above=0.75, steps=20, patience=None).go()
    assert learning.curriculum.retired
    state = learning.progress.run.latest().state["curriculum"]
    assert sorted(learning.curriculum.retired) == state["retired"]


def test_a_stage_ends_where_every_problem_is_retired(stage, echo):
    learning = stage(task=replace(echo, size=2, splits=SPLITS), drop_solved_above=0.0, steps=20, patience=None).go()
    assert learning.curriculum.finished
    assert learning.progress.run.latest().step < 20


def test_the_journal_holds_an_advantage_for_every_token_of_the_model(stage):
    learning = stage(steps=1).go()
    journal = learning.progress.run.journal("step-000001")
    for group in journal.groups:
        for rollout in group:
            count = sum(rollout.transcript.by(Author.MODEL))
            learned = len(journal.advantages.get(rollout.id, [0.0]))
            assert learned == count == 1
    assert any(journal.advantages)


class Frozen(Learner):
    """Computes a gradient, and never moves a weight."""

    def step(self, batch, rate):
        before = {name: tensor.clone() for name, tensor in self.weights().items()}
        metrics = super().step(batch, rate)
        self.model.load_state_dict(before)
        return metrics


def test_a_learner_that_moves_nothing_is_stopped_with_its_state_saved(stage):
    learning = stage(steps=8)
    given = learning.progress.learner
    learning.progress.learner = Frozen(given.model, given.settings, given.temperature)
    with pytest.raises(LearningError, match="the weights did not change in 3 steps"):
        learning.go()
    assert learning.progress.run.latest().step == 3


def test_groups_that_exchanged_attempts_are_stopped_with_the_state_saved(stage, monkeypatch):
    def swapped(*given, **how):
        one, two, *others = [list(group) for group in collect(*given, **how)]
        one[0], two[0] = two[0], one[0]
        return [one, two, *others]

    monkeypatch.setattr("poziomka.learning.loops.rl.collect", swapped)
    learning = stage()
    with pytest.raises(LearningError, match="group 1 holds attempts at 2 prompts"):
        learning.go()
    assert learning.progress.run.latest().step == 1
