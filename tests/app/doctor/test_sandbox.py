"""The doctor looks at what holds a model's code: live attacks, by surface, or the reason why one is not here."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from poziomka.app.doctor import Status, held_for, interpreters_of, sandbox
from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.sandbox import registry as interpreters
from poziomka.environments.sandbox.interpreter import CALL, Isolation, Output, Surface
from poziomka.environments.sandbox.monty import Monty
from poziomka.testing.attacks import QUICK

pytestmark = pytest.mark.sandbox


def only(monkeypatch, name, make, why=""):
    for other in list(interpreters.INTERPRETERS):
        if other != name:
            monkeypatch.delitem(interpreters.INTERPRETERS, other)
    monkeypatch.setitem(interpreters.INTERPRETERS, name, (make, lambda where: why))


class Open:
    """An interpreter that answers every attack with the file that it asks for."""

    name = "open"

    def __init__(self, limits):
        self.limits = limits

    def isolation(self):
        return Isolation(self.name, {Surface.FILES: "nothing"})

    def open(self):
        return self

    def run(self, code):
        named = re.search(r"^CANARY = '(.+)'$", code, re.MULTILINE)
        return Output(Path(named[1]).read_text() if named and "open(CANARY)" in code else "")

    def close(self):
        pass


def test_what_holds_is_told_with_a_figure_for_every_surface(monkeypatch):
    only(monkeypatch, "monty", lambda where, limits, seed: Monty(limits, seed))
    found = {finding.name: finding for finding in sandbox()}
    assert found["monty"].status is Status.PASS
    assert found["monty"].figure.startswith(f"held {len(QUICK)} of {len(QUICK)} attacks in ")
    for surface in Surface:
        assert found[f"monty: {surface.value}"].figure.startswith("held ")
    assert found["monty: not held"].status is Status.WARN


def test_one_that_lets_a_file_be_read_fails_with_what_was_reached(monkeypatch):
    only(monkeypatch, "open", lambda where, limits, seed: Open(replace(CALL, seconds=limits.seconds)))
    found = {finding.name: finding for finding in sandbox()}
    assert found["open"].status is Status.FAIL
    assert "reached: reads a file by its path, its output holds a file" in found["open"].figure
    assert found["open: files"].status is Status.FAIL


def test_one_that_is_not_here_is_told_with_the_reason(monkeypatch):
    only(monkeypatch, "monty", lambda where, limits, seed: Monty(limits, seed), why="it is not installed")
    first, last = sandbox()
    assert (first.name, first.status, first.figure) == ("monty", Status.WARN, "not here: it is not installed")
    assert (last.name, last.status) == ("interpreters", Status.FAIL)


def test_one_that_breaks_fails(monkeypatch):
    def make(where, limits, seed):
        raise EnvironmentFailure(where or "it does not start")

    only(monkeypatch, "monty", make)
    assert [(f.name, f.status, f.figure) for f in sandbox()] == [("monty", Status.FAIL, "it does not start")]


def test_the_interpreters_of_a_recipe_are_those_that_its_tools_name():
    assert interpreters_of(None) == []
    assert interpreters_of("calculator+search:docs") == []
    assert interpreters_of("python + search:docs + python:docker:image") == ["monty", "docker:image"]


def test_a_recipes_interpreter_has_one_line():
    (finding,) = held_for(["monty"])
    assert (finding.name, finding.status) == ("monty", Status.PASS)


def test_a_recipes_interpreter_that_is_not_here_fails(monkeypatch):
    only(monkeypatch, "monty", lambda where, limits, seed: Monty(limits, seed), why="it is not installed")
    (finding,) = held_for(["monty"])
    assert finding.status is Status.FAIL
    assert "it is not installed" in finding.figure
