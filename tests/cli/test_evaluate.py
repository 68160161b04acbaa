"""What `poziomka evaluate` prints of checks that failed."""

import json
from pathlib import Path

import pytest

from poziomka.app.cli.evaluate import Curve
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.rollouts.evaluation import Evaluation
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact, compact_floats


def attempt(name, score):
    problem = Problem.ask("sums", name, "1 + 2 ?", "3")
    reply = Span(Author.MODEL, "3", compact([5]), compact_floats([-0.1]), Stop.END, "v1")
    return Rollout(f"{name}/0", problem, (Branch(Transcript.of(problem.prompt) + reply, score),), "v1")


def curve(*scores):
    found = Evaluation([[attempt(f"p{number}", score)] for number, score in enumerate(scores)])
    return Curve(Path("run"), "step-000001", "sums", len(scores), 1, SamplingParams(), {8: found})


@pytest.mark.fault("A11")
def test_failed_checks_are_shown_with_the_accuracy_that_they_leave_open():
    failed = Score.failed(Verdict.ERROR, "no verdict")
    shown = curve(Score.right("3"), Score.right("3"), Score.wrong("4"), failed)
    assert "budget 8: 1 check failed" in str(shown)
    assert "0.50 with all of them wrong and 0.75 with all of them right" in str(shown)
    (point,) = json.loads(shown.json())["budgets"]
    assert point["failures"] == {"checks": 1, "problems": 3, "as_wrong": 0.5, "as_right": 0.75}


def test_where_no_check_failed_nothing_is_said_of_it():
    assert "failed" not in str(curve(Score.right("3"), Score.wrong("4")))
