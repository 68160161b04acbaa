"""Votes read answers as the scorer of a task does, without gold answers."""

import asyncio
from dataclasses import replace

import pytest

import poziomka as pz
from poziomka.core.errors import TaskError
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.evaluation import evaluate
from poziomka.core.rollouts.readers import AnswerOf
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.rollouts.weighted import weighted
from poziomka.core.strategy import reading
from poziomka.core.transcript import Author, Span
from poziomka.environments.tools.registry import toolbox_named
from poziomka.tasks import TASKS, task_named
from poziomka.tasks.mixture import Part, mixture
from poziomka.tasks.tools import with_tools
from poziomka.testing import ScriptedSampler
from poziomka.thinking import AdaptiveConsistency, Budget, Logprobs, Majority, SelfAggregation, Thinker
from poziomka.thinking.majority import last_words
from poziomka.thinking.search import Beam, Steps

GENERATED = [name for name in TASKS if name != "string_splitting"]  # it draws its problems for seconds
READ = [*GENERATED, "grade_school:sample", "competition:sample", "reasoning_gym:chain_sum", "reasoning_gym:countdown"]


def replied(problem, answer):
    return pz.Transcript.of(problem.prompt) + Span(Author.MODEL, f"<think> so </think> {answer}")


@pytest.mark.parametrize("name", READ)
def test_the_reader_of_a_task_reads_every_right_answer(name):
    task = task_named(name)
    for problem in task.first("test", 4):
        answer = task.demonstration(problem)[1] if task.demonstration else problem.answer
        reply = replied(problem, answer)
        score = task.score(problem, reply)
        if score.correct:
            assert task.reader(reply) is not None
            assert task.reader(replied(replace(problem, answer="", facts={}), answer)) == task.reader(reply)


@pytest.mark.parametrize(
    "name", ["exact_change", "large_numbers", "sums", "recurrence", "countdown", "string_splitting", "synthesis"]
)
def test_the_reader_of_a_task_reads_what_its_scorer_names(name):
    task = task_named(name)
    for problem in task.first("test", 4):
        right = task.demonstration(problem)[1]
        for answer in (right, right[:-1], f"{right} 1", "none", "", f"so {right}", " ".join(reversed(right.split()))):
            reply = replied(problem, answer)
            assert task.reader(reply) == task.score(problem, reply).answer


@pytest.mark.parametrize(
    ("name", "one", "other", "unread"),
    [
        ("exact_change", "12 7 12", "7 12 12", "none"),
        ("sums", "The answer is 12.", "12", "12 or 13"),
        ("grade_school:sample", r"\boxed{12}", "12.0", "12 or 13"),
        ("competition:sample", r"\boxed{\frac{1}{2}}", r"\boxed{0.5}", r"\boxed{1} or \boxed{2}"),
        ("competition:sample", r"\boxed{x+y}", r"So $\boxed{y+x}$.", "x + y"),
        ("satisfy", "x = 3, p = True", "p = true, x = 3.", "x is 3"),
        ("counterexample", "**valid**", "Valid.", "it is valid"),
        ("reasoning_gym:chain_sum", "1,200", "1200", "so 1200"),
    ],
)
def test_texts_of_one_answer_are_read_alike(name, one, other, unread):
    task = task_named(name)
    problem = task.problem("test", 0)
    found = [task.reader(replied(problem, answer)) for answer in (one, other, unread)]
    assert found[0] == found[1]
    assert found[0] is not None
    assert found[2] is None


def test_rows_are_read_as_a_number_or_as_a_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "Where?", "answer": "Paris"}\n{"question": "How many?", "answer": 3}\n')
    read = task_named(f"jsonl:{path}").reader
    problem = pz.Problem("Where?")
    answers = ["PARIS.", r"\boxed{Paris}", "The answer is 3.", "3"]
    assert [read(replied(problem, answer)) for answer in answers] == ["paris", "paris", "3", "3"]


