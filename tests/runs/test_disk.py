"""Full disks, folders that may not be written, and what is left after them."""

import errno
import os
import subprocess
import sys

import pytest

from poziomka.core.errors import RunError
from poziomka.runs import Run
from poziomka.runs.storage.disk import in_words

# A disk of 256 KiB in a mount namespace of its own: a run fills it, then goes on once there is space.
DISK = """
import os, sys
from pathlib import Path
from poziomka.core.errors import RunError
from poziomka.runs import Run
disk = Path(sys.argv[1])
ballast = disk / "ballast"
ballast.write_bytes(bytes(100_000))
run = Run.open(disk / "run", {"seed": 1})
run.log(1, "reinforce", {})
run.save(1, lambda folder: (folder / "weights").write_bytes(bytes(30_000)) and None, {})
for write in (
    lambda: run.save(2, lambda folder: (folder / "weights").write_bytes(bytes(300_000)) and None, {}),
    lambda: run.record("points", {"text": "x" * 300_000}),
    lambda: [run.log(2, "reinforce", {"note": "x" * 1000}) for _ in range(300)],
):
    try:
        write()
    except RunError as error:
        print(error)
run.note("still here")
ballast.unlink()
run.close()
with Run.open(disk / "run", {"seed": 1}) as run:
    print(run.resumed, [line["step"] for line in run.metrics()])
"""


def files(run):
    return sorted(path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*"))


def test_a_full_disk_ends_in_a_sentence_and_the_run_goes_on_once_there_is_space(tmp_path):
    space = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs -o size=256k none "$1" && shift && "$@"',
    ]
    command = [*space, "sh", tmp_path, sys.executable, "-c", DISK, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no disk of our own can be made here: {done.stderr.strip()}")
    save, record, log, resumed = done.stdout.splitlines()
    assert all("no space left on device; what was saved before is intact" in each for each in (save, record, log))
    assert save.startswith("cannot save the checkpoint")
    assert resumed == "1 [1]"


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(run, reopen, weights, limited):
    run.save(1, weights(b"sound"), {})
    before = files(run)
    with limited(4096), pytest.raises(RunError, match=r"cannot save the checkpoint .*file too large"):
        run.save(2, weights(bytes(8192)), {})
    assert files(run) == before
    assert reopen().resumed == 1


def test_a_journal_that_does_not_fit_leaves_nothing(run, rollout, limited):
    before = files(run)
    with limited(4096), pytest.raises(RunError, match=r"cannot write the journal .*step-000001.parquet"):
        run.keep("step-000001", [[rollout(f"r{i}") for i in range(100)]], step=1)
    assert files(run) == before


def test_a_line_that_does_not_fit_is_taken_back_whole(run, limited):
    run.log(1, "reinforce", {})
    with limited(200), pytest.raises(RunError, match=r"cannot write .*metrics.jsonl: file too large"):
        run.log(2, "reinforce", {"note": "x" * 500})
    run.log(3, "reinforce", {})
    assert [line["step"] for line in run.metrics()] == [1, 3]
    assert run.notes == []


def test_a_note_that_does_not_fit_is_still_said(run, limited):
    with limited(10):
        run.note("the disk is full")
    assert run.notes == ["the disk is full"]
    assert (run.folder / "notes.log").read_text() == ""


def test_a_full_device_is_said(run):
    (run.folder / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match="no space left on device; what was saved before is intact"):
        run.log(1, "reinforce", {})


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk quota exceeded; .* free some space"),
        (PermissionError(errno.EACCES, "Permission denied"), "permission denied; choose a folder"),
        (OSError(errno.EIO, "Input/output error"), "input/output error; check the path and the disk"),
        (OSError("vanished"), "vanished; check"),
        # What safetensors and torch really say on a full disk; neither raises OSError.
        (
            Exception("I/O error: No space left on device (os error 28)"),
            "os error 28.; what was saved before is intact",
        ),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), "the disk has space"),
    ],
)
def test_every_failed_write_is_one_sentence(error, words):
    with pytest.raises(RunError, match=f"^cannot do it: .*{words}"), in_words("do it"):
        raise error


def test_a_bug_is_no_failed_write():
    with pytest.raises(KeyError), in_words("do it"):
        raise KeyError


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_of_somebody_else_is_refused(tmp_path):
    script = "import os; from poziomka.runs import Run; os.setuid(65534); "
    script += f"Run.open({str(tmp_path / 'run')!r}, {{'seed': 1}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "permission denied; choose a folder that you may write to" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_system_that_refuses_a_folder_is_one_sentence(recipe):
    with pytest.raises(RunError, match="cannot write the run"):
        Run.open("/proc/poziomka", recipe)
