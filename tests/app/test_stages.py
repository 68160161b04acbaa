"""A run is a list of stages: each is resumed where it was interrupted, skipped when done, and may be repeated."""

import json

import pytest
from safetensors.torch import load_file

from poziomka.app.build import build
from poziomka.app.settings.recipe import recipe_of
from poziomka.app.train import Training, train
from poziomka.core.errors import CheckpointError, LearningError, RunError, SettingsError
from poziomka.core.settings import plain
from poziomka.learning.session import Interrupted
from poziomka.runs import Run

pytestmark = pytest.mark.slow

TINY = {
    "name": "tiny",
    "threads": 1,
    "save_every": 2,
    "model": {"new": {"width": 32, "layers": 1, "heads": 2}},
    "evaluate": {
        "budgets": [2, 8],
        "problems": 10,
        "attempts": 1,
        "votes": [1],
        "vote_problems": 10,
        "curve_problems": 10,
        "every": 2,
    },
}
DIRECT = {"tokens_per_step": 200, "skill_share": 0.0, "direct_share": 1.0}
SFT = {"kind": "sft", "steps": 8, "demonstrations": DIRECT, "optimizer": {"learning_rate": 0.01}}
RL = {"kind": "rl", "steps": 3, "prompts_per_step": 4, "group_size": 4, "max_tokens": 12, "max_thinking_tokens": 8}
DISTILL = {"kind": "distill", "steps": 3, "prompts_per_step": 4, "max_tokens": 12, "max_thinking_tokens": 8}


def recipe(*stages, **changes):
    return recipe_of(TINY | changes | {"stage": list(stages)})


def finish(recipe, folder, stop_after=None):
    """Trains; with `stop_after`, as Ctrl-C in that step would have it."""
    with Run.open(folder, plain(recipe)) as run:
        training = Training(recipe, run, build(recipe), quiet=True)
        before = training.progress.listener

        def hear(stage, line):
            before(stage, line)
            training.progress.stop |= line["step"] == stop_after

        training.progress.listener = hear
        training.finish()
        return training


def named(folder):
    """The names of the stages of a run's metrics, evaluations apart, each with its steps."""
    found = {}
    for line in Run.read(folder).metrics():
        if line["stage"] != "evaluate":
            found.setdefault(line["stage"], []).append(line["step"])
    return found


def weights(folder):
    return load_file(Run.read(folder).latest().folder / "model.safetensors")


def same(one, other):
    return all(one[name].equal(other[name]) for name in one)


def without_clocks(folder):
    lines = Run.read(folder).metrics()
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


# --------------------------------------------------------------------------------------------------- one after another
TWICE = (SFT, RL, {**SFT, "name": "again", "steps": 2}, {**RL, "name": "more", "steps": 4})


def test_stages_follow_one_another_under_their_names(tmp_path):
    train(recipe(*TWICE), tmp_path, keep_watch=False)
    assert named(tmp_path) == {"sft": [*range(1, 9)], "rl": [9, 10, 11], "again": [12, 13], "more": [14, 15, 16, 17]}
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"sft", "rl", "again"}
    state = Run.read(tmp_path).latest().state["stages"]
    assert (state["ended"], state["present"]) == (["sft", "rl", "again", "more"], "more")
    assert state["taken"] == {"sft": 8, "rl": 3, "again": 2, "more": 4}


@pytest.mark.parametrize("stop_after", [5, 8, 10, 12, 15])
def test_a_run_that_was_stopped_in_any_stage_ends_as_one_that_was_not(tmp_path, stop_after):
    whole = recipe(*TWICE)
    train(whole, tmp_path / "whole", keep_watch=False)
    with pytest.raises(Interrupted):
        finish(whole, tmp_path / "stopped", stop_after)
    train(whole, tmp_path / "stopped", keep_watch=False)
    assert without_clocks(tmp_path / "stopped") == without_clocks(tmp_path / "whole")
    assert same(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))


def test_a_finished_run_takes_no_further_step(tmp_path):
    train(recipe(SFT, RL), tmp_path, keep_watch=False)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    train(recipe(SFT, RL), tmp_path, keep_watch=False)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_repeated_stage_meets_other_problems(tmp_path):
    train(recipe(SFT, RL, {**RL, "name": "more"}), tmp_path, keep_watch=False)
    run = Run.read(tmp_path)
    keys = [{rollout.problem.key for rollout in run.journal(f"step-{step:06d}").rollouts} for step in (9, 12)]
    assert not keys[0] & keys[1]


def test_a_bound_of_flops_counts_those_of_its_stage(tmp_path):
    more = {**RL, "name": "more", "steps": 100, "flops": 1.0}
    train(recipe(SFT, RL, more), tmp_path, keep_watch=False)
    assert named(tmp_path)["more"] == [12]


