"""Facts that are shown on a package which cannot live beside ours: a file of functions, run in its environment.

A test file names the facts, FACTS = "taskset" for tests/adapters/taskset_facts.py, and has one test with the arguments
`told` and `fact`.
"""

import ast
import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENTS = {"taskset": "verifiers", "verifiers": "verifiers_legacy", "gymnasium": "verifiers"}


def pytest_generate_tests(metafunc):
    if "fact" in metafunc.fixturenames:
        metafunc.parametrize("fact", names_of(metafunc.module.FACTS))


def file_of(facts):
    return ROOT / f"tests/adapters/{facts}_facts.py"


def names_of(facts):
    """Names of a file's facts: its functions without arguments."""
    tree = ast.parse(file_of(facts).read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not ast.unparse(node.args)]


@pytest.fixture(scope="module")
def told(request):
    """What each fact raised, or None, told by the environment's own python."""
    facts = request.module.FACTS
    made = Path(".envs") / ENVIRONMENTS[facts] / ".installed"
    if not (ROOT / made).exists():
        pytest.fail(f"{facts} was not shown on the real package: `make peers` builds its environment, or `make {made}`")
    command = [ROOT / made.with_name("bin") / "python", ROOT / "tests/adapters/tell.py", file_of(facts)]
    # bytecode is kept, so that the second time takes half as long
    quiet = {
        "PYTHONDONTWRITEBYTECODE": "",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **quiet}, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
