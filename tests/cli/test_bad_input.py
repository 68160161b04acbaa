"""Whatever is wrong is said in one sentence, with exit status 2, and what was there before is still there."""

import json
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NEWER, OLDER = 99, 0  # versions of a format
MORE = (1_000, 3_000, 6_000, 10_000, 30_000, 50_000, 60_000, 70_000, 150_000, 200_000)  # bytes that a file may have


def refused(answer: tuple[int, str, str], *words: str) -> str:
    """Returns the sentence, once it is clear that it is one."""
    status, _, errors = answer
    assert status == 2, f"status {status}\n{errors}"
    assert errors.startswith("poziomka: ")
    assert errors.count("\n") == 1, errors
    assert [word for word in words if word not in errors] == [], errors
    return errors


def test_a_recipe_that_is_not_there(poziomka, tmp_path):
    refused(poziomka("train", tmp_path / "nowhere.toml"), "there is no file", "nowhere.toml")


def test_a_folder_without_a_recipe(poziomka, tmp_path):
    refused(poziomka("train", tmp_path), "there is no file", "recipe.toml")


def test_no_recipe_at_all(poziomka):
    refused(poziomka("train"), "needs a recipe")


@pytest.mark.parametrize("data", [b"name = tiny = 3\n", b"\xff\xfe\x00", b"[model\n", bytes(range(256))])
def test_a_recipe_that_is_not_toml(poziomka, tmp_path, data):
    path = tmp_path / "recipe.toml"
    path.write_bytes(data)
    refused(poziomka("train", path), str(path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("rl.stpes=3", ["'stpes'", "did you mean 'steps'?"]),
        ("rll.steps=3", ["'rll'", "did you mean 'rl'?"]),
        ("task=recurence", ["'recurence'", "did you mean 'recurrence'?"]),
        ("rl.steps=many", ["rl.steps must be int", "'many'"]),
        ("rl.steps=3.5", ["rl.steps must be int", "3.5"]),
        ("rl.steps=true", ["rl.steps must be int", "True"]),
        ("rl=3", ["must be a table of settings"]),
        ("seed.first=3", ["seed", "first"]),
        ("rl.steps=-1", ["rl.steps must be at least 0", "-1"]),
        ("sft.optimizer.learning_rate=nan", ["optimizer.learning_rate must be", "nan"]),
        ("rl.require.thinking_gain=2", ["rl.require.thinking_gain must be from -1.0 to 1.0", "2"]),
        ("model.new.architecture=transfomer", ["'transfomer'", "did you mean 'transformer'?"]),
        ("rl.aggregation=tokens", ["'tokens'", "did you mean 'token'?"]),
        ("rl.advantage=bach", ["'bach'", "did you mean 'batch'?"]),
        ("model.new.heads=3", ["3"]),
        ("evaluate.budgets=8", ["evaluate.budgets must be", "8"]),
        ("evaluate.budgets=[]", ["budgets"]),
        ("evaluate.budgets=[-1]", ["budgets", "-1"]),
        ("evaluate.votes=[]", ["votes"]),
        ("evaluate.votes=[0]", ["votes", "0"]),
        ("name=../elsewhere", ["'../elsewhere'"]),
        ("rl.steps", ["name=value", "'rl.steps'"]),
        ("=3", ["name=value", "'=3'"]),
    ],
)
def test_a_change_that_makes_no_sense(poziomka, tiny, tmp_path, monkeypatch, change, words):
    monkeypatch.chdir(tmp_path)
    refused(poziomka("train", tiny, "--set", change), *words)
    assert list(tmp_path.rglob("checkpoints/*")) == []  # it was refused before anything was trained


@pytest.mark.parametrize("version", [NEWER, OLDER, "one", True])
def test_a_recipe_of_another_schema_version(poziomka, tmp_path, version):
    path = tmp_path / "recipe.toml"
    path.write_text(f"schema_version = {json.dumps(version)}\n", encoding="utf-8")
    refused(poziomka("train", path, "--run", tmp_path / "run"), "schema_version", str(version))
    assert not (tmp_path / "run").exists()


