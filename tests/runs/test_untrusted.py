"""A run's folder that came from elsewhere: whatever its files hold, readers answer in one sentence."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from poziomka.core.errors import CheckpointError, PoziomkaError, RunError
from poziomka.runs import Run
from poziomka.runs.feedback import read_scores
from poziomka.runs.storage.checkpoint import Checkpoint

DEEP = "[" * 100_000
STRANGE = [None, True, -1, 1.5, "x", [], {}, [[]]]


def sealed(folder, **changes):
    """Rewrites a manifest with its checksum made anew, as somebody who means harm would; None removes a field."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("sha256")
    manifest = {name: value for name, value in {**manifest, **changes}.items() if value is not ...}
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def saved(run, weights):
    run.save(1, weights(), {"a": 1})
    return run.latest().folder


@pytest.mark.fault("E16")
@pytest.mark.parametrize("field", ["step", "score", "files"])
@pytest.mark.parametrize("value", [..., *STRANGE])
def test_a_manifest_with_a_field_missing_or_of_another_type_is_damage(saved, field, value):
    if field == "score" and value in (None, -1, 1.5) and value is not True:
        sealed(saved, score=value)
        assert Checkpoint.read(saved).score == value
        return
    if field == "score" and value is ...:
        return  # as null
    sealed(saved, **{field: value})
    with pytest.raises(CheckpointError, match="step-000001 is damaged"):
        Checkpoint.read(saved)


@pytest.mark.fault("E16")
@pytest.mark.parametrize("entry", [None, 3, [], ["x", 3], [3], [3, "x", 1], {}, [3, None]])
def test_an_entry_of_a_manifest_that_is_no_size_and_checksum_is_damage(saved, entry):
    files = json.loads((saved / "manifest.json").read_text())["files"]
    sealed(saved, files={**files, "state.json": entry})
    with pytest.raises(CheckpointError, match=r"its entry for 'state.json' must be a size and a checksum"):
        Checkpoint.read(saved)


@pytest.mark.fault("E13")
@pytest.mark.parametrize("name", ["/dev/zero", "../../../recipe.toml", "..", "", "a/../../b"])
def test_a_manifest_that_names_a_file_outside_its_folder_is_damage(saved, name):
    files = json.loads((saved / "manifest.json").read_text())["files"]
    sealed(saved, files={**files, name: [0, hashlib.sha256(b"").hexdigest()]})
    with pytest.raises(CheckpointError, match="is no file of the checkpoint"):
        Checkpoint.read(saved)


@pytest.mark.fault("E13")
def test_a_device_in_the_place_of_a_checkpoints_file_is_damage(saved):
    files = json.loads((saved / "manifest.json").read_text())["files"]
    (saved / "zero").symlink_to("/dev/zero")
    sealed(saved, files={**files, "zero": [0, hashlib.sha256(b"").hexdigest()]})
    with pytest.raises(CheckpointError, match=r"zero cannot be read .*is a device"):
        Checkpoint.read(saved)


@pytest.mark.fault("E16")
@pytest.mark.parametrize("harm", [lambda path: path.write_text(DEEP), lambda path: (path.unlink(), os.mkfifo(path))])
@pytest.mark.parametrize(
    "name", ["provenance.json", "results/gate.json", "recipe.toml", "checkpoints/step-000001/manifest.json"]
)
def test_deep_json_and_pipes_are_refused(run, weights, harm, name):
    run.record("gate", {"a": 1})
    run.save(1, weights(), {"a": 1})
    harm(run.folder / name)
    read = {
        "provenance.json": lambda: Run.read(run.folder).provenance(),
        "results/gate.json": lambda: Run.read(run.folder).results("gate"),
        "recipe.toml": lambda: Run.read(run.folder),
        "checkpoints/step-000001/manifest.json": lambda: Run.read(run.folder).latest(),
    }[name]
    with pytest.raises(RunError):
        read()


@pytest.mark.fault("E16")
def test_deep_lines_of_metrics_are_left_out_and_said(run, reopen):
    run.log(1, "reinforce", {"reward/mean": 0.5})
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write(DEEP + "\n" + '{"schema_version": 1, "step": true}\n' + '{"schema_version": 1, "step": -3}\n')
    view = Run.read(run.folder)
    assert [line["step"] for line in view.metrics()] == [1]
    assert len(view.notes) == 3


