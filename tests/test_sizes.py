"""What fits on a desk: files of 400 lines, functions of 80, signatures of 7 parameters."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE, FUNCTION, PARAMETERS = 400, 80, 7
CODE = ("poziomka", "tests", "recipes", "examples", "benchmarks", "docs")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def functions(path: Path) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Every function of a file, with whether it is a method."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    methods = {id(item) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for item in node.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, id(node) in methods


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool) -> int:
    """Number of parameters, self or cls not counted."""
    given = node.args
    count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
    count += (given.vararg is not None) + (given.kwarg is not None)
    static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in node.decorator_list)
    return count - (method and not static)


def long_files(paths: Iterable[Path]) -> list[str]:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    return [f"{path.name} has {count} lines, more than {FILE}" for path, count in lines.items() if count > FILE]


def long_functions(paths: Iterable[Path]) -> list[str]:
    return [
        f"{path.name}: {node.name} has {lines} lines, more than {FUNCTION}"
        for path in paths
        for node, _ in functions(path)
        if (lines := node.end_lineno - node.lineno + 1) > FUNCTION
    ]


def wide_functions(paths: Iterable[Path]) -> list[str]:
    return [
        f"{path.name}: {node.name} has {count} parameters, more than {PARAMETERS}"
        for path in paths
        for node, method in functions(path)
        if (count := parameters(node, method=method)) > PARAMETERS
    ]


def test_no_file_is_long():
    assert long_files(sources(*CODE)) == []


def test_no_page_or_style_is_long():
    pages = [path for kind in ("html", "css", "js") for path in (ROOT / "poziomka").rglob(f"*.{kind}")]
    assert long_files(pages) == []


def test_no_function_is_long():
    assert long_functions(sources(*CODE)) == []


def test_no_signature_is_wide():
    assert wide_functions(sources("poziomka")) == []


def plant(folder: Path, text: str) -> list[Path]:
    path = folder / "planted.py"
    path.write_text(text, encoding="utf-8")
    return [path]


def test_a_planted_long_file_is_caught(tmp_path):
    assert long_files(plant(tmp_path, "x = 1\n" * 400)) == []
    assert long_files(plant(tmp_path, "x = 1\n" * 401)) == ["planted.py has 401 lines, more than 400"]


def test_a_planted_long_function_is_caught(tmp_path):
    assert long_functions(plant(tmp_path, "def f():\n" + "    x = 1\n" * 79)) == []
    text = "class A:\n    async def f(self):\n" + "        x = 1\n" * 80
    assert long_functions(plant(tmp_path, text)) == ["planted.py: f has 81 lines, more than 80"]


def test_a_planted_wide_signature_is_caught(tmp_path):
    assert wide_functions(plant(tmp_path, "def f(a, b, /, c, d, *e, g, **h): ...\n")) == []
    assert wide_functions(plant(tmp_path, "class A:\n    def f(self, a, b, c, d, e, g, h): ...\n")) == []
    caught = wide_functions(plant(tmp_path, "def f(a, b, c, d, e, g, h, *, i): ...\n"))
    assert caught == ["planted.py: f has 8 parameters, more than 7"]
