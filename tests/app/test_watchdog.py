"""When nothing is logged, a line says which part waits for what; the run is not touched by it."""

import asyncio
import threading
import time
from pathlib import Path
from threading import Event

import pytest
import torch

from poziomka.app.settings.recipe import recipe_of
from poziomka.app.train import Training
from poziomka.app.watchdog import IDLE, Watchdog, learning, sampling, scoring
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.scoring import Scoring, under_way
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Message, Transcript
from poziomka.runs import Run
from poziomka.tasks import TASKS
from poziomka.tasks.toy.recurrence import scorer as recurrence_scorer

torch.set_num_threads(1)


class Ear:
    """Hears lines, and can be waited for."""

    def __init__(self, lines=1):
        self.said, self.enough, self.lines = [], Event(), lines
        self.heard = time.monotonic()

    def __call__(self, line):
        self.said.append(line)
        if len(self.said) >= self.lines:
            self.enough.set()


def test_a_line_comes_after_the_silence_and_again_after_twice_as_long():
    ear = Ear(lines=2)
    with Watchdog(0.05, lambda: ear.heard, ear, [lambda: "sampling, 3 rows", lambda: None]):
        assert ear.enough.wait(600)
    assert ear.said[0].endswith("s: sampling, 3 rows")
    assert ear.said[0].startswith("nothing logged for 0.")


def test_where_nothing_is_under_way_that_is_said():
    assert Watchdog(1.0, time.monotonic, print, []).line(130.0) == f"nothing logged for 2 min 10 s: {IDLE}"
    loading = Watchdog(1.0, time.monotonic, print, [lambda: None], lambda: "loading smollm2")
    assert loading.line(130.0) == f"nothing logged for 2 min 10 s: loading smollm2; {IDLE}"


def test_what_is_heard_in_time_is_no_silence():
    ear = Ear()
    with Watchdog(0.2, time.monotonic, ear, []):  # heard this very moment
        assert not ear.enough.wait(0.6)


def test_without_seconds_there_is_no_thread():
    with Watchdog(None, lambda: 0.0, Ear(), []) as dog:
        assert dog._thread is None


# ------------------------------------------------------------------------------------------------------ who waits
def slow(problem, transcript):
    while not Path(problem.answer).exists():
        time.sleep(0.01)
    return Score.right("")


@pytest.mark.fault("A15")
@pytest.mark.parametrize("trusted", [True, False])
def test_a_scorer_that_sleeps_is_named_with_its_problem(trusted, tmp_path):
    task = Task("slow", lambda *place: None, slow, trusted=trusted)
    problem = Problem.ask("slow", "the-slow-one", "?", str(tmp_path / "heard"))
    ear = Ear()

    def hear():
        ear.enough.wait()
        (tmp_path / "heard").touch()

    async def check():
        with Scoring(task, 600.0) as judges:
            await judges.score(problem, Transcript.of(problem.prompt))

    with Watchdog(0.1, lambda: ear.heard, ear, [scoring]):
        listener = threading.Thread(target=hear, daemon=True)
        listener.start()
        asyncio.run(check())
        listener.join()
    assert "scoring, the check of problem 'the-slow-one' has run for " in ear.said[0]
    assert under_way() == []
    assert scoring() is None


@pytest.fixture
def training(tmp_path):
    """The whole wiring of a tiny recipe."""
    changes = ("threads=1", "watchdog=0.05", "model.new.width=16", "model.new.layers=1", "model.new.heads=2")
    recipe = recipe_of({}, changes)
    with Run.open(tmp_path / "run", {"name": "run"}) as run:
        yield Training(recipe, run, quiet=True)


def test_an_engine_tells_its_rows_and_tokens(training):
    engine = training.sampler.engine
    told = []

    async def watch():
        asked = asyncio.create_task(
            training.sampler.extend(Transcript.of([Message("user", " 1 2 k3")]), SamplingParams(max_tokens=9))
        )
        while engine.counters.steps < 3:  # noqa: ASYNC110 the engine has no event to wait for
            await asyncio.sleep(0)
        told.append(sampling(training.sampler))
        await asked

    asyncio.run(watch())
    assert told[0].startswith("sampling, 1 row in the engine, ")
    assert sampling(training.sampler) is None


def test_a_learner_tells_which_part_of_a_batch(training):
    learner, told = training.progress.learner, []
    learner.settings = type(learner.settings)(microbatch_tokens=8)
    lessons = training.task.take("train", 0, 8)
    transcripts = [training.chat.demonstrate(Transcript.of(p.prompt), *training.task.demonstration(p)) for p in lessons]
    from poziomka.learning.samples.weighting import imitation_examples

    examples = imitation_examples(transcripts, [Author.TEACHER])
    learner.model.register_forward_pre_hook(lambda *given: told.append(learning(learner)))
    learner.step(learner.pack(examples), 1e-3)
    assert told[0].startswith("learning, part 1 of ")
    assert len(told) > 1
    assert learning(learner) is None


def test_a_run_notes_what_it_waited_for(training, monkeypatch):
    def sleepy(problem, transcript):
        while not any("scoring, the check of problem" in note for note in training.run.notes):
            time.sleep(0.01)
        return recurrence_scorer(problem, transcript)

    task = TASKS["recurrence"]()
    object.__setattr__(task, "scorer", sleepy)
    training.task = task
    problems = task.take("train", 0, 1)
    with training.watcher, training._watchdog():
        collect(training.sampler, task, problems, SamplingParams(max_tokens=4), attempts=2)
    assert any("scoring, the check of problem" in note for note in training.run.notes)
    assert training.watcher.notes is training.run.notes
