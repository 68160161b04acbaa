"""Judged attempts at problems, as a study has them."""

import pytest

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.transcript import Author, Span, Transcript, compact


def rollout(key, number, answer, gold="1", tokens=10, spent=None):
    """An attempt of ten tokens with an answer; None for no answer, an exclamation mark for a failed check."""
    span = Span(Author.MODEL, answer or "", compact(range(tokens)))
    problem = Problem.ask("toy", str(key), "?", gold)
    score = Score.unparsed("none") if answer is None else Score.wrong(answer)
    score = Score.right(answer) if answer == gold else score
    score = Score.failed(Verdict.ERROR, "broken") if answer == "!" else score
    return Rollout(f"x/{key}/{number}", problem, (Branch(Transcript((span,)), score),), spent=spent)


@pytest.fixture
def groups():
    """A function from rows of answers, one row a problem, to groups of attempts."""

    def made(*answers, **given):
        return [[rollout(key, n, each, **given) for n, each in enumerate(row)] for key, row in enumerate(answers)]

    return made
