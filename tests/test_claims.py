"""The package's descriptions name only what the package can do today."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# a claim, and the file or folder without which it is not true
CLAIMS = {
    r"\b[Ss]erv(e|es|ing)\b(?! and judged)": "poziomka/serving",
    r"\bclusters?\b": "poziomka/distributed",
    r"\bGPUs?\b": "poziomka/models/device.py",
}
SCREEN = 45  # lines of README that a visitor sees first
PLACES = ("benchmarks", "docs", "examples", "poziomka", "recipes", "tests")
WRITTEN = (".json", ".md", ".py", ".toml", ".txt", ".lock")


def untrue(text: str) -> list[str]:
    """Returns the claims in a text that the package does not keep."""
    return [claim for claim, needs in CLAIMS.items() if re.search(claim, text) and not (ROOT / needs).exists()]


def help_text() -> str:
    command = [sys.executable, "-m", "poziomka", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def description() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["description"]


def first_screen() -> str:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:SCREEN]
    return "\n".join(line for line in lines if "not yet" not in line)


@pytest.mark.fault("D3")
@pytest.mark.parametrize("text", [description, help_text, first_screen])
def test_a_description_claims_what_is_true(text):
    assert untrue(text()) == []


def test_a_planted_claim_is_caught():
    assert len(untrue("Serves models on GPUs, on a cluster.")) == 3


def test_a_file_of_the_repository_names_no_folder_of_the_machine_it_was_made_on():
    folder = re.compile(r"""(?<=["'`\s:=])/(work|root|home|Users)/\w""")
    written = [path for place in PLACES for path in sorted((ROOT / place).rglob("*")) if path.suffix in WRITTEN]
    assert written
    assert [str(path) for path in written if folder.search(path.read_text(encoding="utf-8"))] == []