def test_fine_tuning_alone_is_a_run(tmp_path):
    page = train(recipe(SFT), tmp_path, keep_watch=False)
    assert "took no step of reinforcement" in page.read_text()
    assert list(Run.read(tmp_path).results("frontier")["curves"]) == ["trained", "trained, made to think"]


# ----------------------------------------------------------------------------------------------------------- the gate
@pytest.mark.parametrize("require", [{"accuracy": 1.0}, {"thinking_gain": 1.0}])
def test_a_stage_refuses_to_start(tmp_path, require):
    refusing = {**RL, "require": {**require, "problems": 10}}
    with pytest.raises(LearningError, match="the stage 'rl' requires"):
        train(recipe(SFT, refusing), tmp_path, keep_watch=False)
    assert named(tmp_path) == {"sft": [*range(1, 9)]}
    assert not Run.read(tmp_path).results("gate")["passed"]


def test_a_stage_that_requires_nothing_measures_nothing(tmp_path):
    train(recipe(SFT, RL), tmp_path, keep_watch=False)
    assert Run.read(tmp_path).results("gate") is None


# ---------------------------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([], "needs a stage"),
        ([{"kind": "slt"}], "did you mean 'sft'?"),
        ([{"steps": 3}], "must have a kind"),
        ([{"kind": "rl"}, {"kind": "rl"}], "two stages are called 'rl'"),
        ([{"kind": "rl", "name": "model"}], "cannot be called 'model'"),
        ([{"kind": "rl", "name": "a b"}], "letters, digits"),
        ([{"kind": "sft", "group_size": 3}], "unknown setting 'group_size'"),
        ([{"kind": "distill", "kl": {"kind": "none"}}], "all that a distillation learns from"),
        ([3], "list of tables"),
        ({"kind": "rl"}, "list of tables"),
    ],
)
def test_stages_that_make_no_sense_are_refused(stages, words):
    with pytest.raises(SettingsError) as caught:
        recipe_of({"stage": stages})
    assert words in str(caught.value)


def test_a_change_names_a_stage():
    changed = recipe_of({"stage": [RL, {**RL, "name": "more"}]}, ("more.steps=7", "more.optimizer.learning_rate=1e-6"))
    assert [stage.steps for stage in changed.stage] == [3, 7]
    assert changed.named("more").optimizer.learning_rate == 1e-6


def test_what_a_run_stores_is_read_back():
    one = recipe(*TWICE, {"kind": "offline", "journal": "x"}, {**DISTILL, "teacher": {"context": "Think."}})
    assert recipe_of(plain(one)) == one


# --------------------------------------------------------------------------------------------------- offline, distill
def test_a_stage_learns_from_a_journal(tmp_path):
    train(recipe(SFT, RL), tmp_path / "first", keep_watch=False)
    start = {"new": TINY["model"]["new"], "start": str(tmp_path / "first" / "models" / "sft")}
    served = Run.read(tmp_path / "first").journal("step-000009").rollouts
    scores = [json.dumps({"id": each.id, "reward": number % 2}) for number, each in enumerate(served)]
    (tmp_path / "scores.jsonl").write_text("\n".join(scores) + "\n")
    journal = str(tmp_path / "first" / "journal" / "step-000009.parquet")
    offline = {"kind": "offline", "journal": journal, "scores": str(tmp_path / "scores.jsonl")}
    second = recipe({**offline, "mismatch": 100.0}, model=start)
    finish(second, tmp_path / "second")
    lines = [line for line in Run.read(tmp_path / "second").metrics() if line["stage"] == "offline"]
    assert [line["rollouts/used"] for line in lines] == [16]
    assert not same(
        weights(tmp_path / "second"), load_file(tmp_path / "first" / "models" / "sft" / "model.safetensors")
    )


def divergences(folder):
    return [line["loss/divergence"] for line in Run.read(folder).metrics() if line["stage"] == "distill"]


@pytest.mark.parametrize("kind", ["reverse", "forward", "k3"])
def test_a_model_comes_closer_to_its_teacher(tmp_path, kind):
    teacher = recipe({**SFT, "steps": 40})
    train(teacher, tmp_path / "teacher", keep_watch=False)
    how = {
        "steps": 30,
        "prompts_per_step": 16,
        "optimizer": {"learning_rate": 5e-3},
        "kl": {"kind": kind, "weight": 1.0},
    }
    student = recipe({**DISTILL, **how, "teacher": {"load": str(tmp_path / "teacher")}})
    train(student, tmp_path / "student", keep_watch=False)
    found = divergences(tmp_path / "student")
    assert sum(found[-5:]) < 0.7 * sum(found[:5])


