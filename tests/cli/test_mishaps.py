"""What goes wrong in the middle of a run is said, recorded, and survived or stopped with the state saved."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from poziomka.app.build import build
from poziomka.app.settings.recipe import read_recipe
from poziomka.app.train import Training
from poziomka.core.errors import LearningError
from poziomka.core.problem import Verdict
from poziomka.core.settings import plain
from poziomka.core.splits import hashed_to_validation
from poziomka.runs.run import Run
from poziomka.tasks.toy.recurrence import recurrence, scorer, split_of

pytestmark = pytest.mark.slow


def notes(folder) -> str:
    return (folder / "notes.log").read_text(encoding="utf-8")


def saved(folder) -> int:
    """The step of the newest checkpoint, verified byte for byte."""
    return Run.read(folder).latest().step


# ------------------------------------------------------------------------------------------ losses that are no numbers
@pytest.mark.parametrize("rate", ["1e9", "inf"])
def test_a_loss_that_is_no_number_stops_the_warm_start(poziomka, tiny, tmp_path, rate):
    change = f"sft.optimizer.learning_rate={rate}"
    status, _, errors = poziomka("train", tiny, "--run", tmp_path / "run", "--set", change)
    assert status == 2, errors
    assert errors.count("\n") == 1
    assert "not finite" in errors or "nan" in errors
    assert "lower rate" in errors
    assert "lower rate" in notes(tmp_path / "run")


def without_clocks(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


def test_weights_that_overflow_stop_reinforcement_and_what_was_saved_is_intact(poziomka, tiny, tmp_path):
    folder = tmp_path / "run"
    command = ("train", tiny, "--run", folder, "--set", "rl.optimizer.learning_rate=inf")
    status, _, errors = poziomka(*command)
    assert status == 2, errors
    assert "not finite" in errors
    assert saved(folder) >= 24  # the warm start, and any steps that learned nothing
    before = without_clocks(folder / "metrics.jsonl")
    assert poziomka(*command)[2] == errors  # the same again, and nothing is lost
    assert without_clocks(folder / "metrics.jsonl") == before
    assert poziomka("evaluate", folder, "--problems", "10", "--no-save")[0] == 0


# ------------------------------------------------------------------------------------------------------ no variance
@pytest.fixture(scope="module")
def silent() -> list[str]:
    """Changes that leave no variance: the likeliest token every time."""
    return ["--set", "rl.temperature=0.000001", "--set", "rl.patience=5"]


def test_a_long_stretch_without_variance_stops_with_the_state_saved(poziomka, tiny, tmp_path, silent):
    status, output, errors = poziomka("train", tiny, "--run", tmp_path / "run", *silent)
    assert status == 2
    assert "no group had attempts of different reward for 5 steps" in errors
    assert "step 25: no group had attempts of different reward" in output  # said while it goes on
    assert "for 5 steps" in notes(tmp_path / "run")
    assert saved(tmp_path / "run") == 29


def test_patience_does_not_begin_anew_where_a_run_is_resumed(start, poziomka, tiny, tmp_path, silent):
    folder = tmp_path / "run"
    process = start("train", tiny, "--run", folder, *silent)
    while process.poll() is None and not (folder / "journal" / "step-000027.parquet").exists():
        time.sleep(0.0005)
    process.kill()
    process.communicate()
    status, _, errors = poziomka("train", "--resume", folder)
    assert status == 2
    assert "for 5 steps" in errors
    assert saved(folder) == 29


def test_without_patience_it_goes_on(poziomka, tiny, tmp_path, silent):
    path = tmp_path / "recipe.toml"  # TOML has no word for None: a setting that is None is left out, or set to "none"
    path.write_bytes(tiny.read_bytes())
    status, _, errors = poziomka("train", path, "--run", tmp_path / "run", *silent, "--set", "rl.patience=none")
    assert status == 0, errors
    assert saved(tmp_path / "run") == 36


# ---------------------------------------------------------------------------------------------------- a failing scorer
def trained_on(problem) -> bool:
    first, second = problem.facts["first"], problem.facts["second"]
    return split_of(first, second) == "train" and not hashed_to_validation("recurrence", f"{first},{second}")


def raises_sometimes(problem, transcript):
    if trained_on(problem) and problem.facts["first"] % 8 == 0:
        message = "no such table: answers"
        raise RuntimeError(message)
    return scorer(problem, transcript)


def raises_always(problem, transcript):
    if trained_on(problem):
        message = "no such table: answers"
        raise RuntimeError(message)
    return scorer(problem, transcript)


def hangs_sometimes(problem, transcript):
    while trained_on(problem) and problem.facts["first"] == 8:
        pass
    return scorer(problem, transcript)


def reinforced(tiny, folder, how, *changes: str):
    """Trains on the recurrence with another scorer, through the Python API."""
    recipe = read_recipe(tiny, changes)
    task = replace(recurrence(), scorer=how, trusted=False)
    with Run.open(folder, plain(recipe)) as run:
        Training(recipe, run, build(recipe, task), quiet=True).finish()


def failed(folder) -> list:
    run = Run.read(folder)
    rollouts = [r for path in run.journals() if path.stem.startswith("step-") for r in run.journal(path.stem).rollouts]
    return [r for r in rollouts if r.score.verdict in (Verdict.ERROR, Verdict.TIMEOUT)]


def test_a_scorer_that_sometimes_raises_is_survived_recorded_and_never_a_reward(tiny, tmp_path):
    folder = tmp_path / "run"
    reinforced(tiny, folder, raises_sometimes, "rl.failures=1.0")
    assert failed(folder)
    assert {r.score.reward for r in failed(folder)} == {None}
    assert {r.score.verdict for r in failed(folder)} == {Verdict.ERROR}
    assert "the scorer raised RuntimeError: no such table: answers); they are left out" in notes(folder)
    shares = [line["verdict/failures"] for line in Run.read(folder).metrics() if line["stage"] == "rl"]
    assert max(shares) > 0


def test_a_scorer_that_always_raises_stops_the_run_and_once_mended_it_goes_on(tiny, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(LearningError, match=r"128 of 128 checks failed .* mend the scorer and resume"):
        reinforced(tiny, folder, raises_always)
    assert saved(folder) == 25
    assert "no such table: answers" in notes(folder)
    assert {r.score.reward for r in failed(folder)} == {None}
    reinforced(tiny, folder, scorer)
    assert saved(folder) == 36


def test_a_scorer_that_hangs_is_stopped_recorded_and_survived(tiny, tmp_path):
    folder = tmp_path / "run"
    changes = ("rl.failures=1.0", "rl.scorer_seconds=0.2", "rl.steps=6", "rl.group_size=2")
    reinforced(tiny, folder, hangs_sometimes, *changes)
    assert {r.score.verdict for r in failed(folder)} == {Verdict.TIMEOUT}
    assert {r.score.reward for r in failed(folder)} == {None}
    assert "the scorer did not return within 0.2 s" in notes(folder)


SCRIPT = """
from pathlib import Path
from dataclasses import replace
from poziomka.app.settings.recipe import read_recipe
from poziomka.app.build import build
from poziomka.app.train import Training
from poziomka.core.settings import plain
from poziomka.runs.run import Run
from poziomka.tasks.toy.recurrence import recurrence

recipe = read_recipe(Path({recipe!r}))
with Run.open(Path({folder!r}), plain(recipe)) as run:
    task = replace(recurrence(), scorer=lambda problem, transcript: 1 / 0, trusted=False)
    Training(recipe, run, build(recipe, task)).finish()
"""


def test_a_users_script_with_a_broken_scorer_ends_with_our_error_and_leaves_no_process(tiny, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(recipe=str(tiny), folder=str(tmp_path / "run")), encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("poziomka.core.errors.TaskError: no attempt could be judged")
    assert "ZeroDivisionError" in last
