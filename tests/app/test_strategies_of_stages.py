"""A stage of reinforcement learning makes its attempts with the strategy that its recipe names."""

from dataclasses import replace

import pytest
from safetensors.torch import load_file

import poziomka as pz
from poziomka.app.build import build, sampler_of
from poziomka.app.cli.main import main
from poziomka.app.doctor.cost import memory
from poziomka.app.doctor.examine import parts_of
from poziomka.app.doctor.parts import Bench
from poziomka.app.preflight import checked_strategy, needs, strategy_in
from poziomka.app.resolve import demand_resolvable
from poziomka.app.settings.recipe import recipe_of
from poziomka.app.train import Training
from poziomka.core.errors import SettingsError
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.core.settings import plain
from poziomka.core.task import asked
from poziomka.learning.session import Interrupted
from poziomka.models.flops import sampling_flops
from poziomka.reports.page import write
from poziomka.runs import Run
from poziomka.tasks import task_named
from poziomka.testing import ScriptedSampler
from poziomka.thinking import BestOf, SelfCertainty

RL = {"kind": "rl", "steps": 4, "prompts_per_step": 3, "group_size": 2, "max_tokens": 12, "max_thinking_tokens": 8}
VOTE = "majority:3,reward=vote,credit=leave_one_out"


def recipe(strategy, **changes):
    return recipe_of(
        {
            "name": "tiny",
            "task": "exact_change",
            "threads": 1,
            "save_every": 2,
            "model": {"new": {"width": 32, "layers": 1, "heads": 2}},
            "stage": [{**RL, "strategy": strategy, **changes}],
            "evaluate": {"problems": 4, "attempts": 1, "votes": [1], "vote_problems": 4, "every": 1000},
        }
    )


def trained(recipe, folder, stop_after=None):
    """The run after the stage; with `stop_after`, as Ctrl-C in that step would have it."""
    with Run.open(folder, plain(recipe)) as run:
        training = Training(recipe, run, build(recipe), quiet=True)
        before = training.progress.listener

        def hear(stage, line):
            before(stage, line)
            training.progress.stop |= line["step"] == stop_after

        training.progress.listener = hear
        training.run_stage("rl", prepare=False)
    return Run.read(folder)


def lines_of(run):
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in run.metrics()]


def weights(run):
    return load_file(run.latest().folder / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [VOTE, "best_of:3,reward=maximum", "random_budget:2-4-8/rsa:2,k=1,rounds=1"])