def test_the_reader_follows_from_the_scorer_without_a_word_of_the_user():
    task = pz.Task("t", lambda rng: pz.Problem("?", "6"), pz.exact(pz.number))
    assert task.reader == AnswerOf(pz.number)
    assert replace(task, scorer=weighted(right=(task.scorer, 1.0), short=(lambda *_: 0.0, 0.1))).reader == task.reader
    assert replace(task, scorer=lambda *_: 1.0).reader is None
    assert replace(task, read=last_words).reader is last_words
    toolbox = toolbox_named("calculator", "spelled")
    assert with_tools(task, toolbox).reader == task.reader
    toolbox.close()
    assert task_named("sums", scorer=lambda *_: 1.0).reader is None
    sums, gcd, change = (Part(task_named(name)) for name in ("sums", "gcd", "exact_change"))
    assert mixture([sums, gcd]).reader == sums.task.reader
    assert mixture([sums, change]).reader is None


# Whole answers: "none" three times, and two payments in different orders.
REPLIES = ["<think> x </think> none"] * 2 + ["<think> x </think> 12 7 12", "<think> x </think> 12 12 7"]
CHANGE = replace(
    task_named("exact_change"), source=lambda *_: pz.Problem(" 31 4 7 9 12", task="exact_change", key="31,4,7,9,12")
)


@pytest.mark.parametrize("strategy", [Majority(4), AdaptiveConsistency(4), SelfAggregation(4, 1, 0)])
def test_votes_of_a_strategy_read_as_the_task_does(strategy):
    sampler = ScriptedSampler(REPLIES)
    with Scoring(CHANGE) as scoring:
        ((rollout,),) = Collector(sampler, scoring, strategy).collect([CHANGE.problem("test", 0)], pz.SamplingParams())
    assert rollout.transcript.answer == "12 7 12"
    thinker = Thinker(ScriptedSampler(REPLIES), strategy)
    assert evaluate(thinker, CHANGE, pz.SamplingParams(), problems=1).accuracy.mean == 1


def test_a_reader_that_is_named_stays():
    thinker = Thinker(ScriptedSampler(REPLIES), Majority(4, read=last_words))
    assert evaluate(thinker, CHANGE, pz.SamplingParams(), problems=1).accuracy.mean == 0


def test_without_a_task_a_vote_compares_whole_answers():
    prompt = pz.Transcript.of(CHANGE.problem("test", 0).prompt)
    attempt = asyncio.run(Majority(4).attempt(ScriptedSampler(REPLIES), prompt, pz.SamplingParams()))
    assert attempt.branches[attempt.answer].transcript.answer == "none"


def test_every_open_reader_is_set_and_nothing_else_is_copied():
    read, sampler = AnswerOf(pz.number), ScriptedSampler(["7"])
    steps = Steps(stops=(";",), depth=2, rest=Majority(votes=3))
    strategy = Budget(9, inner=Majority(2, inner=Beam(candidates=2, judge=Logprobs(), steps=steps)))
    found = reading(Thinker(sampler, strategy), read)
    assert found.sampler is sampler
    assert (found.strategy.inner.read, found.strategy.inner.inner.read) == (read, read)
    assert found.strategy.inner.inner.steps.rest == Majority(3, read=read)
    assert reading(found, last_words) is found
    assert reading(strategy, None) is strategy
    assert reading(sampler, read) is sampler


class Votes(Majority):
    """A strategy of a user's own, with an initializer of another form."""

    def __init__(self, count):
        super().__init__(votes=count)


def test_a_strategy_with_an_initializer_of_its_own_is_given_the_reader():
    found, given = reading(Votes(3), last_words), Votes(3)
    assert (type(found), found.votes, found.read) == (Votes, 3, last_words)
    assert given.read is None


def test_a_reader_that_cannot_be_called_is_refused_and_that_of_a_scorer_ignored():
    with pytest.raises(TaskError, match="`read` of task"):
        replace(CHANGE, read="number")

    class Scorer:
        reader = "number"

        def __call__(self, problem, transcript):
            return 0.0

    assert replace(CHANGE, read=None, scorer=Scorer()).reader is None
