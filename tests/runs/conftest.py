"""What the tests of a run's folder share: rollouts, a recipe, a run, and a limit on how much can be written."""

import resource
from contextlib import contextmanager

import pytest

from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact, compact_floats
from poziomka.runs import Run

RECIPE = {"name": "recurrence", "seed": 7, "learning": {"rate": 1e-5, "betas": [0.9, 0.95]}}


def make_rollout(name="r0", seconds=0.25):
    problem = Problem.ask("sums", "1+2", "1 + 2 ?", "3", terms=[1, 2], hint=None)
    reply = Span(Author.MODEL, "drei — 3", compact([5, 6]), compact_floats([-0.1, -2.5]), Stop.END, "v1", seconds)
    transcript = Transcript.of(problem.prompt) + Span(Author.FORCED, "</think>", compact([9])) + reply
    return Rollout(name, problem, (Branch(transcript, Score.right("3", "exact")),), "v1")


@pytest.fixture
def recipe():
    return dict(RECIPE)


@pytest.fixture
def rollout():
    return make_rollout


@pytest.fixture
def groups():
    return [[make_rollout("r0"), make_rollout("r1")], [make_rollout("r2")]]


@pytest.fixture
def reopen(tmp_path):
    """Opens the same run again and again, and closes what was opened."""
    opened = []

    def reopen(recipe=RECIPE, **options):
        for run in opened:
            run.close()
        opened.append(Run.open(tmp_path / "run", recipe, **options))
        return opened[-1]

    yield reopen
    for run in opened:
        run.close()


@pytest.fixture
def run(reopen):
    return reopen()


@pytest.fixture
def weights():
    """Returns a `write` that puts these bytes into model.safetensors."""
    return lambda data=b"weights": lambda folder: (folder / "model.safetensors").write_bytes(data) and None


@pytest.fixture
def limited():
    """Lets no file grow beyond some bytes, as a full disk would: the system itself refuses."""

    @contextmanager
    def limited(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