def test_a_folder_below_a_file_cannot_be_written(poziomka, tiny, tmp_path):
    (tmp_path / "file").write_text("precious", encoding="utf-8")
    refused(poziomka("train", tiny, "--run", tmp_path / "file" / "run"), "cannot write the run")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "precious"


def test_a_folder_that_is_a_file_cannot_be_written(poziomka, tiny, tmp_path):
    (tmp_path / "file").write_text("precious", encoding="utf-8")
    refused(poziomka("train", tiny, "--run", tmp_path / "file"), "cannot write the run")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "precious"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that not even root may write")
def test_a_folder_that_may_not_be_written(poziomka, tiny):
    refused(poziomka("train", tiny, "--run", "/proc/run"), "cannot write the run")


def test_a_folder_of_somebody_elses_files_is_left_alone(poziomka, tiny, tmp_path, bytes_of):
    (tmp_path / "thesis.tex").write_text("precious", encoding="utf-8")
    refused(poziomka("train", tiny, "--run", tmp_path), "not empty", "thesis.tex")
    assert bytes_of(tmp_path) == {"thesis.tex": b"precious"}


def test_a_folder_of_another_recipe_is_left_alone(poziomka, tiny, finished, bytes_of):
    before = bytes_of(finished)
    answer = poziomka("train", tiny, "--run", finished, "--set", "seed=1", "--set", "model.new.width=64")
    refused(answer, "another recipe", "seed (0 there, 1 here)", "model.new.width (32 there, 64 here)")
    assert untouched(before, bytes_of(finished))


def test_resuming_takes_no_other_settings(poziomka, tiny, finished, bytes_of):
    before = bytes_of(finished)
    refused(poziomka("train", "--resume", finished, "--set", "seed=1"), "--resume")
    refused(poziomka("train", tiny, "--resume", finished), "--resume")
    assert bytes_of(finished) == before


@pytest.mark.parametrize("command", [("train", "--resume"), ("evaluate",), ("report",), ("show",)])
def test_a_folder_that_holds_no_run(poziomka, tmp_path, bytes_of, command):
    (tmp_path / "thesis.tex").write_text("precious", encoding="utf-8")
    refused(poziomka(*command, tmp_path), "there is no run in", str(tmp_path))
    refused(poziomka(*command, tmp_path / "nowhere"), "there is no run in", "nowhere")
    refused(poziomka(*command, tmp_path / "thesis.tex"), "there is no run in", "thesis.tex")
    assert bytes_of(tmp_path) == {"thesis.tex": b"precious"}


def test_runs_of_a_folder_that_is_not_there(poziomka, tmp_path):
    refused(poziomka("runs", tmp_path / "nowhere"), "there is no folder", "nowhere")


@pytest.mark.parametrize("command", [("train", "--resume"), ("evaluate",), ("report",), ("show",)])
@pytest.mark.parametrize("version", [NEWER, OLDER])
def test_a_run_of_another_schema_version(poziomka, finished, bytes_of, command, version):
    path = finished / "recipe.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("schema_version = 2", f"schema_version = {version}"), encoding="utf-8")
    before = bytes_of(finished)
    refused(poziomka(*command, finished), "recipe.toml has schema_version", str(version))
    assert bytes_of(finished) == before


@pytest.mark.parametrize("command", [("train", "--resume"), ("evaluate",)])
@pytest.mark.parametrize("version", [NEWER, OLDER])
def test_a_checkpoint_of_another_schema_version(poziomka, finished, bytes_of, command, version):
    path = newest(finished) / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(manifest | {"schema_version": version}), encoding="utf-8")
    before = bytes_of(finished)
    refused(poziomka(*command, finished), "schema_version", str(version))
    assert untouched(before, bytes_of(finished))


