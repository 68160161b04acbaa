"""A run killed at any moment and resumed is, bit for bit, the run that nobody disturbed."""

import random
import re
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from poziomka.core.seeds import seed_of

PLACES = {"checkpoint": "checkpoints", "journal": "journal", "results": "results"}  # where something is being written
FILES = {"measured": "results/frontier.json", "reporting": "results/cost.json", "drawn": "figures"}  # just written
KINDS = (*PLACES, *FILES, "line", "time")


def lines(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def written(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def moment(kind: str, folder: Path, chance: random.Random) -> Callable[[], bool]:
    """Returns a question that is answered yes when the process just started is to be killed."""
    if kind == "time":
        end = time.monotonic() + chance.uniform(0.5, 8.0)
        return lambda: time.monotonic() > end
    if kind == "line":
        wanted = lines(folder) + chance.randint(1, 12)
        return lambda: lines(folder) >= wanted
    if kind in FILES:
        path = folder / FILES[kind]
        before = written(path)
        return lambda: written(path) > before
    place, left = folder / PLACES[kind], chance.randint(1, 4)  # the first few are let through
    busy = False

    def writing() -> bool:
        nonlocal busy, left
        was, busy = busy, any(place.glob(".tmp-*"))
        left -= busy and not was
        return left <= 0

    return writing


def kill(process, due: Callable[[], bool], how: signal.Signals = signal.SIGKILL) -> bool:
    """Sends a signal when it is due; returns whether the process was still alive then."""
    while process.poll() is None:
        if due():
            process.send_signal(how)
            return True
        time.sleep(0.0005)
    return False


def survive(start, contents, tiny, folder: Path, kinds: list[str], name: str) -> dict[str, object]:
    """Runs a recipe through one kill of each kind, then to its end; returns what its folder holds."""
    chance = random.Random(seed_of("kill", name))
    story = []
    for kind in kinds:
        process = start("train", tiny, "--run", folder)
        killed = kill(process, moment(kind, folder, chance))
        _, errors = process.communicate(timeout=300)
        story.append(f"{kind}: {'killed' if killed else 'ended'} with {process.returncode} at {lines(folder)} lines")
        assert process.returncode in (0, -signal.SIGKILL), f"{story}\n{errors}"
    process = start("train", tiny, "--run", folder)
    _, errors = process.communicate(timeout=300)
    print(*story, sep="\n")  # noqa: T201 shown where the test fails
    assert process.returncode == 0, errors
    return contents(folder)


def demand_equal(here: dict[str, object], there: dict[str, object]) -> None:
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []


def test_a_run_killed_while_it_writes_ends_as_if_undisturbed(start, contents, tiny, reference, tmp_path):
    kinds = ["checkpoint", "measured", "journal"]
    here = survive(start, contents, tiny, tmp_path / "run", kinds, "short")
    demand_equal(here, contents(reference))


@pytest.mark.soak
@pytest.mark.parametrize("number", range(3))
def test_a_run_killed_ten_times_ends_as_if_undisturbed(start, contents, tiny, reference, tmp_path, number):
    chance = random.Random(seed_of("kinds", number))
    kinds = [chance.choice(KINDS) for _ in range(10)]
    here = survive(start, contents, tiny, tmp_path / "run", kinds, f"soak {number}")
    demand_equal(here, contents(reference))


def test_the_reference_run_learned_something(contents, reference):
    lines = [line for line in contents(reference)["metrics"] if line["stage"] == "reinforce"]
    assert sum(line.get("policy/grad_norm", 0.0) > 0 for line in lines) >= 3


def test_ctrl_c_saves_names_the_command_that_resumes_and_the_rest_is_as_if_undisturbed(
    start, outside, contents, tiny, reference, tmp_path
):
    folder = tmp_path / "a run"  # the command must survive a shell
    process = start("train", tiny, "--run", folder)
    assert kill(process, lambda: lines(folder) >= 7, signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    named = re.search(r"go on with: poziomka (.+)", errors)
    assert named, errors
    saved = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert saved[-1] == f"step-{lines(folder):06d}"  # the step under way was saved: a line a step till then
    status, _, errors = outside(*shlex.split(named[1]))
    assert status == 0, errors
    demand_equal(contents(folder), contents(reference))
