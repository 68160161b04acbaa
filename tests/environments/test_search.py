"""Search over local files: what is found, in which order, and what is never read."""

import os
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.environments.tools import search
from poziomka.environments.tools.search import PIECE, Found, Index, SearchLimits, pieces_of, search_tool
from poziomka.environments.tools.tool import ToolFault


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "notes"
    (root / "garden").mkdir(parents=True)
    (root / "fox.txt").write_text("A quick brown fox.\n\nIt jumps over dogs.\n")
    (root / "garden" / "plants.md").write_text("# Plants\n\nWild strawberries grow in woods.\n")
    (root / "long.txt").write_text("\n".join(f"line {number} of a long file" for number in range(200)))
    return root


def call(tool, **arguments):
    return tool.run(tool.open(), arguments)


def test_an_excerpt_names_file_and_line(folder):
    assert Index(folder).find("strawberry")[0] == Found(
        "garden/plants.md", 1, "# Plants\n\nWild strawberries grow in woods.\n"
    )


def test_the_line_is_where_the_excerpt_begins(folder):
    (found,) = Index(folder).find("199", 1)
    lines = (folder / "long.txt").read_text().splitlines()
    assert lines[found.line - 1] == found.text.splitlines()[0]
    assert "line 199 of" in found.text


def test_the_rarer_word_weighs_more(folder):
    assert Index(folder).find("line fox", 1)[0].file == "fox.txt"


def test_the_tool_says_what_it_found(folder):
    assert call(search_tool(folder), query="jumping dogs", count=1).startswith("fox.txt:1\nA quick brown fox.")


def test_the_tool_says_that_it_found_nothing(folder):
    assert call(search_tool(folder), query="submarine") == "nothing was found"


def test_a_query_finds_the_same_every_time(folder):
    assert Index(folder).find("line file", 10) == Index(folder).find("line file", 10)


@pytest.mark.parametrize(
    "query", ['"', 'fox" OR text:"', "fox AND", "NEAR(", "*", "fox*", "-fox", "^fox", "text:fox", "'"]
)
def test_no_query_is_an_operator(query, folder):
    assert all(found.file == "fox.txt" or "fox" not in query for found in Index(folder).find(query))


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_any_query_is_answered(query):
    index = Index(os.path.dirname(__file__))  # noqa: PTH120 hypothesis and tmp_path do not mix; any folder does
    try:
        assert len(index.find(query)) <= 3
    finally:
        index.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"query": "!?"}, "no word to look for"),
        ({"query": "fox", "count": 0}, "from 1 to 10: received 0"),
        ({"query": "fox", "count": 11}, "from 1 to 10: received 11"),
        ({"query": 3}, "must be a string"),
        ({}, "'query' is missing"),
        ({"words": "fox"}, "unknown argument"),
    ],
)
def test_a_wrong_call_is_told_so(arguments, said, folder):
    with pytest.raises(ToolFault, match=said):
        call(search_tool(folder), **arguments)


# ---------------------------------------------------------------------------------------------------- what is not read
def test_nothing_outside_the_folder_is_read(folder, tmp_path):
    (tmp_path / "secret.txt").write_text("submarine")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "more.txt").write_text("submarine")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "up").symlink_to(tmp_path)
    (folder / "garden" / "secrets").symlink_to(tmp_path / "secrets")
    assert Index(folder).find("submarine") == []
    assert Index(tmp_path).find("submarine", 10) != []


def test_hidden_files_are_not_read(folder):
    (folder / ".env").write_text("submarine")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("submarine")
    assert Index(folder).find("submarine") == []


def test_what_is_no_text_or_too_large_is_left_out_with_the_reason(folder):
    (folder / "image.bin").write_bytes(b"submarine\0")
    (folder / "latin.txt").write_bytes("submarine \xe9".encode("latin-1"))
    (folder / "large.txt").write_text("submarine " * 1000)
    index = Index(folder, SearchLimits(file=8000))
    assert index.find("submarine") == []
    assert index.left_out == {
        "image.bin": "no text",
        "latin.txt": "no UTF-8 text",
        "large.txt": "larger than 8,000 bytes",
    }


def test_a_pipe_does_not_hold_it_up(folder):
    os.mkfifo(folder / "pipe")
    assert Index(folder).files == 3


def test_words_that_come_later_are_not_found(folder):
    index = Index(folder)
    (folder / "fox.txt").write_text("submarine")
    assert index.find("submarine") == []


@pytest.mark.parametrize(
    ("limits", "said"), [({"files": 2}, "more than 2 files"), ({"total": 100}, "name a smaller folder")]
)
def test_too_much_is_refused(limits, said, folder):
    with pytest.raises(SettingsError, match=said):
        Index(folder, SearchLimits(**limits))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"there is no folder to search in at '.*nowhere'"):
        Index(tmp_path / "nowhere")


def test_a_folder_without_text_is_refused(tmp_path):
    (tmp_path / "image.bin").write_bytes(b"\0")
    with pytest.raises(SettingsError, match=r"no text to search in below .*: 1 files were left out"):
        Index(tmp_path)


def test_a_python_without_full_text_search_is_told(folder, monkeypatch):
    class Bare(sqlite3.Connection):
        def execute(self, *_):
            raise sqlite3.OperationalError

    connect = sqlite3.connect
    monkeypatch.setattr(search.sqlite3, "connect", lambda *a, **k: connect(*a, factory=Bare, **k))
    with pytest.raises(EnvironmentFailure, match="FTS5"):
        Index(folder)


@given(st.text(alphabet="ab \n", max_size=5000))
def test_every_word_is_in_an_excerpt(text):
    pieces = list(pieces_of(text))
    assert "".join("".join(piece for _, piece in pieces).split()) == "".join(text.split())
    assert all(len(piece) <= 2 * PIECE + 2 for _, piece in pieces)
