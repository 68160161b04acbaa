"""The comparison of versions names the first difference, and knows a newer tree's names."""

import importlib.util
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

SPEC = importlib.util.spec_from_file_location("compare_versions", Path(__file__).with_name("compare_versions.py"))
compare = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(compare)


def row(attempt, **changes):
    spans = [
        {"author": "user", "tokens": [1, 2], "stop": None},
        {"author": "model", "tokens": [3, 4 + attempt], "stop": "phrase"},
    ]
    outcome = {"reward": 1.0, "verdict": "passed", "advantages": [0.5, 0.5]}
    return {"key": "3-1", "spans": spans, **outcome, **changes}


def a_run(folder, rows, weight=1.0):
    for name, value in (("models/warm-start", 0.0), ("checkpoints/step-000002", weight)):
        (folder / name).mkdir(parents=True)
        save_file({"head": torch.tensor([value], dtype=torch.bfloat16)}, folder / name / "model.safetensors")
    (folder / "journal").mkdir()
    for step, attempts in enumerate(rows, 1):
        pq.write_table(pa.Table.from_pylist(attempts), folder / "journal" / f"step-{step:06d}.parquet")
    return compare.computed(folder)


def test_equal_runs_have_no_difference(tmp_path):
    first, second = (a_run(tmp_path / name, [[row(0), row(1)]]) for name in ("a", "b"))
    assert compare.first_difference(first, second) == ""
    assert compare.counts(first) == {
        "attempts": 2,
        "of them rewarded": 2,
        "with an advantage": 2,
        "replies of tools": 0,
        "tensors": 2,
    }


def test_the_first_difference_is_named_by_step_problem_and_field(tmp_path):
    base = a_run(tmp_path / "a", [[row(0), row(1)], [row(0), row(1)]])
    here = a_run(tmp_path / "b", [[row(0), row(1)], [row(0), row(5, reward=0.0)]], weight=2.0)
    where = "RL step 2, problem 3-1, attempt 2, token ids[1][1]"
    assert compare.first_difference(base, here) == f"{where}: 5 in the commit's run, 9 in this tree's"


def test_weights_that_differ_in_a_bit_are_named(tmp_path):
    base, here = a_run(tmp_path / "a", [[row(0)]]), a_run(tmp_path / "b", [[row(0)]], weight=1.0078125)
    assert compare.first_difference(base, here).startswith("at the end, weights of head: ")


def test_a_step_that_one_run_lacks_is_named(tmp_path):
    base, here = a_run(tmp_path / "a", [[row(0)], [row(0)]]), a_run(tmp_path / "b", [[row(0)]])
    where = "RL step 2, problem 3-1, attempt 1, token ids"
    assert compare.first_difference(base, here) == f"{where}: only the commit's run has it"
    assert compare.first_difference(here, base) == f"{where}: only this tree's run has it"


def test_a_newer_trees_columns_and_words_are_known(monkeypatch, tmp_path):
    base = a_run(tmp_path / "a", [[row(0)]])
    newer = row(0)
    newer["branches"] = [{"outcome": newer.pop("reward")}]
    newer["spans"][1]["stop"] = "stop_string"
    monkeypatch.setitem(compare.COLUMNS, "reward", (("reward",), ("branches", 0, "outcome")))
    monkeypatch.setitem(compare.VALUES, "stop_string", "phrase")
    assert compare.first_difference(base, a_run(tmp_path / "b", [[newer]])) == ""


def test_a_newer_trees_settings_are_known():
    names = {"sums": "words", "reinforce.steps": "rl.steps", "gate.margin=-1.0": "require={}", "save_every": None}
    words = ("sums", "reinforce.steps=2", "gate.margin=-1.0", "save_every=2", "seed=1", "--run")
    renamed = [compare.renamed(word, names) for word in words]
    assert renamed == ["words", "rl.steps=2", "require={}", None, "seed=1", "--run"]


def test_a_field_without_a_known_column_ends_the_comparison(capsys, tmp_path):
    newer = row(0)
    newer["result"] = newer.pop("verdict")
    with pytest.raises(SystemExit) as ended:
        a_run(tmp_path / "a", [[newer]])
    assert ended.value.code == 2
    assert "has no verdict" in capsys.readouterr().err


def test_two_runs_in_which_nothing_happened_are_not_called_equal(capsys, tmp_path):
    found = compare.counts(a_run(tmp_path / "a", [[row(0)]]))
    compare.demand_something("recurrence", found)
    with pytest.raises(SystemExit) as ended:
        compare.demand_something("tools", found)
    assert ended.value.code == 2
    assert "replies of tools" in capsys.readouterr().err