def test_a_run_whose_recipe_was_cut_off(poziomka, finished, bytes_of):
    path = finished / "recipe.toml"
    path.write_bytes(path.read_bytes()[:150])
    before = bytes_of(finished)
    for command in (("train", "--resume"), ("evaluate",)):
        refused(poziomka(*command, finished))
    assert untouched(before, bytes_of(finished))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["'trian'", "did you mean 'train'?"]),
        (["--versoin"], ["'--versoin'", "did you mean '--version'?"]),
        (["train", "--resme", "x"], ["'--resme'", "did you mean '--resume'?"]),
        (["show", "x", "--stpe=3"], ["'--stpe'", "did you mean '--step'?"]),
        (["show"], ["RUN"]),
        (["show", "x", "y"], ["y"]),
        (["show", "x", "--group", "0"], ["--group", "'0'"]),
        (["evaluate", "x", "--budget", "few"], ["--budget", "'few'"]),
        (["evaluate", "x", "--problems", "-3"], ["--problems", "'-3'"]),
        (["tasks", "shwo"], ["'shwo'", "poziomka tasks show NAME"]),
        (["tasks", "show"], ["poziomka tasks show NAME"]),
        (["tasks", "show", "recurence"], ["'recurence'", "did you mean 'recurrence'?"]),
        (["tasks", "show", "recurrence", "--level", "99"], ["level 99", "(1, 30)"]),
        (["tasks", "show", "recurrence", "--count", "0"], ["--count", "'0'"]),
        (["tasks", "show", "recurrence", "--count", "1" + "0" * 29], ["--count", "number from 1 to a billion"]),
        (["tasks", "show", "recurrence", "--count", "10001"], ["at most 10,000 problems", "10,001"]),
        (["tasks", "play", "recurrence", "--count", "10001"], ["at most 10,000 problems"]),
        (["tasks", "show", "recurrence", "--split", "tets"], ["no split 'tets'", "did you mean 'test'?"]),
        (["tasks", "show", "sums", "--split", ""], ["no split ''"]),
        (["tasks", "play", "sums", "--split", "tran"], ["no split 'tran'", "did you mean 'train'?"]),
        (["export", "x", "--folder", "y", "--kind", "q4"], ["'q4'", "f32"]),
        (["export", "x", "--folder", "y", "--kind", "f16"], ["--kind f16", "give --gguf FILE"]),
    ],
)
def test_a_command_that_makes_no_sense(poziomka, arguments, words):
    refused(poziomka(*arguments), *words)


def test_a_place_that_a_run_did_not_keep(poziomka, reference):
    refused(poziomka("show", reference, "--step", "99"), "'99'")
    refused(poziomka("show", reference, "--step", "9" * 5000), "kept no rollouts of step '9999")
    refused(poziomka("show", reference, "--step", "26", "--group", "99"), "99")
    refused(poziomka("show", reference, "--step", "26", "--group", "1", "--rollout", "99"), "99")
    refused(poziomka("show", reference, "--group", "1"), "say which step")
    refused(poziomka("evaluate", reference, "--budget", "-1"), "-1")


# ------------------------------------------------------------------------------------------------------ damaged runs
def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*"))


def untouched(before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    """Whether all files are there as they were; the lock, which held nothing but a process's id, does not count."""
    kept = {name for name in before if name != ".lock"}
    return kept == after.keys() - {".lock"} and all(before[name] == after[name] for name in kept)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("harm", "name"),
    [(cut, "model.safetensors"), (flip, "optimizer.safetensors"), (cut, "state.json"), (flip, "manifest.json")],
)
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_it_takes_over(
    poziomka, finished, reference, contents, harm, name
):
    harm(newest(finished) / name)
    status, output, errors = poziomka("train", "--resume", finished)
    assert status == 0, errors
    said = output + errors
    assert "is damaged" in said
    assert "going on from the sound checkpoint of step 34" in said
    here, there = contents(finished), contents(reference)
    assert [name for name in there if here.get(name) != there[name]] == []
    assert (finished / "checkpoints" / "step-000036.damaged").is_dir()


