"""`poziomka evaluate` with an environment, killed in the middle of attempts: the same command continues them."""

import json
import signal
from pathlib import Path

import pytest

import poziomka as pz
from poziomka.models.checkpoints.weights import build_model, save_model
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.runs.run import Run

pytestmark = pytest.mark.slow

OWN = """
import os
import signal
from pathlib import Path

import poziomka as pz
from poziomka.core.environment import Reply

REPLIES = []

class Talk:
    stop = ("a",)

    def open(self, problem):
        return self

    async def reply(self, transcript):
        REPLIES.append(1)
        if Path("die").exists() and len(REPLIES) == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        heard = len(transcript.heard)
        letter = "b" if Path("lie").exists() else "ab"[len(transcript.tokens) % 2]
        return Reply(pz.Span(pz.Author.ENVIRONMENT, f" {letter}"), done=heard == 5)

    def fork(self):
        return self

    def close(self):
        pass

talk = pz.Task(
    "talk",
    lambda split, index, level: pz.Problem.ask("talk", f"{split}{index}", " a b", "x"),
    lambda problem, transcript: len(transcript.heard) / 6,
    environment=lambda problem: Talk(),
    symbols=("a", "b"),
    trusted=True,
)
"""


def new_model(seed):
    tokenizer = Tokenizer.of_symbols(("a", "b"))
    Path("model").mkdir(exist_ok=True)
    model = build_model("transformer", TransformerSettings(width=16, layers=1, heads=2), len(tokenizer), seed)
    save_model(Path("model"), model, tokenizer)


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    new_model(seed=0)
    return ["evaluate", "model", "--task", "own.py:talk", "--problems", "32", "--max-tokens", "40"]


def attempts(folder):
    groups = Run.read(Path(folder)).journal("test").groups
    return [(rollout.transcript.tokens, rollout.score) for group in groups for rollout in group]


def test_it_continues_from_the_last_finished_turns(poziomka, start, command):
    assert poziomka(*command, "--out", "whole")[0] == 0
    assert not Path("whole.turns.jsonl").exists()
    Path("die").touch()
    process = start(*command, "--out", "killed")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not Path("killed").exists()
    turns = Path("killed.turns.jsonl").read_bytes().splitlines()
    assert len(turns) > 20
    Path("die").unlink()
    status, output, errors = poziomka(*command, "--out", "killed", "--json")
    assert status == 0, errors
    assert json.loads(output)["problems"] == 32
    assert not Path("killed.turns.jsonl").exists()
    assert attempts("killed") == attempts("whole")


def test_an_environment_that_says_something_else_after_the_kill_is_reported(poziomka, start, command):
    Path("die").touch()
    start(*command, "--out", "killed").communicate()
    Path("die").unlink()
    Path("lie").touch()
    status, _, errors = poziomka(*command, "--out", "killed")
    assert status == 0, errors
    failed = [score for _, score in attempts("killed") if score.verdict is pz.Verdict.ERROR]
    assert 0 < len(failed) < 32
    assert all("differs from what was recorded" in score.why for score in failed)


def test_other_settings_do_not_continue_it(poziomka, start, command):
    Path("die").touch()
    start(*command, "--out", "killed").communicate()
    Path("die").unlink()
    new_model(seed=1)
    for other in (["--temperature", "0.5"], []):
        status, _, errors = poziomka(*command, "--out", "killed", *other)
        assert status == 2
        assert "other settings" in errors


def test_the_folder_may_be_the_present_one(poziomka, command, monkeypatch):
    model, task = (str(Path(name).absolute()) for name in ("model", "own.py"))
    Path("empty").mkdir()
    monkeypatch.chdir("empty")
    assert poziomka("evaluate", model, "--task", f"{task}:talk", *command[4:], "--out", ".")[0] == 0
    assert attempts(".")
