"""Opening, resuming and refusing a run's folder."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib

import pytest

from poziomka.core.errors import CheckpointError, RunError
from poziomka.runs import Run


def steps(run):
    return [line["step"] for line in run.metrics()]


def test_a_fresh_run_writes_its_recipe_and_where_it_comes_from(run, recipe):
    written = tomllib.loads((run.folder / "recipe.toml").read_text())
    assert written == {"schema_version": 2, **recipe}
    assert run.recipe == recipe
    assert run.resumed == 0
    assert run.provenance()["cores"] >= 1


def test_the_recipe_of_a_run_opens_it_again(run, reopen):
    assert reopen(tomllib.loads((run.folder / "recipe.toml").read_text())).recipe == run.recipe


def test_a_run_resumes_from_its_checkpoint_and_drops_what_lies_after_it(run, reopen, groups, weights):
    for step in (1, 2, 3):
        run.log(step, "reinforce", {"reward/mean": step / 4})
        run.keep(f"step-{step:06d}", groups, step=step)
        if step == 2:
            run.save(step, weights(), {"problems": 32})
    run = reopen()
    assert (run.resumed, run.latest().state) == (2, {"problems": 32})
    assert steps(run) == [1, 2]
    assert [path.stem for path in run.journals()] == ["step-000001", "step-000002"]
    assert "1 lines of metrics.jsonl dropped" in run.notes[0]


def test_a_run_without_a_checkpoint_starts_over(run, reopen, groups):
    run.log(0, "warm-start", {})
    run.keep("warm-start", groups)
    run.record("gate", {"passed": True})
    run = reopen()
    assert (run.resumed, run.latest(), run.metrics(), run.journals()) == (0, None, [], [])
    assert run.results("gate") is None


def test_a_run_whose_checkpoints_were_removed_is_not_started_over(run, reopen, weights):
    run.log(1, "reinforce", {})
    run.save(1, weights(), {})
    shutil.rmtree(run.folder / "checkpoints")
    with pytest.raises(CheckpointError, match="had saved checkpoints and none is left"):
        reopen()
    assert steps(run) == [1]


def test_a_run_that_ended_cleanly_resumes_without_a_note(run, reopen, groups, weights):
    run.log(1, "reinforce", {})
    run.keep("warm-start", groups)
    run.save(1, weights(), {})
    run = reopen()
    assert run.notes == []
    assert [path.stem for path in run.journals()] == ["warm-start"]


def test_every_start_is_recorded(run, reopen, weights):
    run.save(4, weights(), {})
    assert [start["step"] for start in reopen().provenance()["resumed"]] == [4]


def test_a_damaged_provenance_is_begun_anew(run, reopen):
    (run.folder / "provenance.json").write_text("{")
    run = reopen()
    assert "provenance.json is damaged" in run.notes[0]
    assert run.provenance()["python"]


def test_leftover_temporaries_are_cleared(run, reopen):
    left = [run.folder / name for name in (".tmp-recipe.toml", "journal/.tmp-x.parquet", "results/.tmp-x.json")]
    for path in left:
        path.write_text("half")
    reopen()
    assert not any(path.exists() for path in left)


def test_another_recipe_is_refused_by_the_names_that_differ(run, reopen, recipe):
    before = (run.folder / "recipe.toml").read_bytes()
    other = {**recipe, "learning": {"rate": 2e-5}, "note": "x"}
    with pytest.raises(RunError, match="another recipe") as caught:
        reopen(other)
    assert "learning.rate (1e-05 there, 2e-05 here)" in str(caught.value)
    assert "learning.betas ([0.9, 0.95] there, 'absent' here)" in str(caught.value)
    assert (run.folder / "recipe.toml").read_bytes() == before


def test_many_differences_are_counted(run, reopen):
    with pytest.raises(RunError, match="and 3 more"):
        reopen({f"setting{i}": i for i in range(4)})


@pytest.mark.parametrize("value", [None, object(), "\ud800"])
def test_a_recipe_that_toml_cannot_hold_is_refused(tmp_path, value):
    with pytest.raises(RunError, match="cannot be written as TOML"):
        Run.open(tmp_path / "run", {"rate": value})
    assert not (tmp_path / "run").exists()


def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path, recipe):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match=r"thesis\.txt"):
        Run.open(tmp_path, recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_recipe_that_is_no_runs_is_refused(tmp_path, recipe):
    (tmp_path / "recipe.toml").write_text('name = "recurrence"\n')
    with pytest.raises(RunError, match="carries no schema_version"):
        Run.open(tmp_path, recipe)


def test_keeping_no_checkpoint_is_refused(tmp_path, recipe):
    with pytest.raises(RunError, match="keep_last must be at least 1: received 0"):
        Run.open(tmp_path / "run", recipe, keep_last=0)


def test_a_path_through_a_file_is_one_sentence(tmp_path, recipe):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"^cannot write the run .*file/run: not a directory; check the path"):
        Run.open(tmp_path / "file" / "run", recipe)


def test_a_second_run_on_the_folder_is_refused(run, recipe):
    with pytest.raises(RunError, match=rf"another process \(id {os.getpid()}\) is writing"):
        Run.open(run.folder, recipe)
    run.log(1, "reinforce", {})


def test_a_second_process_on_the_folder_is_refused(run, recipe):
    script = f"from poziomka.runs import Run; Run.open({str(run.folder)!r}, {recipe!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert f"another process (id {os.getpid()}) is writing the run" in done.stderr


def test_a_child_that_outlives_us_does_not_hold_the_folder(tmp_path, recipe):
    script = f"import os, time; from poziomka.runs import Run; run = Run.open({str(tmp_path / 'run')!r}, {recipe!r})\n"
    script += "child = os.fork()\nif child: print(child, flush=True)\ntime.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    try:
        Run.open(tmp_path / "run", recipe).close()
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


def test_a_closed_run_writes_no_more(run):
    with run:
        pass
    run.close()
    with pytest.raises(RunError, match="was closed"):
        run.log(1, "reinforce", {})


def test_a_reader_takes_no_lock_and_changes_nothing(run, weights):
    run.save(3, weights(), {})
    (run.folder / "checkpoints/.tmp-step-000004").mkdir()
    before = sorted(run.folder.rglob("*"))
    seen = Run.read(run.folder)
    with seen:
        seen.note("said")
    assert seen.latest().step == 3
    assert sorted(run.folder.rglob("*")) == before
    with pytest.raises(RunError, match="opened for reading"):
        seen.record("x", {})


def test_a_reader_says_where_there_is_no_run(tmp_path):
    with pytest.raises(RunError, match="there is no run in"):
        Run.read(tmp_path)


def test_a_damaged_recipe_is_said(run):
    (run.folder / "recipe.toml").write_text("name = [")
    with pytest.raises(RunError, match="is not valid TOML"):
        Run.read(run.folder)


@pytest.mark.parametrize(("version", "words"), [(3, "install a newer"), (0, "older than"), ('"1"', "carries no")])
def test_another_schema_version_is_refused_in_words(run, version, words):
    path = run.folder / "recipe.toml"
    path.write_text(path.read_text().replace("schema_version = 2", f"schema_version = {version}"))
    with pytest.raises(RunError, match=words):
        Run.read(run.folder)


def test_a_result_is_read_back(run):
    assert run.results("evaluation") is None
    run.record("evaluation", {"accuracy": 0.5, "loss": float("nan"), "points": [(1, 2.0)]})
    assert run.results("evaluation") == {"accuracy": 0.5, "loss": None, "points": [[1, 2.0]]}
    assert json.loads((run.folder / "results/evaluation.json").read_text())["schema_version"] == 1


@pytest.mark.parametrize(
    ("text", "words"), [('{"a"', "is damaged"), ("[]", "must hold an object"), ("{}", "no schema_version")]
)
def test_a_damaged_result_is_said(run, text, words):
    (run.folder / "results/evaluation.json").write_text(text)
    with pytest.raises(RunError, match=words):
        run.results("evaluation")


def test_a_result_that_is_no_json_is_refused(run):
    with pytest.raises(RunError, match="plain JSON values"):
        run.record("evaluation", {"a": {1, 2}})


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b"])
def test_a_name_that_would_leave_the_folder_is_refused(run, name):
    with pytest.raises(RunError, match="a name of a file"):
        run.record(name, {})


def test_a_note_is_collected_and_written(run):
    run.note("something\nhappened")
    assert run.notes == ["something\nhappened"]
    assert (run.folder / "notes.log").read_text().endswith(" something happened\n")


def test_a_journal_cut_in_half_is_left_and_said(run, reopen, groups, weights):
    for step in (1, 2, 3):
        run.keep(f"step-{step:06d}", groups, step=step)
    run.save(2, weights(), {})
    for path in run.journals():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    run = reopen()
    assert [path.stem for path in run.journals()] == ["step-000001", "step-000002"]
    assert "truncated or damaged" in run.notes[0]
    with pytest.raises(RunError, match=r"step-000001.parquet is truncated or damaged"):
        run.journal("step-000001")


def test_the_first_journals_are_those_with_names(run, groups):
    for name in ("step-000010", "warm-start", "step-000002"):
        run.keep(name, groups)
    assert [path.stem for path in run.journals()] == ["warm-start", "step-000002", "step-000010"]
    assert run.journal("warm-start").groups == groups
