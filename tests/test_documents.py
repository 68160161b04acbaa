"""Documents cannot lie: every python block of them runs, and every command in them is one that exists.

A block below the comment `<!-- not run: reason -->` is checked for syntax only, and listed by `-rP`.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from poziomka.app.settings.recipe import recipe_of

pytestmark = pytest.mark.documents

ROOT = Path(__file__).resolve().parent.parent
SHELL = ("sh", "bash", "console", "shell")
BLOCK = re.compile(r"^```(?P<kind>\w+)[^\n]*\n(?P<text>.*?)^```\s*$", re.DOTALL | re.MULTILINE)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+?) -->\s*\Z", re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)#\s]+)[^)]*\)")


class Block(NamedTuple):
    """A fenced block of a document."""

    document: str
    line: int
    kind: str
    text: str
    excuse: str | None  # why it is not run

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def documents(root: Path = ROOT) -> list[Path]:
    listed = [root / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "CHANGELOG.md")]
    for folder in ("docs", "recipes", "examples", "benchmarks"):
        listed += sorted((root / folder).rglob("*.md"))
    return [path for path in listed if path.exists()]


def blocks(path: Path, root: Path = ROOT) -> list[Block]:
    text, found = path.read_text(encoding="utf-8"), []
    for match in BLOCK.finditer(text):
        excuse = NOT_RUN.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 2
        name = path.relative_to(root).as_posix()
        found.append(Block(name, line, match["kind"], match["text"], excuse and excuse["reason"]))
    return found


EVERY = [block for path in documents() for block in blocks(path)]
PYTHON = [block for block in EVERY if block.kind == "python"]


def commands(block: Block) -> list[list[str]]:
    """The commands of a shell block: lines after `$ ` in a console, every line elsewhere."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.kind == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    found: list[list[str]] = []
    for line in lines:
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        new = True  # at the beginning of a line, and after && ; |
        for word in words:
            if set(word) <= set("&;|"):
                new = True
            elif new:
                found.append([Path(word).name])
                new = False
            else:
                found[-1].append(word)
    return found


COMMANDS = [(block, words) for block in EVERY if block.kind in SHELL for words in commands(block)]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@cache
def help_of(*subcommand: str) -> str:
    """What `poziomka SUBCOMMAND --help` prints; fails where there is no such subcommand."""
    answer = run([str(Path(sys.executable).with_name("poziomka")), *subcommand, "--help"], ROOT)
    assert answer.returncode == 0, f"poziomka {' '.join(subcommand)} --help: {answer.stderr or answer.stdout}"
    return answer.stdout


def unknown_in(words: list[str], known: str) -> list[str]:
    """The flags of a command that its help does not name."""
    flags = [word.split("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)]
    return [flag for flag in flags if not re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", known)]


def missing_files(words: list[str]) -> list[str]:
    """Paths into the repository that are not there; a run's folder is made by the command before."""
    folders = ("recipes/", "examples/", "benchmarks/", "docs/", "tests/", "requirements")
    return [word for word in words if word.startswith(folders) and not (ROOT / word).exists()]


@pytest.mark.fault("A15")
@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_python_block_runs(block, tmp_path):
    ast.parse(block.text)
    if block.excuse:
        print(f"{block} is not run: {block.excuse}")  # noqa: T201 so that -rP lists it
        return
    script = tmp_path / "block.py"
    script.write_text(block.text, encoding="utf-8")
    answer = run([sys.executable, script.name], tmp_path)
    assert answer.returncode == 0, f"{block}:\n{answer.stderr[-3000:]}"


@pytest.mark.parametrize("block", [block for block in EVERY if block.kind == "toml"], ids=str)
def test_a_toml_block_is_a_recipe_or_a_part_of_one(block):
    recipe_of(tomllib.loads(block.text), where=str(block))


@pytest.mark.parametrize(("block", "words"), COMMANDS, ids=lambda value: str(value) if isinstance(value, Block) else "")
def test_a_command_exists(block, words):
    program, *rest = words
    assert missing_files(rest) == [], f"{block} names a file that is not there"
    match program:
        case "poziomka":
            subcommand = rest[:1] if rest and not rest[0].startswith("-") else []
            assert unknown_in(rest, help_of(*subcommand)) == [], f"{block}: {shlex.join(words)}"
        case "make":
            targets = [word for word in rest if "=" not in word]
            assert run(["make", "-n", *targets], ROOT).returncode == 0, f"{block}: {shlex.join(words)}"
        case "python" | "pip" | "pytest" | "ruff" | "git" | "cd" | "kill":
            pass
        case _:
            pytest.fail(f"{block} runs {program!r}, which this test does not know")


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_within_the_repository_leads_somewhere(path):
    targets = [match["target"] for match in LINK.finditer(BLOCK.sub("", path.read_text(encoding="utf-8")))]
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in local if not (path.parent / target).exists()] == []


def test_every_page_of_docs_is_reached_from_the_readme():
    seen, queue = set(), [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        if page in seen or not page.exists():
            continue
        seen.add(page)
        targets = [match["target"] for match in LINK.finditer(page.read_text(encoding="utf-8"))]
        queue += [
            (page.parent / target).resolve() for target in targets if target.endswith(".md") and ":" not in target
        ]
    assert [page.name for page in (ROOT / "docs").rglob("*.md") if page not in seen] == []


def plant(folder: Path, text: str) -> list[Block]:
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    return blocks(path, folder)


def test_an_excuse_belongs_to_the_next_block_only(tmp_path):
    text = "<!-- not run: takes an hour -->\n```python\nx\n```\n\n```python\ny\n```\n"
    assert [block.excuse for block in plant(tmp_path, text)] == ["takes an hour", None]


def test_output_in_a_console_is_no_command(tmp_path):
    (block,) = plant(tmp_path, "```console\n$ .venv/bin/poziomka train a.toml && make test  # one; two\nstep 1\n```\n")
    assert commands(block) == [["poziomka", "train", "a.toml"], ["make", "test"]]


def test_a_planted_unknown_flag_is_caught():
    assert unknown_in(["train", "--run", "x", "--run-folder=y", "-h"], "usage: [-h] --run RUN") == ["--run-folder"]


def test_a_planted_missing_file_is_caught():
    assert missing_files(["recipes/nowhere/recipe.toml", "runs/x", "--set"]) == ["recipes/nowhere/recipe.toml"]
