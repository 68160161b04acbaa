"""Hooks of MkDocs: the site also has the pages and files of the repository that its pages link to, and the reference.

Links stay as they are in the repository, so that they lead somewhere there too. A Markdown page outside docs/ that is
linked becomes a page, README.md the first one; a source file becomes a page that shows it; a figure is copied.

The text from `<!-- reference: PART -->` to `<!-- end -->` is for readers of the repository. The site has in its place
build/reference/PART.md, which docs/site/reference.py writes, or for `names load, Model` the docstrings of these names.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = ROOT / "build" / "reference"
LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)#\s]+)")
MARKER = re.compile(r"<!-- reference: (?P<part>[\w, ]+) -->.*?<!-- end -->", re.DOTALL)
NAMES = "names "  # <!-- reference: names load, Model -->
ENUMS = ("Author", "Verdict")  # their members have no docstrings of their own
SHOW_MEMBERS = "\n    options:\n      show_if_no_docstring: true"
FENCE = re.compile(r"^(```.*?^```)\s*$", re.DOTALL | re.MULTILINE)
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".sh": "sh"}
COPIED = (".png", ".json")  # files that a browser shows by itself
FETCHED = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>""")


def _place(path: Path) -> str:
    """Returns the place of a file of the repository in the site, relative to the folder of the pages."""
    name = path.relative_to(ROOT).as_posix()
    if name == "README.md":
        return "index.md"
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    shown = path.suffix in (".md", *COPIED)
    return f"repository/{name}" if shown else f"repository/{name}.md"


def _home(place: str) -> Path:
    """Returns the file of the repository that a page of the site is made of."""
    if place == "index.md":
        return ROOT / "README.md"
    return ROOT / place.removeprefix("repository/") if place.startswith("repository/") else ROOT / "docs" / place


def _prose(text: str) -> list[str]:
    """Returns a page in parts: prose at even places, fenced blocks at odd ones."""
    return FENCE.split(text)


def _targets(page: Path) -> list[Path]:
    """Returns the files of the repository that a page links to."""
    found = []
    for part in _prose(page.read_text(encoding="utf-8"))[::2]:
        local = [match["target"] for match in LINK.finditer(part) if ":" not in match["target"]]
        found += [(page.parent / target).resolve() for target in local]
    return [path for path in found if path.is_file()]


def _linked(pages: list[Path]) -> set[Path]:
    """Returns the pages, and all files of the repository that can be reached from them by links."""
    seen: set[Path] = set()
    queue = list(pages)
    while queue:
        path = queue.pop()
        if path not in seen:
            seen.add(path)
            queue += _targets(path) if path.suffix == ".md" else []
    return seen


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages and files outside docs/."""
    pages = [Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path]
    for path in sorted(_linked([ROOT / "README.md", *pages])):
        place = _place(path)
        if files.get_file_from_path(place) is not None:
            continue
        if path.suffix == ".md" or path.suffix in COPIED:
            files.append(File.generated(config, place, abs_src_path=str(path)))
            continue
        name = path.relative_to(ROOT).as_posix()
        source = path.read_text(encoding="utf-8").rstrip().replace("````", "")
        text = f"# {name}\n\n````{LANGUAGES.get(path.suffix, 'text')}\n{source}\n````\n"
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **others: object) -> str:
    """Makes links lead to pages of the site, and inserts the reference."""
    place = page.file.src_uri
    if page.parent is None:
        page.meta["hide"] = ["navigation"]  # a tab without further pages
    if place.startswith("repository/") and not page.file.abs_src_path:
        return markdown
    folder = _home(place).parent

    def moved(match: re.Match[str]) -> str:
        target = match["target"]
        path = (folder / target).resolve()
        if ":" in target or not path.is_file():
            return match[0]
        return match["before"] + posixpath.relpath(_place(path), posixpath.dirname(place) or ".")

    parts = _prose(markdown)
    parts[::2] = [LINK.sub(moved, part) for part in parts[::2]]
    return MARKER.sub(_reference, "".join(parts))


def _reference(match: re.Match[str]) -> str:
    """Returns the text of a marker.

    Raises:
        PluginError: docs/site/reference.py did not write this part.
    """
    part = match["part"]
    if part.startswith(NAMES):
        names = [name.strip() for name in part.removeprefix(NAMES).split(",")]
        return "\n\n".join(f"::: poziomka.{name}{SHOW_MEMBERS if name in ENUMS else ''}" for name in names)
    path = REFERENCE / f"{part}.md"
    if not path.is_file():
        message = f"there is no {path.relative_to(ROOT)}: build the site with `make docs`, which writes it"
        raise PluginError(message)
    return path.read_text(encoding="utf-8")


def on_post_page(output: str, page: Page, **others: object) -> str:
    """Returns the page unchanged.

    Raises:
        PluginError: a browser would fetch a script, style, font or image of the page from another machine.
    """
    fetched = [tag for tag in FETCHED.findall(output) if 'rel="canonical"' not in tag]
    if fetched:
        message = f"{page.file.src_uri} fetches from another machine: {fetched[0]}"
        raise PluginError(message)
    return output
