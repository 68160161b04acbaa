"""What a rollout says of itself."""

from dataclasses import replace

import pytest

from poziomka.core.problem import Problem
from poziomka.core.rollout import Branch, Rollout, seed_of_rollout
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact

PROBLEM = Problem.ask("sums", "1+1", "1 + 1 ?", "2")
THINKING = Span(Author.MODEL, " a b", compact([1, 2]), stop=Stop.LENGTH)
CLOSING = Span(Author.MODEL, " a b </think>", compact([1, 2, 3]), stop=Stop.THOUGHT)
FORCED = Span(Author.FORCED, " </think>", compact([3]))
WAIT = Span(Author.FORCED, " Wait", compact([5]))
ANSWER = Span(Author.MODEL, " 2", compact([4, 0]), stop=Stop.END)
TOOL = Span(Author.ENVIRONMENT, " 2", compact([4]))


@pytest.mark.parametrize(
    ("spans", "tokens"),
    [
        ((), 0),
        ((CLOSING, ANSWER), 3),
        ((THINKING, FORCED, ANSWER), 2),
        ((THINKING,), 2),
        ((THINKING, TOOL, CLOSING, ANSWER), 5),
        ((FORCED, ANSWER), 0),
        ((THINKING, WAIT, CLOSING, ANSWER), 5),
        ((THINKING, replace(FORCED, text=" </thi"), replace(FORCED, text="nk>"), ANSWER), 2),
    ],
)
def test_thinking_is_what_the_model_wrote_before_its_thought_ended(spans, tokens):
    rollout = Rollout("r", PROBLEM, (Branch(Transcript.of(PROBLEM.prompt) + spans),))
    assert rollout.thinking == tokens


def test_the_seed_comes_from_task_and_id():
    rollout = Rollout("train/3", PROBLEM, ())
    assert rollout.seed == seed_of_rollout(PROBLEM, "train/3") != seed_of_rollout(PROBLEM, "train/4")
