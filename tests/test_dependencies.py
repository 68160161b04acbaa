"""What is imported is declared, and what is declared is pinned."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BASE = [Requirement(text) for text in PROJECT["dependencies"]]
EXTRAS = {
    Requirement(text) for name, texts in PROJECT["optional-dependencies"].items() if name != "dev" for text in texts
}
ELSEWHERE = {"verifiers"}  # libraries that adapters import, in environments of their own
UNLIKE = {"llama_cpp": "llama-cpp-python"}  # import names of extras that are not installed here
DEV = [Requirement(text) for text in PROJECT["optional-dependencies"]["dev"]]
PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[\w.]+)")


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    found = [PIN.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(found), "every line of requirements.lock is name==version"
    return {match["name"]: match["version"] for match in found}


def imported(package: Path) -> set[str]:
    """The packages of others that ours imports, by the names they are imported under."""
    names = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"poziomka"} - ELSEWHERE


def test_what_is_imported_is_declared():
    declared = {canonicalize_name(requirement.name) for requirement in [*BASE, *EXTRAS]}
    homes = packages_distributions()
    for name in sorted(imported(ROOT / "poziomka")):
        owners = {canonicalize_name(owner) for owner in homes.get(name, [UNLIKE.get(name, name)])}
        assert owners & declared, f"poziomka imports {name}; declare one of {sorted(owners)} in pyproject.toml"


def test_what_is_declared_is_pinned_within_its_range():
    locked = pins()
    for requirement in [*BASE, *DEV]:
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{name} is declared but requirements.lock has no pin"
        assert requirement.specifier.contains(locked[name]), f"{name}=={locked[name]} is outside {requirement}"


def test_every_range_has_a_floor_and_no_pin():
    for requirement in [*BASE, *DEV, *EXTRAS]:
        assert {clause.operator for clause in requirement.specifier} == {">="}, str(requirement)


def test_a_planted_import_is_found(tmp_path):
    (tmp_path / "a.py").write_text("import json, numpy.linalg\ndef f():\n    from scipy import stats\n")
    assert imported(tmp_path) == {"numpy", "scipy"}
