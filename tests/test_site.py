"""The site that `make docs` builds: its navigation lists every page, and its reference covers what there is."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import poziomka as pz
from poziomka.app.cli.commands import COMMANDS
from poziomka.app.cli.main import main
from poziomka.app.cli.settings import list_settings

pytestmark = pytest.mark.documents

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
REFERENCE = runpy.run_path(str(DOCS / "site" / "reference.py"))
OUTSIDE = "repository/"  # folder of the site with pages of the repository outside docs/
HOME = "index.md"  # README.md
PART = re.compile(r"<!-- reference: (\w+)(?: (.*?))? -->")


def listed(nav: list) -> Iterator[str]:
    """Yields the pages of a navigation."""
    for entry in nav:
        (value,) = entry.values()
        yield from listed(value) if isinstance(value, list) else [value]


def test_the_navigation_lists_every_page_once():
    own = [page for page in listed(CONFIG["nav"]) if page != HOME and not page.startswith(OUTSIDE)]
    assert sorted(own) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_the_navigation_lists_pages_of_the_repository_that_are_there():
    outside = [page.removeprefix(OUTSIDE) for page in listed(CONFIG["nav"]) if page.startswith(OUTSIDE)]
    assert outside
    assert [name for name in outside if not (ROOT / name).is_file()] == []


def test_the_settings_page_has_every_setting_with_its_default():
    page = REFERENCE["settings"](REFERENCE["every_setting"]())
    rows = re.findall(r"^\| `([\w.]+)` \| `(.*?)` \|", page.partition("## Names of other")[0], re.MULTILINE)
    lines = re.findall(r"^([a-z][\w.]*) = (.*?)   \S", list_settings(), re.MULTILINE)
    assert len(lines) > 100
    assert sorted(rows) == sorted(lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_commands_has_every_argument(name, capsys):
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", REFERENCE["commands"](), re.DOTALL | re.MULTILINE)[1]
    main([name, "--help"])
    options = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out)) - {"--help"}
    assert [option for option in options if option not in section] == []


def test_the_page_of_python_has_every_public_name_once():
    parts = PART.findall((DOCS / "reference" / "python.md").read_text(encoding="utf-8"))
    names = [name.strip() for kind, given in parts if kind == "names" for name in given.split(",")]
    assert sorted(names) == sorted(pz.__all__)


def test_every_other_part_of_the_reference_is_generated(tmp_path):
    REFERENCE["main"]([str(tmp_path)])
    text = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))
    wanted = {kind for kind, given in PART.findall(text) if kind != "names"}
    assert wanted == {path.stem for path in tmp_path.glob("*.md")} != set()
