"""Attempts under way are recorded turn by turn, and continue after a kill -9 as if there had been none."""

import asyncio
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from poziomka.core.errors import EnvironmentFailure, RunError
from poziomka.core.problem import Verdict
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Span, Transcript
from poziomka.runs.storage.turns import RecordedSampler, TurnLog
from poziomka.testing import ScriptedSampler

ATTEMPTS = Path(__file__).with_name("attempts.py")
rollouts_of = runpy.run_path(str(ATTEMPTS))["rollouts_of"]
QUESTION = Transcript((Span(Author.USER, " q"),))
RECIPE = {"seed": 1}


def ask(sampler, transcript=QUESTION, **sampling):
    return asyncio.run(sampler.extend(transcript, SamplingParams(**sampling)))


def recorded(path, script, recipe=None):
    return RecordedSampler(ScriptedSampler(script), TurnLog(path, recipe or RECIPE))


def lines_of(path):
    return path.read_bytes().splitlines() if path.exists() else []


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "x.turns.jsonl"


def test_a_recorded_reply_is_returned_and_not_sampled(path):
    with (first := recorded(path, [" one", " two"])).log:
        reply = ask(first, seed=3)
        longer = reply + Span(Author.ENVIRONMENT, " said")
        second = ask(first, longer, seed=3)
    with (again := recorded(path, [" other"])).log:
        assert ask(again, seed=3) == reply
        assert ask(again, longer, seed=3) == second
        assert again.sampler.requests == []
        assert ask(again, second, seed=3).text.endswith(" other")


def test_requests_are_told_apart_by_their_seeds(path):
    with (first := recorded(path, [" one", " two"])).log:
        ask(first, seed=1)
    with (again := recorded(path, [" other"])).log:
        assert ask(again, seed=2).text == " q other"
        assert ask(again, seed=1).text == " q one"


@pytest.mark.parametrize("change", ["environment", "feedback", "sampling"])
def test_a_replay_that_differs_is_an_error_of_the_environment(path, change):
    with (first := recorded(path, [" one", " two"])).log:
        reply = ask(first, seed=3)
        ask(first, reply + Span(Author.ENVIRONMENT, " said"), seed=3)
    with (again := recorded(path, [" other"])).log:
        ask(again, seed=3)
        said = Span(Author.ENVIRONMENT, " lied" if change == "environment" else " said")
        if change == "feedback":
            said = Span(Author.ENVIRONMENT, " said", feedback="better")
        with pytest.raises(EnvironmentFailure):
            ask(again, reply + said, seed=3, max_tokens=9 if change == "sampling" else 512)


def test_clock_readings_do_not_matter(path):
    with (first := recorded(path, [" one", " two"])).log:
        reply = ask(first, seed=3)
        second = ask(first, reply + Span(Author.ENVIRONMENT, " said", seconds=1.0), seed=3)
    with (again := recorded(path, [" other"])).log:
        ask(again, seed=3)
        found = ask(again, reply + Span(Author.ENVIRONMENT, " said", seconds=2.0), seed=3)
    assert found.text == second.text


@pytest.mark.parametrize("cut", [1, 10, 1000])
def test_a_torn_last_line_is_written_again(path, cut):
    with (first := recorded(path, [" one", " two"])).log:
        ask(first, seed=1)
        ask(first, seed=2)
    whole = path.read_bytes()
    *before, last = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(before) + last[: -min(cut, len(last) - 1)])
    with (again := recorded(path, [" two"])).log:
        assert set(again.log.known) == {(1, 0)}
        ask(again, seed=2)
    assert len(lines_of(path)) == len(whole.splitlines())
    assert json.loads(lines_of(path)[-1])["seed"] == 2


TURN = {"seed": 1, "turn": 0, "request": "", "kept": 0, "tokenizer": None, "spans": [], "seconds": []}
WRONG = [{"seed": []}, {"turn": {}}, {"kept": "a"}, {"spans": 5}, {"spans": [{}]}, {"seconds": ["x"], "spans": [{}]}]


@pytest.mark.parametrize(
    "damage", [b"{", b"[]", b"{}", b"\xff", *(json.dumps(TURN | wrong).encode() for wrong in WRONG)]
)
def test_a_damaged_line_before_the_last_is_an_error(path, damage):
    with (first := recorded(path, [" one", " two"])).log:
        ask(first, seed=1)
        ask(first, seed=2)
    head, _, last = lines_of(path)
    path.write_bytes(b"\n".join([head, damage, last]) + b"\n")
    with pytest.raises(RunError):
        TurnLog(path, RECIPE)


def test_other_settings_and_a_second_process_are_refused(path):
    with TurnLog(path, RECIPE), pytest.raises(RunError, match="another process"):
        TurnLog(path, RECIPE)
    with pytest.raises(RunError, match="other settings"):
        TurnLog(path, {"seed": 2})
    with TurnLog(path, RECIPE) as log:
        log.delete()
    assert not path.exists()


@pytest.mark.parametrize("content", [b"a line that is not finished", b'{"schema_version": 1}\n{"unfinished'])
def test_another_file_of_that_name_is_refused_and_stays_as_it_is(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(RunError):
        TurnLog(path, RECIPE)
    assert path.read_bytes() == content


def test_a_first_line_that_a_kill_cut_off_is_written_again(path):
    TurnLog(path, RECIPE).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    TurnLog(path, RECIPE).close()
    assert path.read_bytes() == whole


def test_a_pipe_is_refused_and_not_waited_for(path):
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(RunError):
        TurnLog(path, RECIPE)


def test_a_forked_child_does_not_keep_the_lock(path):
    log = TurnLog(path, RECIPE)
    closed = multiprocessing.get_context("fork").Queue()
    child = multiprocessing.get_context("fork").Process(target=lambda: closed.put(log._file.closed))
    child.start()
    assert closed.get(timeout=60)
    child.join()
    log.close()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["single", "majority:2/compaction:12"])
def test_attempts_that_were_killed_end_bit_for_bit_as_those_that_were_not(tmp_path, strategy):
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    expected = rollouts_of(whole, strategy)
    total = len(lines_of(whole))
    for hang in (total // 4, total // 2):
        command = [sys.executable, ATTEMPTS, killed, strategy, str(hang)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "waiting\n"
            process.kill()  # SIGKILL
        assert hang <= len(lines_of(killed)) < total
    assert rollouts_of(killed, strategy) == expected
    assert len(lines_of(killed)) == total


@pytest.mark.slow
def test_an_environment_that_does_not_repeat_itself_is_a_failed_check_of_those_attempts(tmp_path):
    path = tmp_path / "turns.jsonl"
    honest = rollouts_of(path, "single")
    found = rollouts_of(path, "single", lie=True)
    changed = [one for one, other in zip(found, honest, strict=True) if one != other]
    assert changed
    replayed = [rollout for rollout in changed if rollout.score.verdict is Verdict.ERROR]
    assert replayed
    assert all("differs from what was recorded" in rollout.score.why for rollout in replayed)
    for one, other in zip(found, honest, strict=True):
        if len(other.transcript.heard) < 2:  # the lie came after what was recorded, or never
            assert one == other