@pytest.mark.parametrize("command", [("train", "--resume"), ("evaluate",)])
def test_where_every_checkpoint_is_damaged_nothing_is_overwritten(poziomka, finished, bytes_of, command):
    for checkpoint in (finished / "checkpoints").iterdir():
        flip(checkpoint / "model.safetensors")
    before = bytes_of(finished)
    refused(poziomka(*command, finished), "no checkpoint", "is sound", "restore one from a copy")
    assert untouched(before, bytes_of(finished))


def test_evaluate_says_that_it_passed_over_a_damaged_checkpoint(poziomka, finished, bytes_of):
    flip(newest(finished) / "model.safetensors")
    before = bytes_of(finished)
    status, output, errors = poziomka("evaluate", finished, "--problems", "10", "--json", "--no-save")
    assert status == 0, errors
    assert json.loads(output)["policy"] == "step-000034"
    assert "step-000036 is damaged" in errors
    assert bytes_of(finished) == before


def test_a_run_without_a_checkpoint_cannot_be_evaluated(poziomka, finished):
    for path in sorted((finished / "checkpoints").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    refused(poziomka("evaluate", finished), "no checkpoint yet", "poziomka train --resume")


def test_a_journal_cut_in_half_hides_nothing_else(poziomka, finished, bytes_of):
    cut(finished / "journal" / "step-000026.parquet")
    cut(finished / "journal" / "trained.parquet")
    before = bytes_of(finished / "journal")
    refused(poziomka("show", finished, "--step", "26"), "step-000026.parquet is truncated or damaged")
    assert poziomka("show", finished, "--step", "27")[0] == 0
    status, output, _ = poziomka("show", finished)
    assert status == 0
    assert "27" in output
    assert poziomka("report", finished)[0] == 0
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "truncated or damaged" in page
    assert bytes_of(finished / "journal") == before


def test_a_run_with_a_journal_cut_in_half_goes_on_and_says_so(poziomka, finished, bytes_of):
    cut(finished / "journal" / "step-000026.parquet")
    before = bytes_of(finished / "journal")
    status, output, errors = poziomka("train", "--resume", finished)
    assert status == 0, errors
    assert "step-000026.parquet is truncated or damaged" in output + errors
    assert bytes_of(finished / "journal") == before


def test_half_a_line_of_metrics_is_left_out_and_said(poziomka, finished):
    path = finished / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert poziomka("report", finished)[0] == 0
    assert "half a line" in (finished / "report.html").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------ the disk, the pipe
@contextmanager
def largest_file(size: int):
    """Lets no file grow beyond `size` bytes, which a program meets as it meets a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 20_000, 100_000, *(pytest.param(n, marks=pytest.mark.soak) for n in MORE)])
def test_a_run_that_met_a_full_disk_goes_on_once_there_is_space(poziomka, tiny, reference, contents, tmp_path, size):
    with largest_file(size):
        refused(poziomka("train", tiny, "--run", tmp_path / "run"), "cannot", "space")
    status, _, errors = poziomka("train", tiny, "--run", tmp_path / "run")
    assert status == 0, errors
    here, there = contents(tmp_path / "run"), contents(reference)
    assert [name for name in there if here.get(name) != there[name]] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_that_cannot_be_written_is_said():
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "poziomka", "tasks"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    refused((done.returncode, "", done.stderr), "no space left")


def test_a_reader_who_has_seen_enough_is_no_error(start):
    process = start("tasks", "show", "recurrence", "--count", "3000")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(600) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_two_processes_do_not_write_one_run(poziomka, tiny, finished):
    from poziomka.runs.run import Run

    with Run.open(finished, Run.read(finished).recipe):
        refused(poziomka("train", tiny, "--run", finished), "another process", "is writing the run")
