"""A console's colours are ours; escape sequences in words are shown."""

import io
import sys

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text

from poziomka.core.safety.terminal import CleanStream
from poziomka.reports import terminal

ESCAPE = "\x1b]52;c;aGk=\x1b\\"


@pytest.fixture
def console(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", CleanStream(io.StringIO()))
    return terminal.console()


@pytest.mark.fault("E11")
def test_colours_pass_and_words_are_cleaned(console):
    table = Table(f"a{ESCAPE}", title=f"t{ESCAPE}")
    table.add_row(f"c{ESCAPE}")
    console.print(f"s{ESCAPE}", Text(f"b{ESCAPE}", "bold red"), table)
    shown = console.file.getvalue()
    assert "\x1b[1;31m" in shown
    assert "\x1b]" not in shown
    assert [name for name in "sbatc" if f"{name}␛]52" not in shown] == []


@pytest.mark.fault("E11")
def test_a_live_display_is_drawn_again_in_its_place_and_its_words_are_cleaned(console):
    with Live(console=console, get_renderable=lambda: terminal.Clean(Text(f"l{ESCAPE}\nm")), refresh_per_second=1):
        console.print(f"p{ESCAPE}")
    shown = console.file.getvalue()
    assert "l␛]52" in shown
    assert "p␛]52" in shown
    assert "\x1b]" not in shown
    assert "\x1b[1A" in shown  # it goes up a line, to draw anew
