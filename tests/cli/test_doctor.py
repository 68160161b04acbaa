"""`poziomka doctor` from the command line: lines for a person, JSON for a program, and an exit status."""

import json
from importlib import import_module

import pytest
from rich.console import Console

from poziomka.app.cli.doctor import doctor, line
from poziomka.app.doctor import Finding
from poziomka.core.errors import SettingsError
from poziomka.core.problem import Score

SMALL = (
    "threads=1",
    "model.new.width=32",
    "model.new.layers=1",
    "model.new.heads=2",
    "rl.max_tokens=12",
    "rl.max_thinking_tokens=8",
)


@pytest.fixture
def terminal():
    return Console(force_terminal=True, color_system="standard", width=100, record=True, highlight=False)


@pytest.fixture
def lax(monkeypatch):
    """The recurrence with a scorer that accepts anything."""
    module = import_module("poziomka.tasks.toy.recurrence")
    monkeypatch.setattr(module, "scorer", lambda problem, transcript: Score.right("yes"))


def given(*more):
    return [word for setting in (*SMALL, *more) for word in ("--set", setting)]


def test_a_recipe_that_is_well_passes_line_by_line(poziomka, tiny):
    status, said, errors = poziomka("doctor", tiny, *given())
    assert (status, errors) == (0, "")
    assert "pass  log-probabilities" in said
    assert "FAIL" not in said


def test_without_a_recipe_the_demonstration_is_examined(poziomka):
    status, said, _ = poziomka("doctor", *given())
    assert status == 0
    assert said.startswith("Recipe run: task recurrence, transformer of")


def test_json_holds_every_check(poziomka):
    status, said, _ = poziomka("doctor", "--json", *given())
    found = json.loads(said)
    assert status == 0
    assert found["ok"] is True
    assert {check["status"] for check in found["checks"]} <= {"pass", "warn"}
    assert [check["name"] for check in found["checks"]][:2] == ["memory", "scorer"]


def test_a_failure_is_exit_status_2_with_what_to_do(poziomka, lax):
    status, said, _ = poziomka("doctor", *given())
    assert status == 2
    assert "FAIL  scorer" in said
    assert "→ a model will find this" in said
    assert "FAILED: do not train yet" in said


def test_a_failure_in_json_says_that_not_all_is_well(poziomka, lax):
    status, said, _ = poziomka("doctor", "--json", *given())
    assert status == 2
    assert json.loads(said)["ok"] is False


def test_a_recipe_that_cannot_be_read_is_one_sentence(poziomka, tmp_path):
    status, _, errors = poziomka("doctor", tmp_path / "none.toml")
    assert status == 2
    assert errors.count("\n") == 1


def test_an_unknown_setting_is_answered_with_the_nearest(terminal):
    with pytest.raises(SettingsError, match="did you mean 'max_tokens'"):
        doctor(None, ("rl.token=3",), as_json=False, console=terminal)


def test_on_a_terminal_what_is_learned_from_is_coloured_by_sign(terminal):
    doctor(None, SMALL, as_json=False, console=terminal)
    said = terminal.export_text(styles=True)
    assert "\x1b[32mmade likelier\x1b[0m  \x1b[31mmade less likely\x1b[0m  \x1b[2mnot learned from" in said


def test_into_a_pipe_it_is_told_by_signs(poziomka):
    _, said, _ = poziomka("doctor", *given())
    assert "\n  + model " in said
    assert "\n  - model " in said
    assert "\n    user " in said


def test_control_characters_in_a_figure_do_not_steer_the_terminal(terminal):
    terminal.print(line(Finding.failed("scorer", "refuses '\x1b[2J'", "mend it")))
    assert "\x1b[2J" not in terminal.export_text(styles=True)


def test_the_sandbox_is_looked_at_without_a_recipe(poziomka):
    status, said, errors = poziomka("doctor", "--sandbox")
    assert (status, errors) == (0, "")
    assert said.startswith("What holds a model's code on this machine\npass  monty ")
    assert "Nothing was reached (" in said


def test_the_sandbox_belongs_to_the_machine_and_not_to_a_recipe(poziomka, tiny):
    status, _, errors = poziomka("doctor", tiny, "--sandbox")
    assert status == 2
    assert "leave out RECIPE and --set" in errors
