"""Counts dialect in the docstrings and comments of a folder: `python tests/language.py poziomka --worst 20`.

Dialect is a private way of writing, in which code speaks, hears and knows, in place of the field's words. The figure is
the number of words of four kinds per 1,000 words. "Holds a lock" and "held-out" are ordinary English, so it is never 0:
rewrite the sentence so that a named component does a plain thing; do not swap words.
"""

import argparse
import ast
import io
import re
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

DIALECT = {
    "pronoun agents": r"\b(whoever|nobody|somebody|anybody)\b",
    "what-clauses": r"\b(what (is|was|it|they|a|an|the|came|comes|holds|stands)|Returns (what|how|which))\b",
    "speech verbs": r"\b(says|said|told|tells|asked|asks|hears?|heard|speaks?|spoke)\b",
    "posture verbs": r"\b(stands?|stood|lies|lie|lay|holds?|held)\b",
}
PATTERNS = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in DIALECT.items()}


class Count(NamedTuple):
    """Number of words in docstrings and comments, and of dialect words by kind."""

    words: int
    dialect: dict[str, int]

    @property
    def total(self) -> int:
        """Number of dialect words."""
        return sum(self.dialect.values())

    @property
    def per_thousand(self) -> float:
        """Dialect words per 1,000 words; 0 without words."""
        return 1000 * self.total / max(self.words, 1)


def prose(source: str) -> list[str]:
    """Returns the docstrings and comments of a module."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    docstrings = [text for node in nodes if (text := ast.get_docstring(node))]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return docstrings + [token.string for token in tokens if token.type == tokenize.COMMENT]


def count(path: Path) -> Count:
    """Counts the docstrings and comments of a file."""
    text = "\n".join(prose(path.read_text(encoding="utf-8")))
    return Count(len(text.split()), {kind: len(pattern.findall(text)) for kind, pattern in PATTERNS.items()})


def counts(folder: Path) -> dict[Path, Count]:
    """Counts every Python file below a folder."""
    return {path: count(path) for path in sorted(folder.rglob("*.py"))}


def together(found: Sequence[Count]) -> Count:
    """Returns the sum of counts."""
    dialect = {kind: sum(one.dialect[kind] for one in found) for kind in DIALECT}
    return Count(sum(one.words for one in found), dialect)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figure of a folder, after its files with most dialect words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="also print the N worst files")
    options = parser.parse_args(arguments)
    found = counts(options.folder)
    for path, one in sorted(found.items(), key=lambda item: -item[1].total)[: options.worst]:
        print(f"{one.total:5d}  {path}")  # noqa: T201 a command that prints its figure
    whole = together(list(found.values()))
    kinds = ", ".join(f"{kind} {number}" for kind, number in whole.dialect.items())
    print(f"{whole.per_thousand:.1f} dialect words per 1,000 of {whole.words:,} ({kinds})")  # noqa: T201 as above


if __name__ == "__main__":
    main()
