"""metrics.jsonl: what is logged, and what a cut leaves of it."""

import pandas as pd
import pytest

from poziomka.core.errors import RunError
from poziomka.runs.storage.metrics import RENAMED, line_of, read_metrics


class Scalar:
    """Stands for a tensor of one element."""

    def __float__(self):
        return 0.25


@pytest.fixture
def path(run):
    return run.folder / "metrics.jsonl"


def test_a_line_holds_its_step_stage_and_metrics(run):
    run.log(3, "reinforce", {"reward/mean": 0.5, "tokens/written": 12, "gate/passed": True, "note": "é"})
    line = {"schema_version": 1, "step": 3, "stage": "reinforce", "reward/mean": 0.5, "tokens/written": 12}
    assert run.metrics() == [{**line, "gate/passed": True, "note": "é"}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_what_is_not_finite_becomes_null(run, value):
    run.log(1, "reinforce", {"loss/mean": value})
    assert run.metrics()[0]["loss/mean"] is None


def test_a_scalar_of_any_library_is_a_number(run):
    run.log(1, "reinforce", {"loss/mean": Scalar()})
    assert run.metrics()[0]["loss/mean"] == 0.25


def test_a_value_that_is_no_number_is_refused(run):
    with pytest.raises(RunError, match="metric 'x' must be a number or text: received \\[1\\]"):
        run.log(1, "reinforce", {"x": [1]})


def test_a_metric_called_step_is_refused(run):
    with pytest.raises(RunError, match="may not be called 'step'"):
        run.log(1, "reinforce", {"step": 2})


def test_pandas_reads_the_metrics(run, path):
    for step in (1, 2):
        run.log(step, "reinforce", {"reward/mean": step / 2})
    assert list(pd.read_json(path, lines=True)["reward/mean"]) == [0.5, 1.0]


def test_a_half_line_is_left_out_and_said(run, path):
    run.log(1, "reinforce", {})
    run.log(2, "reinforce", {})
    path.write_bytes(path.read_bytes()[:-20])
    assert [line["step"] for line in run.metrics()] == [1]
    assert run.notes == ["the last 35 bytes of metrics.jsonl are half a line and were left out"]
    run.metrics()
    assert len(run.notes) == 1


@pytest.mark.parametrize("damage", [b"\x00\xff\n", b"[]\n", b'{"stage": 1}\n'])
def test_a_damaged_line_is_left_out_and_said(run, path, damage):
    path.write_bytes(damage)
    run.log(2, "reinforce", {})
    assert [line["step"] for line in run.metrics()] == [2]
    assert "line 1 of metrics.jsonl is damaged" in run.notes[0]


def test_a_half_line_is_gone_after_resuming(run, path, reopen, weights):
    run.log(1, "reinforce", {})
    run.save(1, weights(), {})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"schema')
    run = reopen()
    assert path.read_bytes() == whole
    run.log(2, "reinforce", {})
    assert [line["step"] for line in run.metrics()] == [1, 2]


def test_a_line_of_another_version_is_refused(run, path):
    path.write_text('{"schema_version": 2, "step": 1}\n')
    with pytest.raises(RunError, match=r"line 1 of .*metrics.jsonl has schema_version 2, newer"):
        run.metrics()


def test_metrics_that_cannot_be_read_are_said(run, path):
    path.mkdir()
    with pytest.raises(RunError, match=r"cannot read .*metrics.jsonl"):
        run.metrics()


def test_older_names_of_metrics_are_read_as_the_present_ones(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(line_of(1, "rl", dict.fromkeys(RENAMED, 0.5)))
    (line,), notes = read_metrics(tmp_path / "metrics.jsonl")
    assert ({name for name, value in line.items() if value == 0.5}, notes) == ({*RENAMED.values()}, [])