def test_a_teacher_with_more_context_is_resumed_as_it_was(tmp_path):
    """Symbols of the vocabulary stand for advice: what matters is that the teacher reads something else."""
    context = {"teacher": {"context": "{answer}"}, "optimizer": {"learning_rate": 5e-3}}
    one = recipe(SFT, {**DISTILL, **context, "steps": 4})
    train(one, tmp_path / "whole", keep_watch=False)
    assert divergences(tmp_path / "whole")[0] > 1e-6
    with pytest.raises(Interrupted):
        finish(one, tmp_path / "stopped", 10)
    train(one, tmp_path / "stopped", keep_watch=False)
    assert divergences(tmp_path / "stopped") == divergences(tmp_path / "whole")
    assert same(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))


def test_a_distillation_needs_a_teacher(tmp_path):
    with pytest.raises(SettingsError, match="needs a teacher"):
        train(recipe(DISTILL), tmp_path, keep_watch=False)


# ---------------------------------------------------------------------------------------------------- runs of schema 1
OLD = """
schema_version = 1
name = "tiny"
task = "recurrence"
threads = 1
[model]
width = 32
layers = 1
heads = 2
[warm_start]
updates = 8
[reinforce]
steps = 3
problems = 4
attempts = 4
tokens = 12
budget = 8
[evaluate]
budgets = [2, 8]
problems = 10
attempts = 1
"""


@pytest.fixture
def older(tmp_path):
    """The folder of a run as schema 1 left it."""
    train(recipe(SFT, RL), tmp_path / "old", keep_watch=False)
    names = {"sft": "warm_start", "rl": "reinforce"}
    lines = [json.loads(line) for line in (tmp_path / "old" / "metrics.jsonl").read_text().splitlines()]
    lines = [line | {"stage": names.get(line["stage"], line["stage"])} for line in lines]
    (tmp_path / "old" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "old" / "recipe.toml").write_text(OLD)
    return tmp_path / "old"


def test_an_older_run_can_be_read(older, poziomka):
    status, output, errors = poziomka("evaluate", older, "--no-save")
    assert (status, "policy" in errors) == (0, False)
    assert "step-000011" in output
    assert poziomka("report", older)[0] == 0
    assert "after reinforcement" in (older / "report.html").read_text()
    status, output, _ = poziomka("show", older)
    assert status == 0
    assert "11" in output


@pytest.mark.parametrize("command", [("train", "--resume"), ("learn", "--from", "journal")])
def test_an_older_run_is_not_continued(older, poziomka, command):
    before = {path: path.read_bytes() for path in older.rglob("*") if path.is_file()}
    status, _, errors = poziomka(*command, older)
    assert status == 2
    assert "poziomka recipes convert" in errors
    assert {path: path.read_bytes() for path in older.rglob("*") if path.is_file()} == before


def test_an_older_run_is_not_opened_for_writing(older):
    with pytest.raises(RunError, match="not continued"):
        Run.open(older, plain(recipe(SFT, RL)))


@pytest.mark.parametrize(
    "damage", [{"curriculum": None}, {"alarms": {}}, {"alarms": {"begun": "x"}}, {"stages": {"x": 1}}]
)
def test_a_checkpoint_whose_state_has_another_form_is_refused(tmp_path, damage):
    made = recipe(SFT | {"steps": 2}, RL)
    with pytest.raises(Interrupted):
        finish(made, tmp_path / "run", stop_after=3)
    with Run.open(tmp_path / "run", plain(made)) as run:
        saved = run.latest()

        def write(folder):
            for path in saved.folder.iterdir():
                if path.name not in ("manifest.json", "state.json"):
                    (folder / path.name).write_bytes(path.read_bytes())

        run.save(4, write, {**saved.state, **damage})
    with pytest.raises(CheckpointError, match="does not fit this run"):
        finish(made, tmp_path / "run")


def test_a_gate_that_lost_its_numbers_is_measured_again_once_removed(tmp_path):
    made = recipe(SFT | {"steps": 2}, RL | {"require": {"accuracy": 1.0, "problems": 10}})
    with pytest.raises(LearningError, match="requires accuracy"):
        finish(made, tmp_path / "run")
    path = tmp_path / "run" / "results" / "gate.json"
    path.write_text('{"schema_version": 1, "passed": false}')
    with pytest.raises(RunError, match="the gate of stage 'rl' in the run's results is damaged: remove it"):
        finish(made, tmp_path / "run")
    path.unlink()
    with pytest.raises(LearningError, match="requires accuracy"):
        finish(made, tmp_path / "run")
