"""A good task passes; each planted fault is caught, and the message names it."""

import os
import random
import re
from dataclasses import replace

import pytest

from poziomka.core.problem import Message, Problem, Score, Verdict
from poziomka.core.rollouts.answers import read_integer, split_thought
from poziomka.core.seeds import random_of
from poziomka.core.task import Task
from poziomka.core.transcript import Author
from poziomka.tasks.toy.recurrence import recurrence
from poziomka.testing import check_task, near_miss

SHARED = random.Random(3)


def source(split, index, level):
    draw = random_of("sums", split, index)
    first, second = draw.randrange(10_000), 2 * draw.randrange(10_000) + (split == "test")
    problem = Problem.ask("sums", f"{first}+{second}", f"{first} + {second} ?", str(first + second))
    return replace(problem, level=level or 1)


def scorer(problem, transcript):
    value = read_integer(transcript.reply)
    if value is None:
        return Score.unparsed("no number")
    return Score.right(str(value)) if str(value) == problem.answer else Score.wrong(str(value))


SUMS = Task("sums", source, scorer, levels=(1, 3), demonstration=lambda problem: ("carry", problem.answer))


def changed(**fields):
    """A source whose problems differ from the good one's."""
    return replace(SUMS, source=lambda split, index, level: replace(source(split, index, level), **fields))


def judged(faulty):
    """The good task with another scorer: `faulty` says a Score, or nothing where it agrees with the good one."""
    return replace(
        SUMS, scorer=lambda problem, transcript: faulty(problem, transcript.reply) or scorer(problem, transcript)
    )


def right_if(condition):
    return judged(lambda problem, reply: Score.right("x") if condition(problem, reply) else None)


def last_number(problem, reply):
    numbers = re.findall(r"-?\d{1,40}(?:\.\d+)?", split_thought(reply)[1] or "")
    return bool(numbers) and numbers[-1] == problem.answer


def first_number(problem, reply):
    numbers = re.findall(r"-?\d{1,40}(?:\.\d+)?", split_thought(reply)[1] or "")
    return bool(numbers) and numbers[0] == problem.answer


def moody(problem, reply):
    if reply.endswith(f"</think> {problem.answer}"):
        return Score.right(str(random.SystemRandom().random()))
    return None


def hangs(problem, reply):
    while "9**9" in reply:
        pass


def dies(problem, reply):
    if "\0" in reply:
        os._exit(1)


def nested(problem, reply):
    if reply.endswith("((("):
        raise RecursionError(len(reply))


def drifting(split, index, level):
    return replace(source(split, index, level), facts={"draw": SHARED.random()})


def model_words_only(problem, transcript):
    words = "".join(span.text for span in transcript if span.author is Author.MODEL)
    told = split_thought(words)[1] == problem.answer  # it never sees who opened the thought
    return Score.right("x") if told else scorer(problem, transcript)


FAULTS = {
    "a source is pure": replace(SUMS, source=drifting),
    "a source returns a Problem": replace(SUMS, source=lambda split, index, level: "1 + 1"),
    "a source gives the level that was asked for": changed(level=2),
    "a problem names its task": changed(task="products"),
    "a problem has a key": changed(key=""),
    "a prompt asks something as the user": changed(prompt=(Message("system", "add"),)),
    "a level lies within": changed(level=9),
    "facts are plain data": changed(facts={"set": {1, 2}}),
    "have only 1 keys": changed(key="sum"),
    "splits must not share a key": replace(SUMS, source=lambda split, index, level: source("train", index, level)),
    "is empty": replace(SUMS, size=0),
    "a scorer accepts the gold answer": judged(lambda problem, reply: Score.wrong("x")),
    "a scorer refuses": right_if(lambda problem, reply: (split_thought(reply)[1] or "")[:2] == problem.answer[:2]),
    "a scorer is pure": judged(moody),
    "a scorer returns quickly": judged(hangs),
    "a scorer never raises: at a null character": judged(dies),
    "a scorer never raises: at a megabyte of brackets": judged(nested),
    "5000 digits, as the answer (train/0), the scorer raised ValueError": judged(
        lambda problem, reply: Score.wrong("x") if reply.endswith("9999") and int(reply.split()[-1]) == 0 else None
    ),
    "an empty reply (train/0) must earn nothing": right_if(lambda problem, reply: not reply),
    "an echo of the prompt, as the answer (train/0) must earn nothing": right_if(
        lambda problem, reply: reply.endswith("?")
    ),
    "the answer in the thought only": right_if(lambda problem, reply: problem.answer in reply.split()[-2:]),
    "a thought that never closes": right_if(
        lambda problem, reply: "</think>" not in reply and reply.endswith(f" {problem.answer}")
    ),
    "a thought that is opened again": right_if(lambda problem, reply: reply.endswith(f"<think> {problem.answer}")),
    "a thought that is closed twice": right_if(
        lambda problem, reply: "open" not in reply and reply.rpartition("</think>")[2].strip() == problem.answer
    ),
    "a thought that the prompt opened": replace(SUMS, scorer=model_words_only),
    "several answers, the right one last": right_if(last_number),
    "several answers, the right one first": right_if(first_number),
    "nan, as the answer (train/0) must earn nothing": right_if(lambda problem, reply: reply.endswith("nan")),
    "has no reward": judged(lambda problem, reply: Score(None, Verdict.WRONG) if not reply else None),
}


def test_a_good_task_passes():
    check_task(SUMS, problems=5)


def test_a_task_that_tells_no_answer_passes():
    def judge(problem, transcript):
        value = read_integer(transcript.reply)
        return Score.right(str(value)) if value == int(problem.facts["sum"]) else Score.wrong("x")

    def silent(split, index, level):
        problem = source(split, index, level)
        return replace(problem, answer="", facts={"sum": problem.answer})

    check_task(Task("sums", silent, judge), problems=3)


def test_the_recurrence_passes():
    check_task(recurrence(), problems=5)


def test_a_small_task_passes():
    check_task(replace(SUMS, size=4), problems=10)


@pytest.mark.parametrize("broken", FAULTS)
def test_a_fault_is_caught(broken):
    with pytest.raises(AssertionError, match=re.escape(broken)):
        check_task(FAULTS[broken], problems=3, seconds=1.0 if "quickly" in broken else 10.0)


@pytest.mark.parametrize("arguments", [{"splits": ()}, {"problems": 0}])
def test_a_check_of_nothing_is_refused(arguments):
    with pytest.raises(AssertionError, match="a check needs splits and problems"):
        check_task(SUMS, **arguments)


def test_a_near_miss_that_misses_nothing_is_refused():
    with pytest.raises(AssertionError, match="`perturb` changes an answer"):
        check_task(SUMS, problems=1, perturb=lambda answer: answer)


@pytest.mark.parametrize(
    ("answer", "miss"), [("42", "43"), ("9", "0"), ("3 * (4 + 1)", "3 * (4 + 2)"), ("yes", "yesx")]
)
def test_a_near_miss_is_nearly_right(answer, miss):
    assert near_miss(answer) == miss
