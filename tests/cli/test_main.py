"""The commands, their help, and what stands at the boundary to the shell."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from poziomka.app.settings.recipe import read_recipe
from poziomka.core.errors import TaskError
from poziomka.tasks import TASKS, task_named

HEAVY = ("torch", "numpy", "pyarrow", "matplotlib", "tokenizers", "safetensors", "rich")
SCRIPT = f"""
import sys
from poziomka.app.cli.main import main
status = main(sys.argv[1:])
print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.parametrize("words", ["--help", "--version", "train --help", "evaluate --help", "show --help", "tasks"])
def test_help_comes_at_once_because_nothing_heavy_is_imported(words):
    begun = time.perf_counter()
    command = [sys.executable, "-c", SCRIPT, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(f"poziomka {words}: {time.perf_counter() - begun:.2f} s")  # noqa: T201 told, not asserted: machines differ
    assert done.stderr.strip() == ""
    assert done.stdout


def test_the_help_names_every_command(poziomka):
    status, output, _ = poziomka("--help")
    assert status == 0
    for command in ("train", "evaluate", "report", "show", "tasks", "runs"):
        assert f"\n  {command} " in output
        assert poziomka(command, "--help")[0] == 0


def test_the_version_is_told(poziomka):
    from importlib.metadata import version

    assert poziomka("--version") == (0, f"poziomka {version('poziomka')}\n", "")


def test_without_a_command_the_help_stands_where_errors_go(poziomka):
    status, output, errors = poziomka()
    assert (status, output) == (2, "")
    assert "COMMAND" in errors


# ------------------------------------------------------------------------------------------------------------- train
def test_a_dry_run_prints_a_recipe_that_reads_back_the_same_and_makes_nothing(poziomka, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change = "rl.optimizer.learning_rate=0.25"
    status, output, _ = poziomka("train", tiny, "--set", "seed=7", "--set", change, "--dry-run")
    assert status == 0
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "printed.toml").write_text(output, encoding="utf-8")
    assert read_recipe(tmp_path / "printed.toml") == read_recipe(tiny, ("seed=7", change))


def test_a_runs_own_recipe_repeats_it_in_a_folder_of_its_own(poziomka, tiny, tmp_path, monkeypatch, contents):
    monkeypatch.chdir(tmp_path)
    short = ["--set", "sft.steps=2", "--set", "rl.steps=1"]
    status, output, errors = poziomka("train", tiny, *short)
    assert status == 0, errors
    assert output.splitlines()[-1] == "The report is at runs/tiny/report.html"
    for path, folder in (("runs/tiny/recipe.toml", "tiny-2"), ("runs/tiny", "tiny-3")):
        assert poziomka("train", path)[0] == 0
        assert contents(tmp_path / "runs" / folder) == contents(tmp_path / "runs" / "tiny")
    assert poziomka("train", "runs/tiny/recipe.toml", "--run", "runs/tiny")[0] == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["tiny", "tiny-2", "tiny-3"]


def test_a_finished_run_that_is_trained_again_stays_what_it_was(poziomka, tiny, finished, contents):
    before = contents(finished)
    assert poziomka("train", tiny, "--run", finished)[0] == 0
    assert contents(finished) == before


# ---------------------------------------------------------------------------------------------- evaluate, report, show
def test_evaluate_finds_what_the_run_found(poziomka, reference, bytes_of):
    before = bytes_of(reference)
    status, output, errors = poziomka("evaluate", reference, "--json", "--no-save")
    assert status == 0, errors
    found = json.loads(output)
    frontier = json.loads((reference / "results" / "frontier.json").read_text(encoding="utf-8"))
    points = frontier["curves"]["trained"]["budgets"]
    assert [(p["budget"], p["accuracy"], p["thinking_tokens"], p["tokens"]) for p in found["budgets"]] == [
        (p["budget"], p["accuracy"], p["thinking_tokens"], p["tokens"]) for p in points
    ]
    assert bytes_of(reference) == before


def test_evaluate_takes_budgets_problems_and_attempts(poziomka, reference):
    status, output, _ = poziomka(
        "evaluate", reference, "--budget", "5", "0", "--problems", "3", "--attempts", "2", "--no-save"
    )
    assert status == 0
    head, _, *rows = output.splitlines()
    assert "3 held-out problems, 2 attempts each" in head
    assert [row.split()[0] for row in rows] == ["0", "5"]


def test_a_report_is_made_anew_from_the_folder_alone(poziomka, reference, finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    (finished / "report.html").unlink()
    shutil.rmtree(finished / "figures")
    shutil.rmtree(finished / "checkpoints")
    status, output, errors = poziomka("report", finished)
    assert status == 0, errors
    assert output.strip() == str(finished / "report.html")
    assert (finished / "figures" / "report.png").exists()
    again = (finished / "report.html").read_text(encoding="utf-8")
    assert again.replace(str(finished), str(reference)).replace(finished.name, "run") == page


def test_show_leads_from_steps_to_a_rollout(poziomka, reference):
    assert "warm-start" in poziomka("show", reference)[1]
    assert "group" in poziomka("show", reference, "--step", "26")[1]
    assert "rollout 2" in poziomka("show", reference, "--step", "26", "--group", "1")[1]
    assert "why: " in poziomka("show", reference, "--step", "trained", "--group", "1", "--rollout", "1")[1]


# -------------------------------------------------------------------------------------------------------- tasks, runs
def test_the_tasks_are_listed_with_what_they_are(poziomka, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # a table is cut to the width of its terminal
    for output in (poziomka("tasks")[1], poziomka("tasks", "list")[1]):
        for name in TASKS:
            assert f"\n{name} " in f"\n{output}"
    assert "finding the k-th number after two given ones" in output


@pytest.mark.parametrize("name", TASKS)
def test_a_task_shows_problems_with_answers(poziomka, name):
    task = task_named(name)
    status, output, errors = poziomka("tasks", "show", name, "--count", "4", "--split", "test")
    assert status == 0, errors
    assert output.count("\nproblem ") == 4
    for problem in task.take("test", 0, 4):
        assert problem.prompt[-1].content.strip().replace("\n", "\n" + " " * 11) in output
        assert f"answer   {problem.answer}" in output


def test_a_task_shows_problems_of_a_level(poziomka):
    output = poziomka("tasks", "show", "recurrence", "--level", "5")[1]
    assert output.count(" · level 5\n") == 3


def test_a_task_is_named_or_the_nearest_is(poziomka):
    with pytest.raises(TaskError, match="unknown task 'recurense'; did you mean 'recurrence'"):
        task_named("recurense")


def test_runs_are_compared(poziomka, reference, tmp_path):
    status, output, _ = poziomka("runs", reference.parent)
    assert status == 0
    assert output.splitlines()[0].split() == ["run", "recipe", "steps", "reward", "accuracy", "split"]
    assert output.splitlines()[1].split()[:3] == ["run", "tiny", "36"]
    assert "–" not in output.splitlines()[1]  # reward and accuracy are there
    assert "There are no runs" in poziomka("runs", tmp_path)[1]


# ------------------------------------------------------------------------------------------------------- the boundary
def raising(error: BaseException):
    def make():
        raise error

    return make


def test_a_fault_of_ours_keeps_its_traceback_and_asks_for_a_report(poziomka, monkeypatch):
    monkeypatch.setitem(TASKS, "broken", raising(ZeroDivisionError("our fault")))
    status, _, errors = poziomka("tasks")
    assert status == 1
    assert "Traceback" in errors
    assert "ZeroDivisionError: our fault" in errors
    assert "please report" in errors.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (MemoryError(), 2, "not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 2, "not enough memory"),
        (OSError(errno.EIO, os.strerror(errno.EIO), "x.bin"), 2, "the system refused: input/output error (x.bin)"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, "the package 'torch' is not installed"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (TaskError("two\nlines"), 2, "two lines"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(poziomka, monkeypatch, error, status, words):
    monkeypatch.setitem(TASKS, "broken", raising(error))
    found, _, errors = poziomka("tasks")
    assert found == status
    assert words in errors
    assert errors.count("\n") == 1


def test_a_terminal_without_our_signs_shows_others():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "poziomka", "tasks", "show", "recurrence"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "task recurrence ? levels 1 to 30" in done.stdout


def test_the_installed_command_and_the_module_are_the_same(outside):
    installed = Path(sys.executable).with_name("poziomka")
    done = subprocess.run([installed, "tasks", "show", "gcd"], capture_output=True, text=True, check=False)
    assert outside("tasks", "show", "gcd") == (done.returncode, done.stdout, done.stderr)
