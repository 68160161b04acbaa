"""No command passes on an escape sequence that a run's folder, a recipe or a model holds."""

import io
import json
import os
import subprocess
import sys

import pytest

from poziomka.app.cli.chat.talk import Screen
from poziomka.runs.run import Run
from poziomka.runs.storage.journal import read_journal, write_journal

ESCAPE = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202e"  # copies, clears, colours, turns round
HARMFUL = ("\x1b", "\x07", "\x9b", "\u202e", "\r")


def clean(answer):
    status, output, errors = answer
    assert [each for each in HARMFUL if each in output + errors] == []
    return status, output, errors


@pytest.fixture
def harmed(finished):
    """A run whose names and words hold escape sequences."""
    folder = finished.rename(finished.with_name(f"run{ESCAPE}[red]"))
    line = {"schema_version": 1, "step": 36, "stage": f"x{ESCAPE}", f"metric{ESCAPE}": 0.5, "reward/mean": ESCAPE}
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    (folder / "results" / "alarms.json").write_text(
        json.dumps({"schema_version": 1, "rung": [{"name": ESCAPE, "step": ESCAPE, "sentence": ESCAPE}]})
    )
    journal = read_journal(folder / "journal" / "step-000026.parquet")
    write_journal(folder / "journal" / f"[red]{ESCAPE}.parquet", journal.groups)
    return folder


@pytest.mark.fault("E11")
@pytest.mark.parametrize("command", [("show",), ("show", "--step", "26"), ("metrics",), ("runs",), ("report",)])
def test_what_a_runs_folder_holds_does_not_steer_a_terminal(poziomka, harmed, command):
    name, *more = command
    status, output, errors = clean(poziomka(name, harmed, *more))
    assert status == 0, errors
    assert "␛]52;c;aGk=" in output or command[1:]


@pytest.mark.fault("E11")
def test_what_a_recipe_is_called_does_not_steer_a_terminal(poziomka, tiny, tmp_path):
    path = tmp_path / "recipe.toml"
    words = f"{ESCAPE}[/x]".encode("unicode_escape").decode().replace("\\x", "\\u00")
    path.write_text(tiny.read_text(encoding="utf-8").replace('"tiny"', f'"{words}"'), encoding="utf-8")
    _, output, _ = clean(poziomka("doctor", path))
    assert "␛]52" in output
    clean(poziomka("train", path, "--dry-run"))
    clean(poziomka("train", path))
    clean(poziomka(f"trai{ESCAPE}n"))


@pytest.mark.fault("E11")
def test_what_a_run_notes_while_it_trains_does_not_steer_a_terminal(poziomka, harmed):
    with Run.open(harmed, Run.read(harmed).recipe) as run:
        assert run.folder == harmed
    clean(poziomka("train", "--resume", harmed))


# ------------------------------------------------------------------------------------------------------ closed streams
@pytest.mark.fault("E16")
@pytest.mark.parametrize("closed", ["1", "2", "0 1 2"])
def test_closed_streams_are_no_fault(closed):
    closing = " ".join(f"{number}>&-" for number in closed.split())
    command = f"{sys.executable} -m poziomka tasks {closing}"
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.fault("E16")
def test_a_reader_that_left_is_no_fault_of_a_coloured_table_either(reference):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "poziomka", "show", reference]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.fault("E16")
def test_a_seed_of_thousands_of_digits_is_refused_in_a_short_sentence(poziomka, tiny):
    status, _, errors = poziomka("train", tiny, "--set", f"seed={'9' * 5000}")
    assert status == 2
    assert "seed must be int" in errors
    assert len(errors) < 500
    status, _, errors = poziomka("tasks", "show", "sums", "--count", "9" * 5000)
    assert status == 2
    assert len(errors) < 2100


@pytest.mark.fault("E11")
@pytest.mark.parametrize("colour", [True, False])
def test_what_a_model_or_a_tool_says_does_not_steer_a_terminal(colour):
    out = io.StringIO()
    screen = Screen(colour=colour, out=out, beside=out)
    screen.begin(thinking=True)
    for character in f"a{ESCAPE}</think>b{ESCAPE}":
        screen.add(character)
    screen.tool(f"c{ESCAPE}")
    screen.end()
    screen.aside(f"d{ESCAPE}")
    shown = out.getvalue()
    assert [each for each in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e") if each in shown] == []
    assert [name for name in "abcd" if f"{name}␛]52;c;aGk=␇" not in shown] == []
