"""Full-text search in the text files below a folder, which returns excerpts with file and line.

Files are read once, when the in-memory index is made. Ranking is BM25 as in SQLite's FTS5, on stems of English words;
the same index gives the same results. Only regular files below the folder are read: symbolic links are not followed,
and hidden files, files that are not UTF-8 text and files that are too large are left out.
"""

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.core.safety.untrusted import expanded
from poziomka.environments.tools.tool import Tool, ToolFault, tool

MOST = 10  # maximum results of a query
PIECE = 600  # approximate characters of an excerpt
WORDS = 32  # maximum words of a query; further ones are ignored


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """Limits on the files that an index reads.

    Attributes:
        file: maximum bytes of a file; larger ones are left out.
        files: maximum number of files; more are an error.
        total: maximum size of all files together, counted in characters; more is an error.
    """

    file: int = 2**20
    files: int = 10_000
    total: int = 2**28


@dataclass(frozen=True, slots=True)
class Found:
    """An excerpt that matches a query.

    Attributes:
        file: path of its file, relative to the folder.
        line: number of its first line, from 1.
        text: its text.
    """

    file: str
    line: int
    text: str


class Index:
    """An in-memory full-text index of all text files below a folder.

    Args:
        folder: the folder.
        limits: limits on the files that are read.

    Attributes:
        files: number of files that were read.
        left_out: reason why a file was left out, by its path relative to the folder.

    Raises:
        SettingsError: the folder does not exist, exceeds the limits, or contains no text.
        EnvironmentFailure: this Python's SQLite has no full-text search.
    """

    def __init__(self, folder: Path | str, limits: SearchLimits = SearchLimits()) -> None:
        """Reads the files and builds the index."""
        self.folder = expanded(folder, SettingsError)
        if not self.folder.is_dir():
            message = f"there is no folder to search in at {str(folder)!r}"
            raise SettingsError(message)
        self.folder = self.folder.resolve()
        self.files = 0
        self.left_out: dict[str, str] = {}
        self._database = sqlite3.connect(":memory:", check_same_thread=False)  # read-only after __init__
        try:
            self._database.execute(
                "CREATE VIRTUAL TABLE pieces USING fts5"
                "(file UNINDEXED, line UNINDEXED, text, tokenize = 'porter unicode61 remove_diacritics 2')"
            )
        except sqlite3.OperationalError as error:
            message = f"this Python's SQLite has no full-text search: {error}; search needs its FTS5"
            raise EnvironmentFailure(message) from error
        self._read(limits)
        if not self.files:
            message = f"there is no text to search in below {self.folder}: {len(self.left_out)} files were left out"
            raise SettingsError(message)

    def _read(self, limits: SearchLimits) -> None:
        total = 0
        for name in _plain_files(self.folder):
            text = self._text(name, limits.file)
            if text is None:
                continue
            total += len(text)
            self.files += 1
            if self.files > limits.files or total > limits.total:
                message = (
                    f"there is too much to search in below {self.folder}: more than {limits.files:,} files or "
                    f"{limits.total / 2**20:.0f} MiB; name a smaller folder"
                )
                raise SettingsError(message)
            pieces = [(name, line, piece) for line, piece in pieces_of(text)]
            self._database.executemany("INSERT INTO pieces VALUES (?, ?, ?)", pieces)
        self._database.commit()

    def _text(self, name: str, most: int) -> str | None:
        """Returns the text of a file; None if it is left out, with the reason in `left_out`."""
        try:
            descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    self.left_out[name] = "no plain file"
                    return None
                data = file.read(most + 1)
        except OSError as error:
            self.left_out[name] = error.strerror or "cannot be read"
            return None
        if len(data) > most:
            self.left_out[name] = f"larger than {most:,} bytes"
        elif b"\0" in data:
            self.left_out[name] = "no text"
        else:
            try:
                return data.decode("utf-8-sig")
            except UnicodeDecodeError:
                self.left_out[name] = "no UTF-8 text"
        return None

    def find(self, query: str, count: int = 3) -> list[Found]:
        """Returns the excerpts that best match a query by BM25, best first.

        Excerpts rank higher with more of the query's words, with rarer ones, and with less other text.

        Args:
            query: words to search for.
            count: maximum number of excerpts.
        """
        words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))[:WORDS]
        if not words:
            return []
        asked = " OR ".join(f'"{word}"' for word in words)  # quotes, so that no word is an operator
        rows = self._database.execute(
            "SELECT file, line, text FROM pieces WHERE pieces MATCH ? ORDER BY bm25(pieces), file, line LIMIT ?",
            (asked, count),
        )
        return [Found(*row) for row in rows]

    def close(self) -> None:
        """Releases the index's memory; may be called twice."""
        self._database.close()


def pieces_of(text: str) -> Iterator[tuple[int, str]]:
    """Yields a text in excerpts of about 600 characters (PIECE), each as (number of its first line from 1, excerpt).

    Excerpts consist of whole lines; only lines longer than 2 * PIECE characters are split.
    """
    begin, piece = 1, ""
    for number, line in enumerate(text.splitlines(), 1):
        if piece and len(piece) + len(line) > PIECE:
            yield begin, piece
            piece = ""
        if not piece:
            begin = number
        while len(line) > 2 * PIECE:
            yield number, line[:PIECE]
            line = line[PIECE:]  # noqa: PLW2901 the rest of the line
        piece += f"{line}\n" if piece or line.strip() else ""
    if piece:
        yield begin, piece


def _plain_files(folder: Path) -> Iterator[str]:
    """Yields the relative paths of regular files below a folder, sorted, without hidden files and symbolic links."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(where, name)
            if not name.startswith(".") and not path.is_symlink() and path.is_file():
                yield path.relative_to(folder).as_posix()


def search_tool(folder: Path | str, limits: SearchLimits = SearchLimits()) -> Tool:
    """Makes a tool that searches the text files below a folder and returns excerpts with file and line.

    Args:
        folder: the folder.
        limits: limits on the files that are read.

    Raises:
        SettingsError: the folder does not exist, exceeds the limits, or contains no text.
        EnvironmentFailure: this Python's SQLite has no full-text search.
    """
    index = Index(folder, limits)

    def search(query: str, count: int = 3) -> str:
        """Searches local text files and returns excerpts with file and line.

        Args:
            query: the words to look for
            count: how many excerpts, from 1 to 10
        """
        if not 1 <= count <= MOST:
            message = f"the argument 'count' is from 1 to {MOST}: received {count}"
            raise ToolFault(message)
        if not re.search(r"\w", query):
            message = "the argument 'query' holds no word to look for"
            raise ToolFault(message)
        found = index.find(query, count)
        return "\n\n".join(f"{one.file}:{one.line}\n{one.text.rstrip()}" for one in found) or "nothing was found"

    made = tool(search)
    return Tool(made.name, made.description, made.parameters, made.open, index.close)
