"""A recipe that ends within seconds, the command line in a process of its own and in this one, and a finished run."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from poziomka.cli.main import main

# Direct answers only, so that guesses are sometimes right and reinforcement has something to learn from.
TINY = """
name = "tiny"
threads = 1
save_every = 2
[model]
width = 32
layers = 1
heads = 2
[warm_start]
updates = 24
[warm_start.lessons]
tokens = 200
skill_share = 0.0
direct_share = 1.0
[warm_start.learner.optimizer]
rate = 0.01
warmup = 5
decay = 0.5
floor = 0.05
[gate]
margin = -1.0
problems = 10
[reinforce]
steps = 12
problems = 8
attempts = 16
tokens = 12
budget = 8
[reinforce.learner.optimizer]
rate = 0.003
[evaluate]
budgets = [2, 4, 8]
problems = 10
attempts = 2
votes = [1, 2]
vote_problems = 10
curve_problems = 10
every = 4
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """The path of the recipe."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen]:
    """Starts `poziomka …` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "120"}

    def start(*arguments: object, **more: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "poziomka", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, **more)

    return start


@pytest.fixture(scope="session")
def outside(start) -> Callable[..., tuple[int, str, str]]:
    """Runs `poziomka …` in a process of its own; returns exit status, standard output, standard error."""

    def outside(*arguments: object, **more: object) -> tuple[int, str, str]:
        process = start(*arguments, **more)
        output, errors = process.communicate()
        return process.returncode, output, errors

    return outside


@pytest.fixture
def poziomka(capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs `poziomka …` in this process; returns exit status, standard output, standard error."""

    def poziomka(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return poziomka


@pytest.fixture(scope="session")
def reference(tiny, outside, tmp_path_factory) -> Path:
    """The folder of a run that nobody disturbed; look, and do not touch."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    status, _, errors = outside("train", tiny, "--run", folder)
    assert status == 0, errors
    return folder


@pytest.fixture
def finished(reference, tmp_path) -> Path:
    """A copy of the finished run, to do harm to."""
    return Path(shutil.copytree(reference, tmp_path / "finished"))


def without_clock(values: object) -> object:
    """Plain values without whatever a clock said."""
    if isinstance(values, dict):
        return {name: without_clock(value) for name, value in values.items() if not is_clock(name)}
    return [without_clock(value) for value in values] if isinstance(values, list) else values


def is_clock(name: str) -> bool:
    return name.startswith("time/") or name == "seconds"


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, object]]:
    """Returns what a run's folder holds, by file, clock readings and reports apart."""

    def contents(folder: Path) -> dict[str, object]:
        found: dict[str, object] = {"recipe": (folder / "recipe.toml").read_bytes()}
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        found["metrics"] = [without_clock(json.loads(line)) for line in lines]
        for path in sorted((folder / "journal").iterdir()):
            found[f"journal/{path.name}"] = pq.read_table(path).drop_columns(["seconds"]).to_pylist()
        for path in sorted((folder / "results").iterdir()):
            found[f"results/{path.name}"] = without_clock(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted((folder / "checkpoints").rglob("*")):
            name = path.relative_to(folder).as_posix()
            if ".damaged" in name:
                continue
            if path.name == "state.json":
                found[name] = without_clock(json.loads(path.read_text(encoding="utf-8")))
            elif path.is_file() and path.name != "manifest.json":  # it holds a checksum of state.json
                found[name] = path.read_bytes()
        return found

    return contents


@pytest.fixture(scope="session")
def bytes_of() -> Callable[[Path], dict[str, bytes]]:
    """Returns every file below a folder, byte for byte."""

    def bytes_of(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return bytes_of
