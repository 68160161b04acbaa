"""A run killed at any moment and resumed is, bit for bit, the run that nobody disturbed."""

import random
import re
import shlex
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from poziomka.core.seeds import seed_of

pytestmark = pytest.mark.slow

PLACES = {"checkpoint": "checkpoints", "journal": "journal"}  # where something is being written
FILES = {"measured": "results/frontier.json", "reporting": "results/cost.json", "drawn": "figures"}  # just written


def lines(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def written(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def moment(kind: str, folder: Path, chance: random.Random) -> Callable[[], bool]:
    """Returns a question that is answered yes when the process just started is to be killed."""
    if kind == "line":
        wanted = lines(folder) + chance.randint(1, 6)
        return lambda: lines(folder) >= wanted
    if kind in FILES:
        path = folder / FILES[kind]
        before = written(path)
        return lambda: written(path) > before
    place, left = folder / PLACES[kind], chance.randint(1, 3)  # the first few are let through
    busy = False

    def writing() -> bool:
        nonlocal busy, left
        was, busy = busy, any(place.glob(".tmp-*"))
        left -= busy and not was
        return left <= 0

    return writing


def kill(process, due: Callable[[], bool], how: signal.Signals = signal.SIGKILL, late: float = 0.0) -> bool:
    """Sends a signal `late` seconds after it is due; returns whether the process was still alive then."""
    while process.poll() is None:
        if due():
            time.sleep(late)
            process.send_signal(how)
            return True
        time.sleep(0.0005)
    return False


def survive(launch, folder: Path, kinds: Iterable[str], chance: random.Random) -> list[str]:
    """Kills a run once for each kind of moment, or until it has ended; returns which kills left a file half written."""
    torn, story = [], []
    for kind in kinds:
        process = launch()
        killed = kill(process, moment(kind, folder, chance), late=chance.choice((0.0, chance.uniform(0.0, 0.02))))
        _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), f"{story}\n{errors}"
        if not killed:
            break
        half = [path.parent.name for path in (*folder.glob(".tmp-*"), *folder.glob("*/.tmp-*"))]
        story.append(f"{kind}: killed at {lines(folder)} lines, half written in {half}")
        torn += half
    process = launch()
    _, errors = process.communicate()
    print(*story, sep="\n")  # noqa: T201 shown where the test fails
    assert process.returncode == 0, errors
    return torn


def demand_equal(here: dict[str, object], there: dict[str, object]) -> None:
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []


def test_a_run_killed_while_it_writes_ends_as_if_undisturbed(start, contents, tiny, reference, tmp_path):
    folder = tmp_path / "run"
    chance = random.Random(seed_of("kill", "short"))
    survive(lambda: start("train", tiny, "--run", folder), folder, ["checkpoint", "measured", "journal"], chance)
    demand_equal(contents(folder), contents(reference))


@pytest.mark.soak
def test_a_run_killed_thirty_times_ends_as_if_undisturbed(start, outside, contents, tiny, tmp_path):
    longer = ["--set", "sft.steps=60", "--set", "rl.steps=80"]
    assert outside("train", tiny, "--run", tmp_path / "undisturbed", *longer)[0] == 0
    folder = tmp_path / "run"
    chance = random.Random(seed_of("kill", "soak"))
    kinds = [*(chance.choice(("line", "checkpoint", "journal")) for _ in range(27)), "measured", "reporting", "drawn"]
    torn = survive(lambda: start("train", tiny, "--run", folder, *longer), folder, kinds, chance)
    assert torn.count("checkpoints") >= 3
    demand_equal(contents(folder), contents(tmp_path / "undisturbed"))


def test_the_reference_run_learned_something(contents, reference):
    lines = [line for line in contents(reference)["metrics"] if line["stage"] == "rl"]
    assert sum(line.get("optim/grad_norm", 0.0) > 0 for line in lines) >= 3


def test_ctrl_c_saves_names_the_command_that_resumes_and_the_rest_is_as_if_undisturbed(
    start, outside, contents, tiny, reference, tmp_path
):
    folder = tmp_path / "a run"  # the command must survive a shell
    process = start("train", tiny, "--run", folder)
    assert kill(process, lambda: lines(folder) >= 7, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    named = re.search(r"go on with: poziomka (.+)", errors)
    assert named, errors
    saved = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert saved[-1] == f"step-{lines(folder):06d}"  # the step under way was saved: a line a step till then
    status, _, errors = outside(*shlex.split(named[1]))
    assert status == 0, errors
    demand_equal(contents(folder), contents(reference))


@pytest.mark.parametrize("twice", [False, True])
def test_ctrl_c_where_no_step_is_under_way_or_a_second_one_stops_at_once(start, tiny, tmp_path, twice):
    folder = tmp_path / "run"
    process = start("train", tiny, "--run", folder)
    evaluated = folder / "journal" / "step-000036.parquet"
    assert kill(process, (lambda: lines(folder) >= 7) if twice else evaluated.exists, signal.SIGINT)
    if twice:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert errors.count("\n") == 1
    assert f"go on with: poziomka train --resume {folder}" in errors
    assert not (folder / "report.html").exists()
