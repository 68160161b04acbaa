"""What a run's folder may hold before anything in it is opened, written or deleted."""

import os

import pytest

from poziomka.core.errors import RunError
from poziomka.runs import Run
from poziomka.runs.folder import demand_utf8

pytestmark = pytest.mark.fault("E16")
FILES = ["recipe.toml", "metrics.jsonl", "notes.log", ".lock", "provenance.json"]
FOLDERS = ["journal", "checkpoints", "results"]


def contents(folder):
    """The bytes of every file below a folder, by path."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def begun(tmp_path, recipe):
    """The folder of a run that saved nothing yet."""
    with Run.open(tmp_path / "run", recipe) as run:
        run.record("gains", {"a": 1})
        run.log(1, "rl")
        run.note("a note")
    return tmp_path / "run"


def refused(folder, recipe, words):
    with pytest.raises(RunError, match=words):
        Run.open(folder, recipe)
    with pytest.raises(RunError, match=words):
        Run.demand_free(folder, recipe, lambda there: there)


def test_a_folder_with_a_recipe_and_other_files_is_no_run(begun, recipe, tmp_path):
    mine = tmp_path / "mine"
    (mine / "results").mkdir(parents=True)
    (mine / "recipe.toml").write_bytes((begun / "recipe.toml").read_bytes())
    (mine / "results" / "paper.json").write_text("{}")
    (mine / "metrics.jsonl").write_text("my own\n")
    before = contents(mine)
    refused(mine, recipe, "holds no run")
    assert contents(mine) == before


def test_a_recipe_alone_may_become_a_run(begun, recipe, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "recipe.toml").write_bytes((begun / "recipe.toml").read_bytes())
    Run.open(mine, recipe).close()
    assert (mine / "provenance.json").is_file()


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_the_place_of_a_file_is_refused_and_not_followed(begun, recipe, tmp_path, name):
    precious = tmp_path / "precious"
    precious.write_bytes((begun / name).read_bytes() + b"mine")
    (begun / name).unlink()
    (begun / name).symlink_to(precious)
    before = contents(tmp_path)
    refused(begun, recipe, f"{name} must be a regular file and is a symbolic link")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_in_the_place_of_a_folder_is_refused_and_not_followed(begun, recipe, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    (begun / name).rename(elsewhere)
    for mine in ("mine.json", "mine.parquet", ".tmp-mine"):
        (elsewhere / mine).write_text("mine")
    (begun / name).symlink_to(elsewhere)
    before = contents(elsewhere)
    refused(begun, recipe, f"{name} must be a folder and is a symbolic link")
    assert contents(elsewhere) == before


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_is_refused_and_not_waited_for(begun, recipe, name):
    (begun / name).unlink()
    os.mkfifo(begun / name)
    refused(begun, recipe, f"{name} must be a regular file and is something else")


def test_a_link_to_a_whole_folder_is_a_run(begun, recipe, tmp_path):
    (tmp_path / "link").symlink_to(begun)
    Run.open(tmp_path / "link", recipe).close()


@pytest.mark.parametrize("value", [None, 3, "x", []])
def test_a_table_of_another_type_is_damage(begun, recipe, value):
    with Run.open(begun, recipe) as run:
        run.record("frontier", {"curves": value})
        with pytest.raises(RunError, match=r"frontier.json is damaged \(curves must be an object\)"):
            run.results_table("frontier", "curves")
        assert run.results_table("nothing", "curves") == {}


def test_a_name_that_is_not_utf_8_is_refused_before_training(tmp_path):
    demand_utf8(tmp_path / "zażółć")
    with pytest.raises(RunError, match="is not UTF-8"):
        demand_utf8(tmp_path / os.fsdecode(b"run\xff"))
