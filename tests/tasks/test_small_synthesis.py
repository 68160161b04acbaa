"""A program of the small dialect is worth what its Python does in an interpreter, on lists that nobody saw."""

import subprocess
import sys
from itertools import product

import pytest

from poziomka.core.errors import SettingsError
from poziomka.core.problem import Verdict
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks import task_named
from poziomka.tasks.code import synthesis as whole_language
from poziomka.tasks.code.list_language import run
from poziomka.tasks.code.small_synthesis import (
    DIALECT,
    SYMBOLS,
    behaviours,
    demonstration,
    named,
    probes,
    trace,
)
from poziomka.tasks.code.synthesis import audit, mistakes, spell

TASK = task_named("small_synthesis:monty")
PROBLEMS = [TASK.problem(split, i, level) for split in ("train", "test") for i in range(5) for level in (1, 2)]


def said(answer, problem):
    reply = Span(Author.MODEL, f" <think> </think> {answer}", stop=Stop.END)
    return Transcript.of(problem.prompt) + reply


def test_it_keeps_a_tasks_contract():
    command = [sys.executable, "-m", "poziomka", "tasks", "check", "small_synthesis:monty", "--problems", "10"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)  # monty works in no fork of ours
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_interpreter_judges_every_short_program_as_the_language_does():
    by_language = whole_language.synthesis().scorer
    for problem in PROBLEMS[::5]:
        for program in (each for length in (1, 2) for each in product(DIALECT, repeat=length)):
            transcript = said(spell(program), problem)
            inside, outside = TASK.scorer(problem, transcript), by_language(problem, transcript)
            assert (inside.reward, inside.verdict) == (outside.reward, outside.verdict)


def test_mistakes_earn_nothing_by_either_scorer():
    for problem in PROBLEMS[::3]:
        for answer in mistakes(problem).values():
            assert TASK.scorer(problem, said(answer, problem)).reward == 0.0
            assert audit(problem, said(answer, problem)).reward == 0.0


def test_demonstrations_end_right_in_the_vocabulary():
    for problem in PROBLEMS:
        thought, answer = demonstration(problem)
        assert TASK.scorer(problem, said(answer, problem)).correct
        assert thought.endswith("ok")
        assert set(f"{problem.prompt[0].content} {thought} {answer}".split()) <= set(SYMBOLS)


def test_a_trace_stops_at_the_first_digit_that_is_not_wanted():
    shown = (((4, 2, 5), (5, 4, 2)), ((6, 8, 1), (8, 6, 1)))
    assert trace(("up", "sort"), shown) == "up 5 3 6 sort 3 5 6 > 5 x"
    assert trace(("sort", "reverse"), shown).count("ok") == len(shown)


def test_what_two_words_do_is_never_done_by_a_solution_of_the_other_split():
    train, test = (
        {named(tuple(run(problem.facts["program"], row) for row in probes())) for problem in TASK.take(split, 0, 80, 2)}
        for split in ("train", "test")
    )
    assert len(train) > len(test) > 5
    assert not train & test


def test_problems_of_one_word_show_other_lists_in_the_other_split():
    train, test = ({problem.key for problem in TASK.take(split, 0, 80, 1)} for split in ("train", "test"))
    assert not train & test


def test_no_shorter_program_does_the_same():
    for problem in PROBLEMS:
        outputs = tuple(run(problem.facts["program"], row) for row in probes())
        assert outputs in behaviours(problem.level) - behaviours(problem.level - 1)


def test_a_program_in_the_thought_alone_earns_nothing():
    thought = Span(Author.MODEL, f" <think> {spell(PROBLEMS[0].facts['program'])} </think>", stop=Stop.END)
    assert TASK.scorer(PROBLEMS[0], Transcript.of(PROBLEMS[0].prompt) + thought).verdict is Verdict.UNPARSED


def test_an_interpreter_that_is_none_is_refused():
    with pytest.raises(SettingsError, match="did you mean 'monty'"):
        task_named("small_synthesis:monti")
