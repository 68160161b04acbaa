"""What `import poziomka` promises: few names, each explained, and no heavy import."""

import inspect
import subprocess
import sys
from types import ModuleType

import poziomka

HEAVY = ("torch", "numpy", "scipy", "pandas", "pyarrow", "matplotlib", "tokenizers", "safetensors", "rich")
IMPORT = """
import sys, time
start = time.perf_counter()
import poziomka
print(f"{time.perf_counter() - start:.3f}", *sorted(sys.modules))
"""


def test_all_names_what_is_public():
    public = [name for name, value in vars(poziomka).items() if name[0] != "_" and not isinstance(value, ModuleType)]
    assert sorted(poziomka.__all__) == sorted(public)


def test_the_public_names_are_sorted_and_few():
    assert poziomka.__all__ == sorted(poziomka.__all__)
    assert len(poziomka.__all__) <= 16


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
