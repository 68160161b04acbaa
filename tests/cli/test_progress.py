"""A command that takes long says what it does, before it does it."""

import io
import re
import time
from contextlib import redirect_stderr, suppress

import pytest

from poziomka.app.cli.shell import progress
from poziomka.app.cli.shell.progress import doing
from poziomka.core.safety.terminal import CleanStream


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.fault("C7")
def test_what_is_done_is_a_line_before_it_is_done():
    stream = io.StringIO()
    with redirect_stderr(CleanStream(stream)), doing("reading \x1b[2J 3 journals"):
        assert stream.getvalue() == "reading ␛[2J 3 journals …\n"


def test_what_is_quickly_done_is_said_on_a_terminal_only():
    stream = io.StringIO()
    with redirect_stderr(CleanStream(stream)), doing("loading", always=False):
        assert stream.getvalue() == ""


@pytest.mark.fault("C7")
def test_on_a_terminal_it_is_shown_with_its_seconds_and_cleared_in_the_end():
    stream = Terminal()
    with redirect_stderr(CleanStream(stream)), suppress(KeyError), doing("reading \x1b[2J", always=False):
        raise KeyError
    shown = stream.getvalue()
    assert re.match(r"\r\x1b\[Kreading ␛\[2J … \d+ s", shown)
    assert shown.endswith("\r\x1b[K")


def test_a_terminal_shows_how_far_the_work_is():
    stream = Terminal()
    with redirect_stderr(CleanStream(stream)), doing("answering") as say:
        say("3 of 10 problems")
        while "3 of 10" not in stream.getvalue():
            time.sleep(0.05)
    assert re.search(r"\r\x1b\[Kanswering … 3 of 10 problems · \d+ s", stream.getvalue())


def test_elsewhere_how_far_the_work_is_is_a_line_now_and_then(monkeypatch):
    stream = io.StringIO()
    with redirect_stderr(CleanStream(stream)), doing("answering") as say:
        say("3 of 10 problems")
        monkeypatch.setattr(progress, "PLAIN_EVERY", 0.0)
        say("4 of 10 problems")
    assert re.fullmatch(r"answering …\n\[ +\d+ s\] 4 of 10 problems\n", stream.getvalue())


@pytest.mark.fault("C7")
def test_evaluate_says_what_it_does_before_it_is_done(poziomka, reference):
    status, _, errors = poziomka("evaluate", reference, "--problems", "10", "--budget", "2", "4", "--no-save")
    assert status == 0
    assert errors.splitlines()[0] == "answering 10 held-out problems, 2 attempts each, with at most 4 thinking tokens …"
