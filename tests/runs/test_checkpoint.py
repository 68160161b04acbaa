"""Checkpoints: whole or not there, verified, pruned, and never silently given up."""

import json

import pytest

from poziomka.core.errors import CheckpointError
from poziomka.runs import Run


def kept(run):
    return sorted(path.name for path in (run.folder / "checkpoints").iterdir())


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def remove(path):
    path.unlink()


def make_folder(path):
    path.unlink()
    path.mkdir()


def make_loop(path):
    path.unlink()
    path.symlink_to(path)


DAMAGE = [flip, cut, remove, make_folder, make_loop]
FILES = ["model.safetensors", "state.json", "manifest.json"]


def reseal(folder, **changes):
    """Rewrites a manifest as another version of Poziomka would have."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def test_a_checkpoint_is_read_back(run, weights):
    state = {"problems": 12, "best": float("-inf"), "rates": [0.1, 1 / 3]}
    run.save(100, weights(b"abc"), state, score=0.5)
    checkpoint = Run.read(run.folder).latest()
    assert (checkpoint.step, checkpoint.state, checkpoint.score) == (100, state, 0.5)
    assert (checkpoint.folder / "model.safetensors").read_bytes() == b"abc"
    assert checkpoint == run.latest()


def test_files_in_folders_are_vouched_for(run):
    def write(folder):
        (folder / "optimizer").mkdir()
        (folder / "optimizer" / "moments.bin").write_bytes(b"moments")

    run.save(1, write, {})
    flip(run.latest().folder / "optimizer" / "moments.bin")
    with pytest.raises(CheckpointError, match=r"optimizer/moments.bin has other contents"):
        run.latest().verify()


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damage_names_the_file(run, weights, name, damage):
    run.save(1, weights(), {"a": 1})
    checkpoint = run.latest()
    checkpoint.verify()
    damage(checkpoint.folder / name)
    with pytest.raises(CheckpointError, match=rf"step-000001 is damaged: {name}"):
        checkpoint.verify()


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_a_run_falls_back_to_the_sound_checkpoint_before(run, reopen, weights, name, damage):
    run.save(1, weights(b"one"), {"at": 1})
    run.save(2, weights(b"two"), {"at": 2})
    damage(run.latest().folder / name)
    run = reopen()
    assert (run.resumed, run.latest().state) == (1, {"at": 1})
    assert f"step-000002 is damaged: {name}" in run.notes[0]
    assert kept(run) == ["step-000001", "step-000002.damaged"]


def test_a_reader_falls_back_too_and_says_so(run, weights):
    run.save(1, weights(), {})
    run.save(2, weights(), {})
    cut(run.latest().folder / "model.safetensors")
    seen = Run.read(run.folder)
    assert seen.latest().step == 1
    assert "model.safetensors has 6 bytes of 7" in seen.notes[0]


def test_a_run_with_no_sound_checkpoint_stops_and_keeps_everything(run, reopen, weights):
    for step in (1, 2):
        run.log(step, "reinforce", {})
        run.save(step, weights(), {})
        flip(run.latest().folder / "model.safetensors")
    before = (run.folder / "metrics.jsonl").read_bytes()
    with pytest.raises(
        CheckpointError, match=r"no checkpoint in .* is sound .*step-000002.*step-000001.*another folder"
    ):
        reopen()
    assert kept(run) == ["step-000001", "step-000002"]
    assert (run.folder / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(("version", "words"), [(2, "install a newer Poziomka"), (0, "older than the 1")])
def test_a_checkpoint_of_another_version_is_refused_and_nothing_falls_back(run, reopen, weights, version, words):
    run.save(1, weights(), {})
    run.save(2, weights(), {})
    reseal(run.latest().folder, schema_version=version)
    with pytest.raises(CheckpointError, match=words):
        reopen()
    with pytest.raises(CheckpointError, match=words):
        Run.read(run.folder).best()


def test_a_manifest_that_was_changed_is_damage(run, weights):
    run.save(1, weights(), {}, score=0.5)
    reseal(run.latest().folder, score=0.9)
    with pytest.raises(CheckpointError, match="does not match its own checksum"):
        run.latest().verify()


def test_a_manifest_that_is_no_table_is_damage(run, weights):
    run.save(1, weights(), {})
    (run.latest().folder / "manifest.json").write_text("[]")
    with pytest.raises(CheckpointError, match="must hold an object"):
        run.latest().verify()


def test_a_checkpoint_under_another_name_is_damage(run, weights):
    run.save(1, weights(), {})
    run.latest().folder.rename(run.folder / "checkpoints" / "step-000009")
    with pytest.raises(CheckpointError, match="its folder's name"):
        Run.read(run.folder).latest()


def test_the_newest_and_the_best_are_kept(run, weights):
    for step, score in enumerate([0.1, 0.9, 0.9, float("nan"), 0.3, None]):
        run.save(step, weights(), {}, score)
    assert kept(run) == ["step-000002", "step-000004", "step-000005"]
    assert (run.latest().step, run.best().step, run.best().score) == (5, 2, 0.9)


def test_without_scores_there_is_no_best(run, weights):
    for step in range(4):
        run.save(step, weights(), {})
    assert run.best() is None
    assert kept(run) == ["step-000002", "step-000003"]


def test_the_best_is_never_a_damaged_one(run, weights):
    run.save(1, weights(), {}, 0.5)
    run.save(2, weights(), {}, 0.9)
    flip(run.latest().folder / "model.safetensors")
    assert run.best().step == 1
    flip(run.best().folder / "state.json")
    assert run.best() is None


def test_a_damaged_checkpoint_is_left_for_a_person_to_look_at(reopen, weights):
    run = reopen(keep_last=1)
    run.save(1, weights(), {})
    cut(run.latest().folder / "manifest.json")
    run.save(2, weights(), {})
    run.save(3, weights(), {})
    assert kept(run) == ["step-000001", "step-000003"]


def test_a_step_saved_twice_is_replaced(run, weights):
    run.save(1, weights(b"old"), {})
    run.save(1, weights(b"new"), {})
    assert (run.latest().folder / "model.safetensors").read_bytes() == b"new"
    assert kept(run) == ["step-000001"]


@pytest.mark.parametrize("both", [True, False])
def test_a_replacement_cut_short_is_settled(run, reopen, weights, both):
    run.save(1, weights(b"old"), {})
    folder = run.latest().folder
    folder.rename(folder.with_name("step-000001.replaced"))
    if both:
        run.save(1, weights(b"new"), {})
        folder.with_name("step-000001.replaced").mkdir(exist_ok=True)
    run = reopen()
    assert kept(run) == ["step-000001"]
    assert (run.latest().folder / "model.safetensors").read_bytes() == (b"new" if both else b"old")


def test_a_state_that_is_no_json_is_refused_before_anything_is_written(run, weights):
    with pytest.raises(CheckpointError, match="the state of step 1 must be plain JSON values"):
        run.save(1, weights(), {"moments": object()})
    assert kept(run) == []


@pytest.mark.parametrize("fault", [ValueError("a bug"), KeyboardInterrupt()])
def test_a_write_that_raises_leaves_nothing_half_done(run, weights, fault):
    run.save(1, weights(), {})

    def write(folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise fault

    with pytest.raises(type(fault)):
        run.save(2, write, {})
    assert kept(run) == ["step-000001"]
    assert run.latest().step == 1
