"""Where a run came from."""

import subprocess
import sys
from pathlib import Path

from poziomka.runs import provenance as module
from poziomka.runs.provenance import provenance


def test_versions_machine_and_time_are_told():
    told = provenance()
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["torch"]
    assert told["started"].endswith("+00:00")


def test_a_package_that_is_not_installed_has_no_version():
    assert module._version("no-such-package-at-all") is None


def test_the_commit_is_that_of_a_checkout_which_tracks_us(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True)

    git("init", "-q")
    source = tmp_path / Path(module.__file__).name
    source.write_text("")
    assert module._commit(tmp_path) is None
    git("add", source.name)
    git("commit", "-q", "-m", "first")
    assert len(module._commit(tmp_path)) == 40
    source.write_text("changed")
    assert module._commit(tmp_path).endswith("-dirty")


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert module._commit(Path(module.__file__).parent) is None


def test_the_processor_has_a_name_or_none():
    assert module._processor(Path("/no/such/file")) != ""
    assert module._processor() != ""


def test_provenance_imports_no_torch():
    script = "import sys; from poziomka.runs.provenance import provenance; provenance(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