@pytest.mark.fault("E16")
def test_a_provenance_whose_restarts_are_no_list_is_gone_on_with(run, reopen):
    (run.folder / "provenance.json").write_text('{"schema_version": 1, "resumed": 5}')
    assert len(reopen().provenance()["resumed"]) == 1


@pytest.mark.fault("E16")
def test_lines_of_scores_that_are_none_are_refused_by_their_number(tmp_path):
    path = tmp_path / "scores.jsonl"
    lines = [
        b'{"id": "a", "reward": 1}',
        DEEP.encode(),
        b'{"id": "b", "reward": 1' + b"0" * 400 + b"}",
        b'{"id": "\\ud83d", "reward": 1}',
        b'{"id": "c\xff", "reward": 1}',
        b'{"id": "d", "reward": 1' + b"0" * 5000 + b"}",
        '{"id": "e\u2028e", "reward": 0}'.encode(),
    ]
    path.write_bytes(b"\n".join(lines))
    scores = read_scores(path)
    assert sorted(scores.by_id) == ["a", "e\u2028e"]
    assert [said.split(" of ")[0] for said in scores.refused] == ["line 2", "line 3", "line 4", "line 5", "line 6"]


@pytest.mark.parametrize(
    ("verdict", "sound", "wrong"),
    [
        ("correct", [1, 0.5], [None]),
        ("wrong", [0, 0.5], [1, 1.0, None]),
        ("unparsed", [0], [1, 0.5, None]),
        ("truncated", [0], [1, 0.5, None]),
        ("error", [None], [1, 0]),
        ("timeout", [None], [1, 0]),
    ],
)
def test_a_score_whose_verdict_contradicts_its_reward_is_refused(tmp_path, verdict, sound, wrong):
    lines = [{"id": str(reward), "reward": reward, "verdict": verdict} for reward in (*sound, *wrong)]
    (tmp_path / "scores.jsonl").write_text("\n".join(map(json.dumps, lines)))
    scores = read_scores(tmp_path / "scores.jsonl")
    assert list(scores.by_id) == list(map(str, sound))
    assert [f"with the verdict {verdict!r} must be" in said for said in scores.refused] == [True] * len(wrong)


@pytest.mark.fault("E16")
def test_scores_in_a_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "scores.jsonl")
    with pytest.raises(RunError, match="is a pipe"):
        read_scores(tmp_path / "scores.jsonl")


@pytest.mark.fault("E12")
def test_a_checkpoint_that_is_damaged_again_at_its_step_is_put_aside_again(run, reopen, weights):
    for _ in range(3):
        run.save(1, weights(), {})
        run.save(2, weights(), {})
        (run.latest().folder / "state.json").write_text("harmed")
        run = reopen()
        assert run.resumed == 1
    names = sorted(path.name for path in (run.folder / "checkpoints").iterdir())
    assert names == ["step-000001", "step-000002.damaged", "step-000002.damaged-2", "step-000002.damaged-3"]


@pytest.mark.fault("E15")
def test_a_folder_whose_name_is_no_utf8_holds_a_run_like_any_other(tmp_path, recipe, groups, weights):
    folder = tmp_path / os.fsdecode(b"r\xff\xfe")
    with Run.open(folder, recipe) as run:
        run.keep("step-000001", groups, step=1)
        run.note(f"a note about {folder}")
        run.log(1, "reinforce", {"note": str(folder)})
        run.record("notes", {"where": str(folder)})
        run.save(1, weights(), {})
    view = Run.read(folder)
    assert len(view.journal("step-000001").rollouts) == 3
    assert view.latest().step == 1
    assert view.metrics()[0]["step"] == 1
    assert view.results("notes")


def test_a_recipe_is_never_more_than_its_error(tmp_path):
    (tmp_path / "recipe.toml").write_text(f"a = {DEEP}")
    with pytest.raises(PoziomkaError, match="cannot be read"):
        Run.read(tmp_path)


@pytest.mark.fault("E15")
@pytest.mark.parametrize("name", ["życie", os.fsdecode(b"r\xff\xfe")])
def test_a_journal_opens_where_the_locale_knows_no_utf8(tmp_path, recipe, groups, name):
    with Run.open(tmp_path / name, recipe) as run:
        run.keep("step-000001", groups, step=1)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "poziomka", "show", tmp_path / name, "--step", "1"]
    done = subprocess.run(command, env={**os.environ, **plain}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"1 + 2 ?" in done.stdout
