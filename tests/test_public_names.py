"""What `import poziomka` promises: few names, each explained, and no heavy import."""

import ast
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import poziomka

HEAVY = ("torch", "numpy", "scipy", "pandas", "pyarrow", "matplotlib", "tokenizers", "safetensors", "rich")
IMPORT = """
import sys, time
start = time.perf_counter()
import poziomka
print(f"{time.perf_counter() - start:.3f}", *sorted(sys.modules))
"""


def test_all_names_what_is_public():
    assert dir(poziomka) == poziomka.__all__
    assert all(hasattr(poziomka, name) for name in poziomka.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        poziomka.lod  # noqa: B018 the access is what is tested


def test_type_checkers_see_the_same_names_from_the_same_modules():
    stub = ast.parse(Path(poziomka.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in imports for alias in node.names} == poziomka._PLACES
    (listed,) = [ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)]
    assert listed == poziomka.__all__ == list(poziomka._PLACES)


def test_help_and_star_import_show_every_name():
    shown = pydoc.plain(pydoc.render_doc(poziomka))
    assert [name for name in poziomka.__all__ if name not in shown] == []
    names: dict[str, object] = {}
    exec("from poziomka import *", names)
    assert set(poziomka.__all__) <= names.keys()


def test_the_public_names_are_sorted_and_few():
    assert poziomka.__all__ == sorted(poziomka.__all__)
    assert len(poziomka.__all__) <= 40


def test_every_public_name_is_explained():
    for name in poziomka.__all__:
        value = getattr(poziomka, name)
        explained = inspect.getdoc(value) or ""
        assert explained, f"poziomka.{name} has no docstring"
        assert not explained.startswith(f"{name}("), f"poziomka.{name} has only the docstring that dataclass makes"


def test_every_public_method_is_explained():
    for name in poziomka.__all__:
        value = getattr(poziomka, name)
        methods = vars(value).items() if inspect.isclass(value) else ()
        for method, function in methods:
            if method[0] != "_" and inspect.isfunction(function):
                assert function.__doc__, f"poziomka.{name}.{method} has no docstring"


def test_importing_poziomka_imports_nothing_heavy():
    output = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True).stdout
    seconds, *modules = output.split()
    print(f"import poziomka: {seconds} s, {len(modules)} modules")  # noqa: T201 told, not asserted: machines differ
    assert [name for name in HEAVY if name in modules] == []
