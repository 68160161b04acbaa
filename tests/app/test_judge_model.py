"""A model in this process as a judge: its requests share batches, and what it does not say is no reward."""

import asyncio

import pytest

import poziomka as pz
from poziomka.core.problem import Verdict
from poziomka.core.rollouts.scoring import Scoring

COUNT = 16


def attempts(count, wrong=True):
    """Answers to sums, every other one wrong, with their problems."""
    for number in range(count):
        problem = pz.Problem(f"What is {number} + 7?", answer=str(number + 7), task="sums", key=str(number))
        answer = number + 7 + (number % 2 if wrong else 0)
        yield problem, pz.Transcript.of(problem.prompt) + pz.Span(pz.Author.MODEL, f"The answer is {answer}.")


def judged(judge, *, together):
    """Returns the scores of attempts that are judged together or one after the other."""
    task = pz.Task("sums", lambda rng: None, judge)

    async def every(scoring):
        asked = [scoring.score(*attempt) for attempt in attempts(COUNT)]
        return await asyncio.gather(*asked) if together else [await each for each in asked]

    with Scoring(task, workers=1) as scoring:
        return asyncio.run(every(scoring))


def test_the_judgements_of_a_step_share_the_batches_of_the_engine(checkpoint):
    steps = {}
    for together in (True, False):
        sampler = pz.load(checkpoint).sampler()
        scores = judged(pz.judge(sampler, tokens=4), together=together)
        steps[together] = sampler.engine.counters.steps
        assert {score.verdict for score in scores} == {Verdict.ERROR}  # random weights give no verdict
        assert {score.reward for score in scores} == {None}
    assert steps[True] * 4 < steps[False]


@pytest.mark.slow
def test_smollm2_judges_sixteen_replies_together_as_one_by_one():
    sampler = pz.load("smollm2").sampler()
    found = {together: judged(pz.judge(sampler, tokens=64), together=together) for together in (False, True)}
    verdicts = {together: [score.verdict for score in scores] for together, scores in found.items()}
    same = sum(one is other for one, other in zip(verdicts[True], verdicts[False], strict=True))
    assert same >= COUNT - 1  # two words may tie
    assert set(verdicts[True]) & {Verdict.CORRECT, Verdict.WRONG}
