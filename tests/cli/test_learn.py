"""`poziomka learn`: a finished run takes one more step, from replies that it served and somebody judged later."""

import json
from dataclasses import replace

import pytest

from poziomka.app.build import load
from poziomka.core.rollouts.collect import collect
from poziomka.core.sampler import SamplingParams
from poziomka.runs import Run
from poziomka.runs.storage.journal import write_journal


@pytest.fixture
def served(finished, tmp_path):
    """Writes a journal of unjudged replies and a file of scores; returns both, and how many replies there are."""
    _, task, sampler = load(finished)
    problems = task.take("train", 500, 6)
    groups = collect(
        sampler, task, problems, SamplingParams(max_tokens=12, max_thinking_tokens=8), attempts=6, name="served"
    )
    bare = [
        [replace(rollout, branches=(replace(rollout.branches[0], score=None),)) for rollout in group]
        for group in groups
    ]
    write_journal(tmp_path / "served.parquet", bare)
    lines = [
        {"id": rollout.id, "reward": float(number < 3), "why": "somebody said so"}
        for group in groups
        for number, rollout in enumerate(group)
    ]
    scores = tmp_path / "scores.jsonl"
    scores.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return tmp_path / "served.parquet", scores, len(lines)


def test_a_run_takes_a_step_from_what_was_judged_later(poziomka, finished, served):
    journal, scores, count = served
    before = Run.read(finished).latest()
    status, output, errors = poziomka("learn", finished, "--from", journal, "--scores", scores)
    assert status == 0, errors
    run = Run.read(finished)
    step = before.step + 1
    assert f"learned from {count} rollouts (mean reward 0.50" in output
    assert f"the run stands at step-{step:06d}" in output
    assert run.latest().step == step
    line = run.metrics()[-1]
    assert (line["stage"], line["step"]) == ("learn", step)
    assert line["policy/age_most"] == 0
    assert len(run.journal(f"step-{step:06d}").rollouts) == count
    weights = (before.folder / "model.safetensors").read_bytes()
    assert (run.latest().folder / "model.safetensors").read_bytes() != weights


def test_the_run_is_still_a_run_afterwards(poziomka, finished, served):
    journal, scores, _ = served
    assert poziomka("learn", finished, "--from", journal, "--scores", scores)[0] == 0
    for command in (["train", "--resume", finished], ["report", finished], ["show", finished, "--step", "37"]):
        status, _, errors = poziomka(*command)
        assert status == 0, errors
    assert poziomka("evaluate", finished, "--problems", "10")[1].splitlines()[0].count("step-000037") == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "no rollout is left; 36 of 36 rollouts left out: not judged yet"),
        (["--scores", "none.jsonl"], "cannot read the scores none.jsonl"),
        (["--mismatch", "-1"], "learn.mismatch must be at least 0"),
        (["--from", "none.parquet"], "there is no journal none.parquet"),
    ],
)
def test_what_cannot_be_learned_from_is_one_sentence_and_changes_nothing(poziomka, finished, served, more, words):
    before = Run.read(finished).latest().step
    status, _, errors = poziomka("learn", finished, "--from", served[0], *more)
    assert status == 2
    announced = [line for line in errors.splitlines() if line.endswith("…")]
    assert set(announced) <= {"learning from 36 rollouts …"}
    (refusal,) = errors.splitlines()[len(announced) :]
    assert words in refusal
    assert Run.read(finished).latest().step == before


def test_scores_of_nobody_are_said(poziomka, finished, served):
    journal, scores, _ = served
    with scores.open("a", encoding="utf-8") as file:
        file.write('{"id": "nobody", "reward": 1}\n{"id": "somebody", "reward": 7}\n')
    output = poziomka("learn", finished, "--from", journal, "--scores", scores)[1]
    assert "('nobody') was not in the journal" in output
    assert "must be below 1: received 7" in output
