"""A trail of files: one tool turn a file, exact balances, a reference policy that needs every turn."""

import asyncio

import pytest

import poziomka as pz
from poziomka.core.problem import Verdict
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks.toy.file_trail import (
    LONGEST,
    audit,
    demonstration,
    entries_of,
    file_trail,
    mistakes,
    opening_of,
    optimal_turn,
    references,
    split_of,
)
from poziomka.testing import ScriptedSampler, check_environment, check_task

TRAIL = "f12,a,5 f40,b,3 f7,a,9"
PROBLEM = pz.Problem(" 7 0 f12", "1 3", task="file_trail", key="k", facts={"trail": TRAIL}, level=3)


@pytest.fixture(scope="module")
def task():
    return file_trail()


def optimal(transcript, _sampling):
    """The optimal policy as the script of a sampler."""
    spans = transcript.spans
    start = max(number for number, span in enumerate(spans) if span.author is Author.USER)
    first, second, file = spans[start].text.split()
    heard = [span.text for span in spans[start:] if span.author is Author.ENVIRONMENT]
    opened = "" if any("<think>" in span.text for span in spans[start + 1 :]) else " <think>"
    return opened + optimal_turn(heard, int(first), int(second), file)


def judged(scorer, answer, problem=PROBLEM):
    reply = Span(Author.MODEL, f" <think> </think> {answer}", stop=Stop.END)
    return scorer(problem, Transcript.of(problem.prompt) + reply)


def test_it_keeps_a_tasks_contract(task):
    check_task(task, problems=5)


def test_its_environment_keeps_the_contract(task):
    problem = task.problem("test", 0, 4)
    turns = [f" {turn.strip()} open" for turn in demonstration(problem)[0].split("open") if turn.strip()]
    assert check_environment(task.environment(problem), problem, turns) == []


@pytest.mark.parametrize(
    ("turn", "reply"),
    [
        (" 7 0 f12 open", " a +5 f40"),
        ("f7 open", " a +9 end"),
        (" 1 1 f40 open", " b +3 f7"),
        (" f9 open", " none"),
        (" open", " none"),
        ("open", " none"),
        (" f12 f7x open", " none"),
    ],
)
def test_a_file_is_opened_by_its_name(task, turn, reply):
    session = task.environment(PROBLEM).open(PROBLEM)
    said = asyncio.run(session.reply(Transcript.of(PROBLEM.prompt) + Span(Author.MODEL, turn, stop=Stop.PHRASE)))
    assert said.span.text == reply
    assert not said.done


@pytest.mark.parametrize("level", [1, 2, 16, LONGEST])
def test_the_optimal_policy_is_right_with_one_turn_a_file_and_as_many_tokens_as_the_reference(task, level):
    problems = task.take("test", 0, 4, level)
    sampling = pz.SamplingParams(max_tokens=4 * level + 5)
    for (rollout,) in pz.collect(ScriptedSampler(optimal), task, problems, sampling):
        assert rollout.score.verdict is Verdict.CORRECT
        assert len(rollout.transcript.heard) == rollout.problem.level == level
        curve = references(rollout.problem, 4 * level + 1)["the optimal policy"]
        assert curve.index(1.0) == 4 * level + 1 == rollout.thinking - 1  # the script also writes "<think>"


def test_a_demonstration_is_the_optimal_policy():
    assert demonstration(PROBLEM) == ("7 0 f12 open 2 0 f40 open 2 3 f7 open", "1 3")


def test_a_trail_visits_each_file_once_and_its_prompt_names_the_first(task):
    for problem in task.take("train", 0, 100):
        files = [file for file, _, _ in entries_of(problem)]
        assert len(set(files)) == len(files) == problem.level
        assert opening_of(problem)[2] == files[0]


def test_no_two_splits_share_a_prompt(task):
    for split in ("train", "validation", "test"):
        assert {split_of(*opening_of(problem)) for problem in task.take(split, 0, 200)} == {split}


def test_scorer_and_audit_agree_on_right_answers_and_mistakes(task):
    for problem in task.take("test", 0, 100):
        assert judged(task.scorer, problem.answer, problem).correct
        assert judged(audit, problem.answer, problem).correct
        wrong = mistakes(problem)
        assert len(wrong) >= 5
        for answer in wrong.values():
            assert judged(task.scorer, answer, problem).reward == 0
            assert judged(audit, answer, problem).reward == 0


def test_each_mistake_is_the_one_that_it_names():
    assert mistakes(PROBLEM) == {
        "one balance only": "1",
        "a third number": "1 3 0",
        "the first entry is left out": "6 3",
        "the first entry is booked twice": "6 3",
        "the first entry is booked to the other account": "6 8",
        "the last entry is left out": "2 3",
        "the balances of the prompt": "7 0",
        "the balances exchanged": "3 1",
        "a balance that is not reduced modulo 10": "11 3",
        "a balance one more": "1 4",
    }
