"""What users install: the wheel has every module and works in an environment that never saw this repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.wheel

IMPORT_ALL = """
import importlib, pkgutil, poziomka
for module in pkgutil.walk_packages(poziomka.__path__, "poziomka."):
    importlib.import_module(module.name)
print(poziomka.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the sources, without the network."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("poziomka", "recipes"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation"], source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory) -> Path:
    """The programs of an environment with the wheel in it; what the wheel depends on is borrowed from ours."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    command = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet"]
    run([*command, "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)], folder)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return programs


def run(arguments: list[str], folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    answer = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    return answer.stdout


def test_the_wheel_has_every_module_and_page_the_licence_and_the_types(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    needed = [path for kind in ("py", "html", "css", "js") for path in (ROOT / "poziomka").rglob(f"*.{kind}")]
    assert {path.relative_to(ROOT).as_posix() for path in needed} <= inside
    assert "poziomka/py.typed" in inside
    assert any(name.endswith("/LICENSE") for name in inside)


def test_the_wheel_has_nothing_but_the_package(wheel):
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".data/data/share/poziomka/recipes/" not in name]
    assert {top for top in (name.split("/")[0] for name in names) if not top.endswith(".dist-info")} == {"poziomka"}


def test_every_module_of_the_wheel_imports(clean, tmp_path):
    where = Path(run([str(clean / "python"), "-c", IMPORT_ALL], tmp_path).strip())
    assert where.is_relative_to(clean.parent)


def test_the_command_of_the_wheel_answers(clean, tmp_path):
    assert "train" in run([str(clean / "poziomka"), "--help"], tmp_path)


@pytest.mark.fault("C9")
def test_recipes_of_the_wheel_are_listed_and_found_by_their_names(clean, tmp_path):
    listed = run([str(clean / "poziomka"), "recipes"], tmp_path)
    assert {"recurrence", "sums"} <= {line.split(" ")[0] for line in listed.splitlines()}
    assert 'task = "small_sums"' in run([str(clean / "poziomka"), "train", "sums", "--dry-run"], tmp_path)
