"""What `poziomka tasks` shows of tasks, asks of a person, and finds in a trial."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from poziomka import tasks
from poziomka.app.cli.trials import trials
from poziomka.core.problem import Score
from poziomka.environments.tools.calculator import Calculator
from poziomka.tasks.math.grade_school import SAMPLE
from poziomka.tasks.toy.arithmetic import gcd, sums


def test_a_thought_of_several_lines_stands_below_its_beginning(poziomka):
    output = poziomka("tasks", "show", "sums", "--level", "5", "--count", "1")[1]
    thought = output.split("  thought  ")[1].split("  answer   ")[0].rstrip().splitlines()
    assert len(thought) == 4
    assert all(line.startswith(" " * 11) and line[11] != " " for line in thought[1:])


def test_a_task_whose_problems_are_read_is_listed_with_how_to_name_it(poziomka):
    assert re.search(r"\nhumaneval:WHERE +from files +completing Python functions", poziomka("tasks")[1])


def test_problems_are_shown_from_a_folder(poziomka):
    status, output, _ = poziomka("tasks", "show", f"grade_school:{SAMPLE}", "--count", "2")
    assert status == 0
    assert output.startswith(tasks.about("grade_school"))
    assert "6 problems · split train" in output  # two of the eight are validation
    assert "Ola picks 3 baskets" in output
    assert "answer   105" in output


def test_a_task_whose_files_are_not_there_is_one_sentence(poziomka, tmp_path):
    for name, words in (("grade_school", "name it grade_school:FOLDER"), (f"grade_school:{tmp_path}", "no file")):
        status, _, errors = poziomka("tasks", "show", name)
        assert status == 2
        assert words in errors
        assert errors.count("\n") == 1


def test_limits_stand_below_the_problems(poziomka):
    output = poziomka("tasks", "show", "gcd")[1]
    assert "- Held-out pairs are no multiple of a pair of training." in output.partition("problem 3")[2]


def test_a_family_is_listed_by_what_is_here(poziomka, monkeypatch):
    monkeypatch.setitem(tasks.SHIPPED, "grade_school", lambda: [str(SAMPLE), "other"])
    assert re.search(r"\ngrade_school:WHERE +2 of them +grade-school word problems", poziomka("tasks", "list")[1])
    assert poziomka("tasks", "list", "grade_school")[1].splitlines()[-2:] == [
        f"grade_school:{SAMPLE}",
        "grade_school:other",
    ]


def test_a_list_fits_a_hundred_columns(poziomka):
    assert max(len(line) for line in poziomka("tasks")[1].splitlines()) <= 100


def test_a_task_without_training_shows_its_test_split(poziomka, monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "sums", lambda: replace(sums(), size={"train": 0, "test": 5}.__getitem__))
    assert "5 problems · split test" in poziomka("tasks", "show", "sums")[1]


# --------------------------------------------------------------------------------------------------------------- play
def playing(*arguments, answers):
    command = [sys.executable, "-m", "poziomka", "tasks", "play", *arguments]
    done = subprocess.run(command, input=answers, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_person_is_told_what_a_model_is_told():
    right = gcd().problem("train", 0).answer
    status, output, errors = playing("gcd", "--count", "2", answers=f"{right}\nseven\n")
    assert (status, errors) == (0, "")
    assert f"correct · reward 1 · {right} is right" in output
    assert "unparsed · reward 0 · no single number in the answer" in output
    assert f"right    {gcd().problem('train', 1).answer}" in output
    assert output.endswith("1 of 2 answers right, mean reward 0.50.\n")


def test_the_end_of_the_input_ends_the_game_with_its_tally():
    status, output, errors = playing("gcd", answers="1\n")
    assert (status, errors) == (0, "")
    assert "of 1 answer right" in output
    assert playing("gcd", answers="")[1].endswith("No answer was judged.\n")


def test_an_answer_of_several_lines_ends_with_an_empty_line_or_a_dot(poziomka, monkeypatch, capsys):
    def source(split, index, level=None):
        return replace(gcd().problem(split, index), answer="1\n2")

    def scorer(problem, transcript):
        return Score.right("both") if transcript.reply == problem.answer else Score.wrong("other")

    monkeypatch.setitem(tasks.TASKS, "gcd", lambda: replace(gcd(), source=source, scorer=scorer))
    lines = iter(["1", "2", ".", "1", "2", "", "3", ".", "1", "2"])
    monkeypatch.setattr("builtins.input", lambda: read(lines))
    output = poziomka("tasks", "play", "gcd")[1]
    assert "3 of 4 answers right" in output


def read(lines):
    try:
        return next(lines)
    except StopIteration:
        raise EOFError from None


def test_ctrl_c_ends_the_game_with_its_tally(poziomka, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    status, output, _ = poziomka("tasks", "play", "gcd")
    assert status == 0
    assert output.endswith("No answer was judged.\n")


def test_a_task_with_tools_says_that_they_are_left_out(poziomka, monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "gcd", lambda: replace(gcd(), environment=lambda problem: Calculator()))
    monkeypatch.setattr("builtins.input", lambda: read(iter(())))
    assert "answered without them" in poziomka("tasks", "play", "gcd")[1]


# -------------------------------------------------------------------------------------------------------------- check
def planted(monkeypatch, **changes):
    monkeypatch.setitem(tasks.TASKS, "gcd", lambda: replace(gcd(), **changes))


def test_a_check_prints_a_table_with_intervals(poziomka):
    status, output, errors = poziomka("tasks", "check", "gcd", "--problems", "2")
    assert (status, errors) == (0, "")
    heading, line, *rest = output.splitlines()
    assert heading.split() == ["task", "gold", "accepted", "wrong", "accepted", "rest", "ms", "/s"]
    assert line.startswith("gcd           1.00 [0.51, 1.00]  0.00 [0.00, 0.49]")
    assert line.endswith("  passed")
    assert rest[0].startswith("1 of 1 task passed (")


def test_a_broken_scorer_is_named_with_its_rule(poziomka, monkeypatch):
    planted(monkeypatch, scorer=lambda problem, transcript: Score.right("anything"))
    status, output, _ = poziomka("tasks", "check", "gcd", "--problems", "2")
    assert status == 2
    assert "  BROKEN\n  → a scorer refuses" in output
    assert "1 BROKEN: do not train on them" in output


def test_a_check_in_json_holds_every_row(poziomka, monkeypatch):
    planted(monkeypatch, scorer=lambda problem, transcript: Score.right("anything"))
    status, output, _ = poziomka("tasks", "check", "gcd", "--problems", "2", "--json")
    found = json.loads(output)
    assert (status, found["ok"]) == (2, False)
    assert found["tasks"][0]["wrong_accepted"]["mean"] == 1.0
    assert {row["kind"] for row in found["tasks"][0]["rows"]} >= {"gold", "mistake", "worthless"}


def test_a_task_that_cannot_be_made_is_a_broken_one(monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "gcd", lambda: 1 / 0)
    ((_, tried),) = trials(["gcd"], 2)
    assert tried.broken == ("the task raised ZeroDivisionError: division by zero",)


def test_a_task_whose_process_dies_ends_no_other(monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "gcd", lambda: os._exit(1))
    found = dict(trials(["gcd", "sums"], 1))
    assert found["gcd"].broken == ("the trial could not be finished: its process died",)
    assert found["sums"].passed


def test_a_task_that_is_never_done_ends_no_other(monkeypatch):
    def endless():
        while True:
            pass

    monkeypatch.setattr("poziomka.app.cli.trials.LONGEST", 1.0)
    monkeypatch.setitem(tasks.TASKS, "gcd", endless)
    ((_, tried),) = trials(["gcd"], 1)
    assert tried.broken == ("the trial could not be finished: it was not done within 1 s",)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check"], "poziomka tasks check NAME"),
        (["check", "gcd", "--all"], "poziomka tasks check NAME"),
        (["check", "gdc"], "did you mean 'gcd'?"),
        (["check", "grade_scool:x"], "did you mean 'grade_school'?"),
        (["check", "humaneval"], "name it humaneval:WHERE"),
        (["play", "gdc"], "did you mean 'gcd'?"),
        (["list", "gdc"], "did you mean 'gcd'?"),
        (["chekc"], "did you mean 'check'?"),
    ],
)
def test_a_wrong_word_is_one_sentence(poziomka, arguments, words):
    status, output, errors = poziomka("tasks", *arguments)
    assert (status, output) == (2, "")
    assert words in errors
    assert errors.count("\n") == 1


def test_tasks_need_no_torch():
    code = "import sys; from poziomka.app.cli.main import main; main(['tasks', 'check', 'gcd', '--problems', '1']); "
    done = subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=False)
    assert done.returncode == 0
