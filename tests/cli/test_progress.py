"""A command that takes long says what it does, before it does it."""

import io
import re
from contextlib import redirect_stderr, suppress

import pytest

from poziomka.app.cli.progress import doing
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


@pytest.mark.fault("C7")
def test_evaluate_says_what_it_does_before_it_is_done(poziomka, reference):
    status, _, errors = poziomka("evaluate", reference, "--problems", "10", "--budget", "2", "4")
    assert status == 0
    assert errors.splitlines()[0] == "answering 10 held-out problems, 2 attempts each, with at most 4 thinking tokens …"
