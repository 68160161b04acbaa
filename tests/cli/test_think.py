"""`poziomka think`: a study is written, continued where it was interrupted, and names the strategies of efforts."""

import json

import pytest

STUDY = ("--problems", "6", "--replies", "4", "--strategies", "adaptive:4", "best_of:2", "oracle:2")


@pytest.fixture(scope="module")
def study(outside, reference, tmp_path_factory):
    """The folder of a study of a trained run, and the JSON that the command printed."""
    folder = tmp_path_factory.mktemp("study") / "sums"
    status, output, errors = outside("think", reference, "--out", folder, *STUDY, "--json")
    assert status == 0, errors
    return folder, json.loads(output)


def test_a_study_has_points_curves_and_files(study):
    folder, values = study
    assert [each["name"] for each in values["strategies"]] == ["single", "adaptive:4", "best_of:2", "oracle:2"]
    assert [each["votes"] for each in values["majority"]] == [1, 2, 4]
    assert (values["problems"], values["replies"], values["split"]) == (6, 4, "validation")
    assert json.loads((folder / "study.json").read_text()) == values
    assert {"table.md", "effort.json", "figures"} <= {path.name for path in folder.iterdir()}
    for points in (values["majority"], values["oracle"]):
        assert all(0 <= each["low"] <= each["mean"] <= each["high"] <= 1 for each in points)
    oracle = {each["replies"]: each["mean"] for each in values["oracle"]}
    assert all(oracle[each["votes"]] >= each["mean"] - 0.15 for each in values["majority"])


def test_the_oracle_is_never_chosen_as_an_effort(study):
    efforts = study[1]["efforts"]
    assert set(efforts) == {"low", "medium", "high", "auto"}
    assert not any("oracle" in text for text in efforts.values())
    assert not any("oracle" in name for each in study[1]["by_difficulty"] for name in each["names"])


def test_a_finished_study_is_read_and_not_sampled_again(poziomka, reference, study, monkeypatch):
    folder, values = study
    monkeypatch.setattr("poziomka.app.cli.think.think.collected", None)  # would fail if it were called
    status, output, errors = poziomka("think", reference, "--out", folder, *STUDY, "--json")
    assert (status, json.loads(output)) == (0, values), errors


def test_a_cell_whose_journal_was_removed_is_sampled_again(poziomka, reference, study):
    folder, values = study
    journal = folder / "best_of-2" / "journal" / "validation.parquet"
    journal.unlink()
    status, output, errors = poziomka("think", reference, "--out", folder, *STUDY, "--json")
    assert (status, json.loads(output)) == (0, values), errors
    assert journal.is_file()


def test_other_settings_in_the_same_folder_are_refused(poziomka, reference, study):
    status, _, errors = poziomka("think", reference, "--out", study[0], *STUDY, "--seed", "5")
    assert status == 2
    assert "seed" in errors


def test_a_strategy_that_uses_gold_answers_is_called_an_upper_bound(poziomka, reference, study):
    assert sum("oracle:2" in note for note in study[1]["notes"]) == 1
    given = ("--problems", "2", "--samples", "1", "--no-save", "--split", "validation")
    assert "upper bound" in poziomka("evaluate", reference, *given, "--strategy", "oracle:2")[2]
    errors = poziomka("evaluate", reference, *given, "--strategy", "majority:2")[2]
    assert "upper bound" not in errors
    assert "votes compare the answers that task" in errors
    errors = poziomka("evaluate", reference, *given, "--strategy", "majority:2", "--read", "number")[2]
    assert "votes compare the answers that 'number' reads" in errors


def test_a_cell_is_shown_as_any_evaluation(poziomka, study):
    output = poziomka("show", study[0] / "best_of-2")[1]
    assert "validation" in output


def test_an_effort_is_evaluated_from_the_study(poziomka, reference, study):
    folder, values = study
    given = ("--problems", "4", "--samples", "1", "--no-save", "--json", "--split", "validation")
    status, output, errors = poziomka("evaluate", reference, *given, "--effort", "auto", "--study", folder)
    assert status == 0, errors
    assert json.loads(output)["strategy"] == values["efforts"]["auto"]
    fixed = poziomka("evaluate", reference, *given, "--effort", "low")[1]
    assert json.loads(fixed)["strategy"] == "single"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["think", "RUN", "--strategies", "best_of_n:4", "majorty:4"], "majority"),
        (["think", "RUN", "--temperature", "0"], "temperature"),
        (["think", "RUN", "--strategies", "majority:4", "budget:-5/majority:4"], "budget"),
        (["think", "RUN", "--strategies", "best_of:4", "best_of@4"], "folder"),
        (["think", "RUN", "--budget", "-5"], "-5"),
        (["think", "RUN", "--no-think", "--budget", "5"], "--no-think"),
        (["think", "RUN", "--out", "FULL", "--strategies", "majority:2"], "other files"),
        (["think", "RUN", "--out", "FILE", "--strategies", "majority:2"], "other files"),
        (["think"], "MODEL"),
        (["evaluate", "RUN", "--effort", "hgh"], "high"),
        (["evaluate", "RUN", "--effort", "low", "--strategy", "maj:4"], "--effort"),
        (["evaluate", "RUN", "--effort", "low", "--study", "NOWHERE"], "study"),
        (["evaluate", "RUN", "--effort", "low", "--study", "GOLD"], "gold"),
        (["evaluate", "RUN", "--effort", "high", "--study", "GOLD"], "high"),
        (["evaluate", "RUN", "--study", "NOWHERE"], "--effort"),
        (["evaluate", "RUN", "--read", "number"], "--read"),
        (["evaluate", "RUN", "--strategy", "maj:4", "--read", "numbr"], "number"),
    ],
)
def test_bad_input_is_one_sentence(poziomka, reference, tmp_path, words, named):
    table = tmp_path / "table.md"
    table.write_text("mine")
    (tmp_path / "gold").mkdir()
    (tmp_path / "gold" / "effort.json").write_text('{"low": "oracle:4", "high": 5}')
    names = {"RUN": reference, "GOLD": tmp_path / "gold", "NOWHERE": tmp_path, "FULL": tmp_path, "FILE": table}
    status, _, errors = poziomka(*[names.get(word, word) for word in words])
    assert status == 2
    assert table.read_text() == "mine"
    assert named in errors
    assert "Traceback" not in errors
    assert "answering" not in errors  # nothing was sampled in vain


def test_the_strategies_are_listed(poziomka):
    output = poziomka("think", "--list")[1]
    for name in ("majority:VOTES", "best_of:REPLIES", "rsa:POPULATION", "agreement:VOTES"):
        assert name in output


def test_a_study_of_another_task_is_noted(poziomka, reference, study, tmp_path):
    made = json.loads((study[0] / "effort.json").read_text())
    (tmp_path / "effort.json").write_text(json.dumps({**made, "task": "gcd"}))
    given = ("--problems", "2", "--samples", "1", "--no-save", "--effort", "low")
    note = f"was made of {reference} on gcd, not of {reference} on "
    assert note in poziomka("evaluate", reference, *given, "--study", tmp_path)[2]
    assert "was made of" not in poziomka("evaluate", reference, *given, "--study", study[0])[2]