def test_a_stage_that_was_stopped_ends_as_one_that_was_not(tmp_path, strategy):
    whole = trained(recipe(strategy), tmp_path / "whole")
    with pytest.raises(Interrupted):
        trained(recipe(strategy), tmp_path / "stopped", stop_after=3)
    resumed = trained(recipe(strategy), tmp_path / "stopped")
    assert lines_of(resumed) == lines_of(whole)
    assert all(tensor.equal(weights(whole)[name]) for name, tensor in weights(resumed).items())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps whose attempts are votes."""
    return trained(recipe("majority:3,reward=vote", steps=2, alarms={}), tmp_path_factory.mktemp("run") / "tiny")


def test_the_journal_keeps_every_branch_with_its_reward(run):
    for step in (1, 2):
        groups = run.journal(f"step-{step:06d}").groups
        assert [len(group) for group in groups] == [2, 2, 2]
        for rollout in (rollout for group in groups for rollout in group):
            assert len(rollout.branches) == 3
            (reward,) = {branch.score.reward for branch in rollout.branches}
            assert reward == float(rollout.score.correct)


def test_flops_and_tokens_count_every_branch(run):
    """The first step, which begins with the initial weights; nothing is learned if all votes are wrong."""
    model = build(recipe(None)).model
    groups = run.journal("step-000001").groups
    (line, *_) = (line for line in run.metrics() if line["stage"] == "rl")
    assert line["compute/sampling_flops"] == pytest.approx(sampling_flops(model, groups))
    one = [[replace(r, branches=(r.branches[r.answer],), answer=0) for r in group] for group in groups]
    assert line["compute/sampling_flops"] > 2 * sampling_flops(model, one)
    tokens = sum(branch.transcript.cost for group in groups for r in group for branch in r.branches)
    assert line["compute/sampled_tokens"] == tokens


def test_a_report_and_the_inspector_show_such_a_run(run, capsys):
    assert "tiny" in write(Run.read(run.folder)).read_text()
    assert main(["show", str(run.folder), "--step", "1"]) == 0
    assert capsys.readouterr().out


# -------------------------------------------------------------------------------------------------------- what it means
def test_a_stage_without_a_strategy_makes_single_replies_or_conversations():
    task = task_named("exact_change")
    (stage,) = recipe(None).stage
    with Scoring(task) as scoring:
        assert strategy_in(stage, None, scoring) is checked_strategy(stage, task)


def test_votes_read_answers_as_the_scorer_does():
    """Two replies say 6 in different words, and two others are the same text without a number."""
    task = pz.Task("t", lambda rng: pz.Problem(" What?", "6"), pz.exact(pz.number), trusted=True)
    (stage,) = recipe("random_budget:2-4/majority:4,reward=vote").stage
    sampler = ScriptedSampler(["none", "6", "none", "It is 6."])
    with Scoring(task) as scoring:
        collector = Collector(sampler, scoring, strategy_in(stage, sampler, scoring))
        ((rollout,),) = collector.collect([pz.Problem(" What?", "6", task="t", key="k")], SamplingParams())
    assert [branch.score.reward for branch in rollout.branches] == [1, 1, 1, 1]


def test_a_judge_that_needs_the_policy_has_its_sampler():
    made = recipe("best_of:4,judge=certainty:8,reward=maximum")
    built = build(made)
    sampler = sampler_of(made, built)
    with Scoring(built.task) as scoring:
        found = strategy_in(made.stage[0], sampler, scoring)
    assert found == BestOf(4, SelfCertainty(sampler, 8), reward="maximum")


@pytest.mark.parametrize(
    "text",
    ["oracle:4,reward=maximum", "majority:2/oracle:2", "best_of:4,judge=exact", "refine:1", "rsa:4,learn=merges"],
)
def test_pass_at_k_may_choose_its_answer_by_gold(text):
    demand_resolvable(recipe(text))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("majorty:8", "majority"),
        ("majority:8,reward=vot", "vote"),
        ("majority", "votes"),
        ("best_of:4,judge=verifier", "judge"),
        ("best_of:4,reward=max", "maximum"),
        ("refine:2,feedback=scorer", "gold"),
        ("weighted:4,judge=exact", "gold"),
        ("mcts:4,judge=exact", "gold"),
        ("budget:4/oracle:2/beam:4,judge=exact", "gold"),
        ("rsa:4/oracle:2", "gold"),
        ("revise:1/budget:4/oracle:2", "gold"),
        ("random_budget:4-x", "integer"),
        ("", "strategy"),
    ],
)
def test_a_strategy_that_cannot_be_trained_with_is_refused_before_the_run(text, word):
    """By the dry run and the doctor, with the name of the setting."""
    with pytest.raises(SettingsError) as told:
        demand_resolvable(recipe(text))
    assert "rl.strategy" in str(told.value)
    assert word in str(told.value)
    with pytest.raises(SettingsError):
        parts_of(recipe(text))


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_the_command_refuses_it_in_one_line_and_makes_no_folder(tmp_path, capsys, dry):
    given = ["train", "exact_change", "--run", str(tmp_path / "run"), "--set", 'rl.strategy="majorty:8"']
    assert main([*given, *dry]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_memory_of_a_step_grows_with_the_branches():
    made = recipe(None)
    built = build(made)
    prompts = [asked(built.task, problem) for problem in built.task.take("train", 0, 2)]
    one, eight = (
        needs(built.model, built.chat, prompts, made.stage[0], branches=branches)["work"] for branches in (1, 8)
    )
    assert eight > 4 * one
    benches = [Bench(parts_of(recipe(text, prompts_per_step=64, group_size=64))) for text in (None, "majority:64")]
    assert len({memory(bench).figure for bench in benches}) == 2


def test_the_setting_is_listed(capsys):
    assert main(["settings", "rl.strategy"]) == 0
    assert "rl.strategy = none" in capsys.readouterr().out
