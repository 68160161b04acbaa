"""Tasks from Python files of yours: FILE.py:NAME and package.module:NAME."""

import sys
from textwrap import dedent

import pytest

from poziomka.core.errors import TaskError
from poziomka.tasks import about, files_of, is_task, task_named

CLOCK = """
    from dataclasses import dataclass

    import poziomka as pz
    from beside import HOURS

    @dataclass(frozen=True)
    class Hour:  # dataclasses look their module up in sys.modules
        number: int

    def generate(rng):
        hour = Hour(rng.randrange(HOURS))
        return pz.Problem(f"{hour.number} + 1?", str(hour.number + 1))

    clock = pz.Task("clock", generate, pz.exact(pz.number))

    def make():
        return pz.Task("made", generate, pz.exact(pz.number))

    number = 3

    def broken():
        raise KeyError("no")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "clock.py").write_text(dedent(CLOCK))
    (tmp_path / "beside.py").write_text("HOURS = 24000\n")
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "clocks.py").write_text(dedent(CLOCK))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("beside", "own_package", "own_package.clocks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("clock.py:clock", "clock"),
        ("clock.py", "clock"),
        ("clock.py:make", "made"),
        ("own_package.clocks:clock", "clock"),
        ("own_package.clocks:make", "made"),
    ],
)
def test_a_task_in_a_file_is_named_like_any_other(folder, name, task):
    assert is_task(name)
    assert task_named(name).name == task
    assert task_named(name).problem("test", 0) == task_named(name).problem("test", 0)
    assert name in about(name)


def test_the_file_of_a_name_is_known_for_its_digest(folder):
    assert [path.name for path in files_of("clock.py:clock")] == ["clock.py"]
    assert [path.name for path in files_of("own_package.clocks:clock")] == ["clocks.py"]
    assert files_of("own_package.nowhere:clock") == []


def test_a_file_that_changed_is_run_anew(folder):
    assert task_named("clock.py:clock").name == "clock"
    path = folder / "clock.py"
    path.write_text(path.read_text().replace('Task("clock"', 'Task("watch"'))
    assert task_named("clock.py:clock").name == "watch"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:clock", r"there is no file nowhere\.py: name it FILE\.py:NAME"),
        ("clock.py:clok", r"there is no 'clok' in clock\.py; did you mean 'clock'"),
        ("clock.py:number", r"clock\.py:number is a int, not a Task"),
        ("clock.py:broken", r"clock\.py:broken cannot be run: KeyError: 'no' \(line \d+\)"),
        ("own_package.nowhere:clock", r"own_package\.nowhere cannot be run: ModuleNotFoundError"),
        ("own_package:clock", "there is no 'clock' in own_package"),
        ("sums:clock", "unknown task 'sums:clock'"),
    ],
)
def test_what_a_name_cannot_be_is_one_sentence(folder, name, message):
    with pytest.raises(TaskError, match=message):
        task_named(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", r"bad\.py cannot be run: SyntaxError: .* \(line 1\)"),
        ("\nimport nowhere_at_all", r"ModuleNotFoundError: .* \(line 2\)"),
        ("raise SystemExit(3)", r"SystemExit: 3 \(line 1\)"),
        ("x = 1", r"bad\.py defines no Task"),
    ],
)
def test_a_file_that_cannot_be_run_says_where(folder, text, message):
    (folder / "bad.py").write_text(text)
    with pytest.raises(TaskError, match=message):
        task_named("bad.py")


def test_a_file_with_two_tasks_is_asked_which(folder):
    (folder / "two.py").write_text((folder / "clock.py").read_text() + "\nsecond = make()\n")
    with pytest.raises(TaskError, match=r"two\.py defines the tasks clock, second"):
        task_named("two.py")


@pytest.mark.parametrize("kind", ["verifiers", "taskset"])
def test_an_adapter_without_its_library_says_what_to_do(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "verifiers", None)
    with pytest.raises(TaskError, match=rf"the task {kind}:words cannot be loaded .*install verifiers"):
        task_named(f"{kind}:words")
