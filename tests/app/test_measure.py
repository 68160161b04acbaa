"""What a run measures of a model, and on which problems."""

import json
import re
from dataclasses import replace

import pytest

from poziomka.app.build import build
from poziomka.app.measure import Measured, gains, record
from poziomka.app.settings.recipe import recipe_of
from poziomka.app.train import Training, train
from poziomka.core.problem import Score, Verdict
from poziomka.core.rollouts.evaluation import evaluate, paired_gain
from poziomka.core.sampler import SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.settings import plain
from poziomka.core.transcript import split_thought
from poziomka.runs import Run
from poziomka.tasks import task_named
from poziomka.testing import ScriptedSampler

VALUES = {
    "threads": 1,
    "save_every": 1,
    "model": {"new": {"width": 32, "layers": 1, "heads": 2}},
    "stage": [
        {
            "kind": "sft",
            "steps": 30,
            "demonstrations": {"tokens_per_step": 200, "skill_share": 0.0, "direct_share": 0.5},
            "optimizer": {
                "learning_rate": 0.01,
                "warmup_steps": 5,
                "decay_ratio": 0.5,
                "min_lr_ratio": 0.05,
            },
        },
        {
            "kind": "rl",
            "require": {"thinking_gain": -1.0, "problems": 10},
            "steps": 5,
            "prompts_per_step": 4,
            "group_size": 4,
            "max_tokens": 12,
            "max_thinking_tokens": 8,
        },
    ],
    "evaluate": {
        "budgets": [0, 2, 8],
        "problems": 12,
        "attempts": 2,
        "votes": [1],
        "vote_problems": 10,
        "curve_problems": 10,
        "every": 3,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a run from nothing, whose warm start often answers at once."""
    folder = tmp_path_factory.mktemp("measured")
    train(recipe_of(VALUES), folder, keep_watch=False)
    return folder


def test_references_that_raise_are_noted_and_end_no_run(tmp_path):
    def unknown(problem, most):
        raise SystemExit(problem.key)

    recipe = recipe_of(VALUES)
    built = build(recipe)
    task = replace(built.task, references=unknown)
    found = evaluate(ScriptedSampler([" 1"]), task, SamplingParams(), problems=2)
    measured = Measured({"trained": {}}, {"trained": dict.fromkeys((0, 2, 8), found)})
    with Run.open(tmp_path / "run", plain(recipe)) as run:
        record(measured, run, task, recipe)
        assert run.results("references") is None
        assert run.results("frontier")["curves"] == {"trained": {}}
        (note,) = run.notes
        assert re.search(r"the references of task 'recurrence' raised SystemExit: .*: the report draws no known", note)


# ---------------------------------------------------------------------------------------------------- made to think
@pytest.mark.fault("D1")
def test_made_to_think_is_measured_on_the_same_problems_at_the_same_budgets(folder):
    curves = Run.read(folder).results("frontier")["curves"]
    assert list(curves) == ["warm start", "warm start, made to think", "trained", "trained, made to think"]
    for name, curve in curves.items():
        budgets = [point["budget"] for point in curve["budgets"]]
        assert budgets == ([2, 8] if name.endswith("made to think") else [0, 2, 8])
    assert not curves["warm start"]["always_thinks"]
    free, forced = (curves[name]["budgets"][-1] for name in ("warm start", "warm start, made to think"))
    assert forced["thinking_tokens"] > free["thinking_tokens"]


@pytest.mark.fault("D1")
def test_gains_are_paired_by_problem_at_the_recipes_budget(folder):
    run = Run.read(folder)
    found, rights = run.results("gains"), run.results("by_problem")
    assert found["budget"] == rights["budget"] == 8

    def paired(after, before):
        gain = paired_gain(*([[right] for right in rights["rights"][name]] for name in (after, before)))
        return {"mean": gain.mean, "low": gain.low, "high": gain.high}

    assert found["equal_thinking"] == paired("trained, made to think", "warm start, made to think")
    assert found["over_made_to_think"] == paired("trained", "warm start, made to think")
    assert found["free"] == paired("trained", "warm start")
    for name, curve in run.results("frontier")["curves"].items():
        by_problem = rights["rights"][name]
        assert len(by_problem) == 12
        assert sum(by_problem) / 12 == pytest.approx(curve["budgets"][-1]["accuracy"]["mean"])


@pytest.mark.fault("D1")
def test_a_model_that_always_thinks_has_one_line(tmp_path):
    lessons = {"tokens_per_step": 200, "direct_share": 0.0, "cutoff_prob": 0.0}
    sft, rl = VALUES["stage"]
    always = recipe_of(VALUES | {"stage": [sft | {"demonstrations": lessons, "steps": 60}, rl]})
    train(always, tmp_path, keep_watch=False)
    run = Run.read(tmp_path)
    curves = run.results("frontier")["curves"]
    if not curves["trained"]["always_thinks"]:
        pytest.skip("this seed's model answered at once in spite of its lessons")
    assert curves["trained, made to think"]["budgets"] == curves["trained"]["budgets"][1:]


@pytest.mark.fault("D2")
def test_both_models_are_made_to_answer_at_once(folder):
    curves = Run.read(folder).results("frontier")["curves"]
    for model in ("warm start", "trained"):
        at_once = curves[model]["at_once"]
        zero = curves[model]["budgets"][0]
        assert at_once["thinking_tokens"] == 0
        assert {name: at_once[name] for name in ("mean", "low", "high")} == zero["accuracy"]


@pytest.mark.fault("D1")
def test_the_first_point_of_the_curve_has_the_warm_start_made_to_think(folder):
    first, *later = [line for line in Run.read(folder).metrics() if line["stage"] == "evaluate"]
    assert 0 <= first["evaluate/made_to_think_low"] <= first["evaluate/made_to_think"]
    assert not any("evaluate/made_to_think" in line for line in later)


# -------------------------------------------------------------------------------------------------- validation, test
@pytest.mark.fault("A13")
def test_only_the_final_figures_are_of_test_problems(tmp_path):
    chosen, asked = recipe_of(VALUES), []
    task = task_named("recurrence")

    def source(split, index, level=None):
        asked.append(split)
        return task.source(split, index, level)

    built = build(chosen)
    with Run.open(tmp_path, plain(chosen)) as run:
        training = Training(chosen, run, replace(built, task=replace(built.task, source=source)), quiet=True)
        training.run_stage("sft")  # measures the gate, a point, and the warm start's final figures
        asked.clear()
        (run.folder / "results" / "gate.json").unlink()
        training.demand_gate()
        training.run_stage("rl")
        training.show()
    assert set(asked) == {"train"}
    curve = [line for line in run.metrics() if line["stage"] == "evaluate"]
    assert len(curve) > 1


@pytest.mark.fault("A13")
def test_no_step_deals_a_problem_that_the_curve_is_measured_on(folder):
    run = Run.read(folder)
    measured = {problem.key.rpartition(",")[0] for problem in task_named("recurrence").take("validation", 0, 10)}
    dealt = {
        rollout.problem.key.rpartition(",")[0]
        for path in run.journals()
        if path.stem.startswith("step-")
        for rollout in run.journal(path.stem).rollouts
    }
    assert dealt
    assert not dealt & measured


# ------------------------------------------------------------------------------------------------------------- scores
@pytest.mark.fault("A10")
def test_a_checkpoint_carries_a_score_only_if_its_weights_were_measured(folder):
    run = Run.read(folder)
    points = {line["step"]: line["evaluate/accuracy"] for line in run.metrics() if line["stage"] == "evaluate"}
    assert sorted(points) == [30, 33, 35]
    best = run.best()
    assert best.step in points
    assert best.score == points[best.step] == max(points.values())
    manifests = (folder / "checkpoints").glob("step-*/manifest.json")
    saved = {found["step"]: found["score"] for found in map(json.loads, (path.read_text() for path in manifests))}
    assert 34 in saved
    assert saved == {step: points.get(step) for step in saved}
    assert run.latest().step == 35


@pytest.mark.fault("A11")
def test_failed_checks_stand_beside_the_curve_and_make_no_checkpoint_the_best(tmp_path):
    recipe = recipe_of(VALUES)
    built = build(recipe)

    def flaky(problem, transcript):
        return Score.failed(Verdict.ERROR, "no verdict") if seed_of(problem.key) % 2 else Score.right("")

    with Run.open(tmp_path, plain(recipe)) as run:
        training = Training(recipe, run, replace(built, task=replace(built.task, scorer=flaky)), quiet=True)
        training.log_point()
        (line,) = run.metrics()
    assert line["evaluate/accuracy"] == line["evaluate/accuracy_as_right"] == 1.0
    assert 0 < line["evaluate/failed_checks"] < 20
    assert training.progress.score == line["evaluate/accuracy_as_wrong"] < 1.0


@pytest.mark.fault("A11")
def test_a_gain_over_fewer_than_two_judged_problems_is_left_out():
    assert gains({"warm start": [1.0], "trained": [0.0]}) == {}
    assert gains({"warm start": [1.0, None, 0.0], "trained": [None, 1.0, 1.0]}) == {}
    assert list(gains({"warm start": [1.0, 0.0], "trained": [0.0, 0.5]})) == ["free"]


def test_a_thought_that_is_left_out_is_no_thought():
    assert split_thought(" <think> </think> 7")[0] == ""
