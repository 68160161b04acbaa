"""kill -9 at random moments: what was saved is sound, and the run ends as if it had not been killed."""

import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from poziomka.core.seeds import random_of
from poziomka.runs import Run

pytestmark = pytest.mark.slow

LOOP = Path(__file__).with_name("loop.py")
STEPS = 40


def command(folder):
    return [sys.executable, LOOP, folder, str(STEPS)]


def kill_after(folder, said, pause):
    """Kills the loop once it has said so many lines and `pause` seconds have passed; returns all that it said."""
    with subprocess.Popen(command(folder), stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(said)]
        time.sleep(pause)
        process.kill()
        return [int(line) for line in (*lines, *process.stdout) if line.strip()]


def traces(folder):
    """All that two runs must agree on: metrics, journal but for its clock, weights and state at the end."""
    run = Run.read(folder)
    tables = {path.name: pq.read_table(path).drop_columns("seconds") for path in run.journals()}
    latest = run.latest()
    return run.metrics(), tables, latest.step, latest.state, (latest.folder / "weights").read_bytes()


def kill_until_done(folder, kills, name):
    """Kills the loop at moments that `name` draws, then lets it end; returns the steps it went on from."""
    random, resumed = random_of("kill", name), [0]
    for _ in range(kills):
        said = random.randrange(6)  # 0: while it opens the folder
        resumed += kill_after(folder, said, random.uniform(0.0, 0.02 if said else 0.3))[:1]
        if (folder / "recipe.toml").exists():
            run = Run.read(folder)
            latest = run.latest()
            assert run.notes == []  # nothing is damaged, not even the newest
            assert latest is None or latest.step >= resumed[-1]
    done = subprocess.run(command(folder), capture_output=True, text=True, check=True)
    return [*resumed, int(done.stdout.split()[0])]


def test_a_killed_run_ends_as_one_that_was_not(tmp_path):
    kill_until_done(tmp_path / "whole", 0, "whole")
    resumed = kill_until_done(tmp_path / "killed", 10, "killed")
    assert resumed == sorted(resumed)
    assert resumed[-1] > 0
    assert traces(tmp_path / "killed") == traces(tmp_path / "whole")


@pytest.mark.soak
@pytest.mark.parametrize("name", range(10))
def test_many_killed_runs_end_as_one_that_was_not(tmp_path, name):
    kill_until_done(tmp_path / "whole", 0, "whole")
    kill_until_done(tmp_path / "killed", 20, name)
    assert traces(tmp_path / "killed") == traces(tmp_path / "whole")
