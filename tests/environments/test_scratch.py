"""Folders of programs are removed, whatever lies in them, in work proportional to it."""

import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from poziomka.environments.sandbox import scratch
from poziomka.environments.sandbox.interpreter import CALL
from poziomka.environments.sandbox.sandlock_interpreter import Sandlock, reason
from poziomka.environments.sandbox.scratch import Scratch

COUNT = 200


@pytest.fixture
def folder():
    """A folder with empty folders, folders that hold one, files, a deep path, and a folder closed to its owner."""
    made = Scratch()
    here = Path(made.path)
    for number in range(COUNT):
        (here / str(number)).mkdir()
        if number % 10 == 0:
            (here / str(number) / "inner").mkdir()
    (here / "file").write_text("x")
    (here / "link").symlink_to("/")
    (here / "/".join("d" * 100)).mkdir(parents=True)
    (here / "1").chmod(0)
    return made


@pytest.mark.fault("E4")
def test_a_folder_of_many_folders_is_removed_by_listing_each_once(folder, monkeypatch):
    listed, listing = [], os.listdir
    monkeypatch.setattr(scratch.os, "listdir", lambda path: listed.extend(listing(path)) or listing(path))
    monkeypatch.setattr(scratch, "PATIENCE", 60.0)
    assert folder.remove()
    assert not Path(folder.path).exists()
    assert len(listed) < 2 * COUNT


@pytest.mark.fault("E4")
def test_a_folder_that_takes_too_long_is_removed_in_the_background(folder, monkeypatch, away):
    monkeypatch.setattr(scratch, "PATIENCE", 0.0)
    assert not folder.remove()
    folder.discard()
    assert away(folder.path)


@pytest.mark.sandbox
@pytest.mark.fault("E4")
@pytest.mark.skipif(bool(reason()), reason=f"sandlock cannot be had: {reason()}")
@pytest.mark.parametrize("step", ["os.mkdir(str(i))", "os.mkdir('d'); os.chdir('d')"])
def test_code_that_makes_folders_without_end_is_at_fault_and_its_folder_goes(step, away):
    interpreter = Sandlock(replace(CALL, seconds=3.0), spare=0)
    console = interpreter.open()
    assert console.run("import os, itertools").fault == ""
    path = console._held.scratch.path
    output = console.run(f"for i in itertools.count(): {step}")
    assert output.lost
    assert "too many files" in output.fault or "longer than" in output.fault
    assert console.run("6 * 7").text == "42\n"
    console.close()
    interpreter.close()
    assert away(path)


@pytest.mark.fault("E4")
def test_a_folder_is_removed_in_the_background_where_no_descriptor_is_free(folder, away, monkeypatch):
    monkeypatch.setattr(scratch, "PAUSE", 0.05)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))  # all of them are taken
        folder.discard()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert away(folder.path)
