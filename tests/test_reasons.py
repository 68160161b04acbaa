"""A rule is broken only with a reason beside it: in the code, and in pyproject.toml."""

import re
import tokenize
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = ("poziomka", "tests", "recipes", "examples", "benchmarks")
EXCUSES = {
    "noqa": re.compile(r"#\s*noqa\b:?(?P<codes>[A-Z0-9, ]*)(?P<reason>.*)"),
    "type: ignore": re.compile(r"#\s*type: ignore(?P<codes>\[[\w, -]+\])?(?P<reason>.*)"),
    "pragma: no cover": re.compile(r"#\s*pragma: no cover(?P<codes>)(?P<reason>.*)"),
}
LISTED = re.compile(r'^    "(?P<rule>[A-Z]+[0-9]*)",(?P<reason>.*)$', re.MULTILINE)


def unexplained(paths: Iterable[Path]) -> list[str]:
    """Comments that silence a rule without a word why: `# noqa: E501 why`, `# type: ignore[arg-type]  # why`."""
    found = []
    for path in paths:
        with tokenize.open(path) as file:
            comments = [token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.COMMENT]
        for token in comments:
            for name, pattern in EXCUSES.items():
                match = pattern.match(token.string)
                if match and not re.search(r"[a-z]{2}", match["reason"]):
                    found.append(f"{path.name}:{token.start[0]} has a `{name}` without a reason")
    return found


def unexplained_rules(text: str) -> list[str]:
    return [match["rule"] for match in LISTED.finditer(text) if not re.search(r"#\s+\S+ \S+", match["reason"])]


def test_every_exception_in_the_code_has_a_reason():
    assert unexplained(sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))) == []


def test_every_ignored_rule_has_a_reason():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert LISTED.search(text)
    assert unexplained_rules(text) == []


def test_a_planted_exception_without_a_reason_is_caught(tmp_path):
    path = tmp_path / "planted.py"
    bare = ["# noqa", "# noqa: E501", "# noqa: E501, D103", "# type: ignore", "# type: ignore[arg-type]"]
    explained = ["# noqa: E501 a table", "# type: ignore[arg-type]  # stubs say int", "# pragma: no cover  # killed"]
    path.write_text("".join(f"x = 1  {comment}\n" for comment in [*bare, "# pragma: no cover", *explained]))
    assert [int(re.findall(r":(\d+) ", message)[0]) for message in unexplained([path])] == [1, 2, 3, 4, 5, 6]


def test_a_planted_rule_without_a_reason_is_caught():
    assert unexplained_rules('ignore = [\n    "E501",\n    "D103",  #\n    "S101",  # our own invariants\n]\n') == [
        "E501",
        "D103",
    ]
