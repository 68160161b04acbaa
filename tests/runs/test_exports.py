"""Metrics go to TensorBoard and Weights & Biases, and are read back with the readers of those who made them."""

import builtins
import json
import struct
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

from poziomka.core.errors import RunError, SettingsError
from poziomka.runs import Run
from poziomka.runs.exports import Exports, demand_exports, export

# A missing extra is said in the summary of the tests (-ra), with what brings it.
tensorboard = pytest.mark.skipif(
    find_spec("tensorboard") is None, reason="NOT TRIED: pip install 'poziomka[tensorboard]'"
)
wandb = pytest.mark.skipif(find_spec("wandb") is None, reason="NOT TRIED: pip install 'poziomka[wandb]'")


@pytest.fixture
def logged(tmp_path):
    """A run with metrics of two stages, a hole, and words that are no number."""
    with Run.open(tmp_path / "run", {"name": "run"}) as run:
        run.log(1, "warm_start", {"loss/next_token": 2.5})
        run.log(2, "reinforce", {"reward/mean": 0.25, "policy/entropy": float("nan"), "said": "words"})
        run.log(2, "evaluate", {"evaluate/accuracy": 0.5})
        run.log(3, "reinforce", {"reward/mean": 0.75, "tokens/sampled": 12})
        yield run


def curves(folder):
    """What TensorBoard itself reads: (step, value) by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own imports are out of date, which is not ours to mend
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


EXPECTED = {
    "loss/next_token": [(1, 2.5)],
    "reward/mean": [(2, 0.25), (3, 0.75)],
    "evaluate/accuracy": [(2, 0.5)],
    "tokens/sampled": [(3, 12.0)],
}


@tensorboard
def test_tensorboard_reads_what_a_run_logged(logged, tmp_path):
    assert export(logged, "tensorboard", tmp_path / "events") == (4, str(tmp_path / "events"))
    assert curves(tmp_path / "events") == EXPECTED


@tensorboard
def test_a_second_copy_replaces_the_first(logged):
    export(logged, "tensorboard")
    _, where = export(logged, "tensorboard")
    assert where == str(logged.folder / "tensorboard")
    assert curves(where) == EXPECTED


@tensorboard
def test_a_live_copy_is_the_copy_made_afterwards(logged, tmp_path):
    heard = []
    with Exports(logged, ["tensorboard"]) as copies:
        hear = copies.beside(lambda stage, line: heard.append(stage))
        for line in logged.metrics():
            hear(line["stage"], {name: value for name, value in line.items() if name != "stage"})
    assert heard == ["warm_start", "reinforce", "evaluate", "reinforce"]
    assert curves(logged.folder / "tensorboard") == EXPECTED


@tensorboard
def test_a_run_that_goes_on_replaces_the_steps_that_it_writes_again(tmp_path):
    def train(upto, value):
        with Run.open(tmp_path / "run", {"name": "run"}) as run, Exports(run, ["tensorboard"]) as copies:
            for step in range(run.resumed + 1, upto + 1):
                run.log(step, "reinforce", {"reward/mean": value})
                copies.beside(None)("reinforce", {"step": step, "reward/mean": value})
                if step == 2:
                    run.save(step, lambda folder: (folder / "weights").write_bytes(b"w"), {})

    train(4, 0.25)  # stopped after step 4, saved after step 2
    train(5, 0.75)
    expected = {"reward/mean": [(1, 0.25), (2, 0.25), (3, 0.75), (4, 0.75), (5, 0.75)]}
    assert curves(tmp_path / "run" / "tensorboard") == expected


@tensorboard
def test_an_export_that_fails_is_noted_and_the_run_goes_on(logged):
    with Exports(logged, ["tensorboard"]) as copies:
        hear = copies.beside(None)
        hear("reinforce", {"step": "no number", "reward/mean": 1.0})
        hear("reinforce", {"step": 4, "reward/mean": 1.0})
    assert len([note for note in logged.notes if "metrics go no longer to tensorboard" in note]) == 1


@tensorboard
def test_a_folder_that_cannot_be_written_is_said(logged, tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(RunError, match="cannot write event files in"):
        export(logged, "tensorboard", tmp_path / "file")


@wandb
def test_wandb_keeps_what_a_run_logged_without_a_network(logged, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own imports are out of date, which is not ours to mend
        lines, where = export(logged, "wandb", tmp_path / "copy")
        assert lines == 4
        assert history(where) == [
            {"step": 1, "loss/next_token": 2.5},
            {"step": 2, "reward/mean": 0.25},
            {"step": 2, "evaluate/accuracy": 0.5},
            {"step": 3, "reward/mean": 0.75, "tokens/sampled": 12},
        ]


def history(where):
    """What the client wrote for its server, line by line, its own clocks apart."""
    from wandb.proto import wandb_internal_pb2

    (path,) = Path(where).parent.glob("run-*.wandb")
    data, place, lines, whole = path.read_bytes(), 7, [], b""
    while place + 7 <= len(data):  # LevelDB's log: after the file's head, blocks of records in pieces
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            record = wandb_internal_pb2.Record.FromString(whole)
            whole = b""
            if record.HasField("history"):
                items = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
                lines.append({name: json.loads(value) for name, value in items.items() if name[0] != "_"})
    return lines


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_one_sentence_with_the_command_that_brings_it(monkeypatch, name):
    real = builtins.__import__

    def without(wanted, *more, **how):
        if wanted.partition(".")[0] == name:
            raise ModuleNotFoundError(name=wanted)
        return real(wanted, *more, **how)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=rf"pip install 'poziomka\[{name}\]'"):
        demand_exports([name])


def test_an_unknown_export_is_answered_with_the_nearest(logged):
    with pytest.raises(SettingsError, match="cannot go to 'tensorbord'; did you mean 'tensorboard'"):
        export(logged, "tensorbord")
